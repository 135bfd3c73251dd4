"""`fcn-onnx predict`."""

from __future__ import annotations

from pathlib import Path

import click

from fcn_onnx.cli.console import ConsoleProgress, print_line
from fcn_onnx.cli.options import PATH, interface_options, threads_option
from fcn_onnx.segmenter import Interface


@click.command(epilog="Example: fcn-onnx predict fcn-resnet50-12-int8.onnx street.jpg --output predictions")
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH, metavar="IMAGE…")
@click.option("--output", type=PATH, default=Path("predictions"), show_default=True, metavar="DIR")
@interface_options
@threads_option
def predict(model: Path, images: tuple[Path, ...], output: Path, interface: Interface, threads: int) -> None:
    """Segment photographs: a label PNG in VOC's palette, an overlay, and the confidence."""
    from fcn_onnx import predict as run_predict

    for result in run_predict(
        model, images, output=output, interface=interface, threads=threads, progress=ConsoleProgress()
    ):
        seen = ", ".join(f"{name} {100 * share:.1f} %" for name, share in result.shares.items())
        print_line(f"{result.image}: {seen}")
        print_line(f"  {result.labels}  {result.overlay}  {result.confidence or ''}".rstrip())
