"""`fcn-onnx calibrate`."""

from __future__ import annotations

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.stages.options import CalibrateOptions


def act(options: CalibrateOptions, json_target: str | None) -> None:
    """Observe the activations on images and write a table of ranges that onnxruntime's quantizer reads."""
    from fcn_onnx.stages.calibrate import calibrate, files_of

    claim(json_target, *files_of(options))
    result = calibrate(options, progress=ConsoleProgress())
    write_json(result.to_json(), json_target)
    if wants_stdout(json_target):
        return
    table = result.table
    skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
    print_line(
        f"wrote {result.output}: {len(table.ranges)} tensors, {len(table.images)} images{skipped}, {table.method}"
    )
    if options.histograms is not None:
        print_line(f"wrote {options.histograms}")


command = StageCommand(
    "calibrate",
    CalibrateOptions,
    act,
    outline="fcn_onnx.stages.outlines:calibrate",
    tables={"method": "Methods", "levels": "Levels"},
    examples=(
        "calibrate --data coco/train2017 --limit 64 --histograms h.npz",
        "calibrate --from h.npz --method kl --output kl.json",
        "calibrate --from h.npz --levels s8",
    ),
)
