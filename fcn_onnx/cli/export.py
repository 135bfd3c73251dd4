"""`fcn-onnx export`."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, megabytes, print_line, print_table, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.stages.naming import fp32_path
from fcn_onnx.stages.options import ExportOptions

LISTED, TEXTS = ("network", "parameters", "GMAC", "at", "heads", "published, and by whom"), (0, 4, 5)


def act(options: ExportOptions, json_target: str | None) -> None:
    """Export a torch network to ONNX and prove that onnxruntime computes the same."""
    if options.list_networks:
        _list(json_target)
        return
    from fcn_onnx.networks.testdata import test_data_files
    from fcn_onnx.stages.export import export

    output = options.output or fp32_path(options.arch, options.network, options.opset)
    test_data = test_data_files(output) if output and options.test_data else {}
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


def _list(json_target: str | None) -> None:
    """Print the table of networks."""
    from fcn_onnx.stages.networks import list_networks

    claim(json_target)
    listed = list(list_networks())
    write_json({"networks": [one.to_json() for one in listed]}, json_target)
    if wants_stdout(json_target):
        return
    print_table(
        LISTED,
        [
            (
                one.architecture.name,
                f"{one.cost.parameters:,}",
                f"{one.cost.macs / 1e9:.3f}",
                "{}x{}".format(*one.architecture.size),
                ", ".join(one.architecture.heads_for(None)),
                f"{one.architecture.published} ({one.architecture.origin})".lstrip(),
            )
            for one in listed
        ],
        TEXTS,
    )
    print_line("parameters and multiply-accumulates of convolutions, as exported by default: counted here")


command = StageCommand(
    "export",
    ExportOptions,
    act,
    outline="fcn_onnx.stages.export_outline:export",
    tables={"arch": "Architectures"},
    examples=("export --arch resnet50 --opset 12", "export --network my_unet:build --classes names.txt"),
)
