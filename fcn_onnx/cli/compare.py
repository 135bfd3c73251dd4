"""`fcn-onnx compare`."""

from __future__ import annotations

import sys

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import print_line, print_table, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.stages.report_options import CompareOptions


def act(options: CompareOptions, json_target: str | None) -> None:
    """Say whether a release got worse than the last one, from the report.json that validate wrote of each.

    Both have to be of the same images, protocol and classes. With images.npz beside both, changes of scores have a
    paired 95 % interval.
    """
    from fcn_onnx.evaluation.gates import exit_code
    from fcn_onnx.report.change import CHANGE_HEADER, change_rows, change_verdict
    from fcn_onnx.report.files import ARRAYS
    from fcn_onnx.stages.compare import compare

    claim(json_target, {}, {f"what {side.name} counted": side.with_name(ARRAYS) for side in (options.old, options.new)})
    change = compare(options)
    write_json(change.to_json(), json_target)
    if not wants_stdout(json_target):
        print_line(f"protocol {change.protocol}, the same {change.images} images")
        for note in change.notes:
            print_line(note)
        several = len(change.candidates) > 1
        for name, release in change.candidates.items():
            print_table(CHANGE_HEADER, change_rows(release))
            print_line((f"{name}: " if several else "") + change_verdict(release, change.images))
    sys.exit(exit_code(release.gate.outcome for release in change.candidates.values()))


command = StageCommand(
    "compare",
    CompareOptions,
    act,
    examples=("compare last/report.json report/report.json --max-drop 0.5",),
)
