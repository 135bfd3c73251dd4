"""`fcn-onnx validate`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.cli.summary import summarise
from fcn_onnx.stages.options import ValidateOptions


def act(options: ValidateOptions, json_target: str | None) -> None:
    """Compare an int8 model with its fp32 original: mIoU, pixel accuracy, agreement, latency."""
    from fcn_onnx.cli.tables import print_validation
    from fcn_onnx.evaluation.gates import exit_code
    from fcn_onnx.stages.validate import models_of, outputs_of, validate

    models = models_of(options)
    read = {f"the model {path}": path for path in models}
    claim(json_target, outputs_of(options), {**options.choice.inputs(), **read})
    result = validate(
        replace(options, fp32=models[0], int8=models[1:]),
        command=shlex.join(["fcn-onnx", *sys.argv[1:]]),
        progress=ConsoleProgress(),
    )
    summarise(result.document)
    write_json(result.report, json_target)
    if not wants_stdout(json_target):
        print_validation(result.document)
        if options.report is not None:
            print_line(f"report: {options.report / 'report.html'}")
    sys.exit(exit_code([result.outcome]))


command = StageCommand(
    "validate",
    ValidateOptions,
    act,
    outline="fcn_onnx.stages.outlines:validate",
    tables={"protocol": "Protocols", "runtime": "Runtimes"},
    examples=("validate --data coco/val2017 --limit 40 --max-drop 1",),
)
