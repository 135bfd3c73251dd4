"""`fcn-onnx bundle`."""

from __future__ import annotations

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.stages.bundle_options import BundleOptions


def act(options: BundleOptions, json_target: str | None) -> None:
    """Write a folder that serves a model with onnxruntime, numpy and Pillow alone, and try it.

    It holds the model, a script of 60 lines that labels photographs as predict does, a test image with the labels that
    are expected of it, and a Dockerfile.
    """
    from fcn_onnx.stages.bundle import bundle

    claim(json_target, {"--output": options.output / "bundle.json"})
    result = bundle(options, progress=ConsoleProgress())
    write_json(result.to_json(), json_target)
    if not wants_stdout(json_target):
        print_line(f"wrote {result.folder}: {', '.join(result.files)}")
        print_line(f"its script labels test.png as predict does: {result.labels}")


command = StageCommand(
    "bundle",
    BundleOptions,
    act,
    examples=("bundle fcn-resnet50-12-int8.onnx --image street.jpg --output served",),
)
