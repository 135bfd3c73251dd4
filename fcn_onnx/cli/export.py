"""`fcn-onnx export`."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, megabytes, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.stages.naming import fp32_name
from fcn_onnx.stages.options import ExportOptions


def act(options: ExportOptions, json_target: str | None) -> None:
    """Export a torch network to ONNX and prove that onnxruntime computes the same."""
    from fcn_onnx.networks.families import get_architecture
    from fcn_onnx.networks.testdata import test_data_files
    from fcn_onnx.stages.export import export

    output = options.output or Path(fp32_name(get_architecture(options.arch).name, options.opset))
    test_data = test_data_files(output) if options.test_data else {}
    claim(json_target, {"--output": output, **test_data}, {"--weights": Path(options.weights)})
    result = export(options, progress=ConsoleProgress())
    write_json(result.to_json(), json_target)
    if wants_stdout(json_target):
        return
    if result.skipped:
        print_line(f"{result.path} is up to date (--force redoes it)")
        return
    print_line(f"wrote {result.path} ({megabytes(result.size_bytes)}, opset {result.opset})")
    print_line(str(result.parity))
    if result.test_data:
        print_line(f"wrote {result.test_data}")


command = StageCommand(
    "export",
    ExportOptions,
    act,
    tables={"arch": "Architectures"},
    examples=("export --arch resnet50 --opset 12",),
)
