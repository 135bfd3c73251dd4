"""`fcn-onnx validate`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.cli.tables import print_validation
from fcn_onnx.data.sets.discover import annotations_beside
from fcn_onnx.evaluation.gates import exit_code
from fcn_onnx.stages.naming import find_pair
from fcn_onnx.stages.options import ValidateOptions


def act(options: ValidateOptions, json_target: str | None) -> None:
    """Compare an int8 model with its fp32 original: mIoU, pixel accuracy, agreement, latency."""
    from fcn_onnx.stages.validate import report_files, validate_and_report

    fp32, first = find_pair(options.fp32, options.int8[0] if options.int8 else None)
    models = {"the fp32 model": fp32, "the int8 model": first}
    claim(json_target, report_files(options.report), {"the annotations": annotations_beside(options.data), **models})
    result = validate_and_report(
        replace(options, fp32=fp32, int8=options.int8 or (first,)),
        command=shlex.join(["fcn-onnx", *sys.argv[1:]]),
        progress=ConsoleProgress(),
    )
    write_json(result.report, json_target)
    if not wants_stdout(json_target):
        print_validation(result.document)
        print_line(f"report: {options.report / 'report.html'}")
    sys.exit(exit_code([result.outcome]))


command = StageCommand(
    "validate",
    ValidateOptions,
    act,
    tables={"protocol": "Protocols"},
    examples=("validate --data coco/val2017 --limit 40 --max-drop 1",),
)
