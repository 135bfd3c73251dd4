"""`fcn-onnx model-card`."""

from __future__ import annotations

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.stages.report_options import ModelCardOptions


def act(options: ModelCardOptions, json_target: str | None) -> None:
    """Write a README.md for the Hugging Face Hub: how the int8 model was made, and the scores of its report.

    What neither the model nor the report says is left out of it.
    """
    from fcn_onnx.stages.model_card import DEFAULT_OUTPUT, DEFAULT_REPORT, model_card

    report = (options.report or DEFAULT_REPORT) / "report.json"
    claim(json_target, {"--output": options.output or DEFAULT_OUTPUT}, {"the report": report})
    written = model_card(options, progress=ConsoleProgress())
    write_json({"output": str(written)}, json_target)
    if not wants_stdout(json_target):
        print_line(f"wrote {written}")


command = StageCommand(
    "model-card",
    ModelCardOptions,
    act,
    examples=("model-card fcn-resnet50-12-int8.onnx --report report --license apache-2.0",),
)
