"""`fcn-onnx export`."""

from __future__ import annotations

from pathlib import Path

import click

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, megabytes, print_line, wants_stdout, write_json
from fcn_onnx.cli.options import PATH, Size, force_option, json_option, listed
from fcn_onnx.networks.families import ARCHITECTURES
from fcn_onnx.stages.naming import fp32_name

ARCHS = {name: arch.description for name, arch in ARCHITECTURES.items()}


@click.command(epilog="Architectures:\n\n" + listed(ARCHS) + "\n\nExample: fcn-onnx export --arch resnet50 --opset 12")
@click.option("--arch", type=click.Choice(list(ARCHS)), required=True, help="Which network; see below.")
@click.option("--opset", type=int, default=12, show_default=True, help="11, 12 and newer.")
@click.option(
    "--weights",
    default="DEFAULT",
    show_default=True,
    metavar="DEFAULT|none|FILE",
    help="The published weights, random ones (seeded, recorded as random), or a .pth file.",
)
@click.option("--no-aux", is_flag=True, help="Leave out the auxiliary head and its output.")
@click.option("--size", type=Size(), metavar="HxW", help="Fix the input's size; dynamic otherwise.")
@click.option("--output-labels", is_flag=True, help="Outputs are uint8 labels (N, H, W), the argmax, not logits.")
@click.option("--fp16", is_flag=True, help="Compute in float16, for GPUs; input and outputs stay float32.")
@click.option("--output", type=PATH, metavar="FILE", help="Default: fcn-<arch>-<opset>.onnx here.")
@click.option("--test-data", is_flag=True, help="Also write the model zoo's test data set and .tar.gz.")
@force_option
@json_option
def export(
    arch: str,
    opset: int,
    weights: str,
    no_aux: bool,
    size: tuple[int, int] | None,
    output_labels: bool,
    fp16: bool,
    output: Path | None,
    test_data: bool,
    force: bool,
    json_target: str | None,
) -> None:
    """Export a torch network to ONNX and prove that onnxruntime computes the same."""
    from fcn_onnx import export as run_export
    from fcn_onnx.networks.testdata import test_data_files

    output = output or Path(fp32_name(arch, opset))
    claim(
        json_target,
        {"--output": output, **(test_data_files(output) if test_data else {})},
        {"--weights": Path(weights)},
    )
    result = run_export(
        arch,
        opset=opset,
        weights=weights,
        aux=not no_aux,
        size=size,
        labels=output_labels,
        half=fp16,
        output=output,
        test_data=test_data,
        force=force,
        progress=ConsoleProgress(),
    )
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
