"""`fcn-onnx predict`."""

from __future__ import annotations

import sys
from io import BufferedReader
from pathlib import Path
from typing import cast

import click

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.options import PATH, interface_options, json_option, threads_option
from fcn_onnx.errors import UsageError
from fcn_onnx.model.interface import Interface

STREAM = Path("-")
KINDS = ("overlay", "labels", "confidence")


@click.command(
    epilog="""Example: fcn-onnx predict fcn-resnet50-12-int8.onnx street.jpg holidays --output predictions

\b
As a filter:
  ffmpeg -i street.mp4 -f image2pipe -c:v mjpeg - | fcn-onnx predict MODEL - | ffmpeg -f image2pipe -i - seen.mp4
"""
)
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH, metavar="IMAGE|FOLDER|-…")
@click.option(
    "--output",
    type=PATH,
    metavar="DIR|-",
    help="Default: predictions; with images from standard input, standard output, as PNG.",
)
@click.option(
    "--write",
    type=click.Choice(KINDS),
    default="overlay",
    show_default=True,
    help="What standard output gets; a folder gets everything.",
)
@click.option("--legend/--no-legend", default=True, show_default=True, help="Name the classes in the overlay.")
@interface_options
@threads_option
@json_option
def predict(
    model: Path,
    images: tuple[Path, ...],
    output: Path | None,
    write: str,
    legend: bool,
    interface: Interface,
    threads: int,
    json_target: str | None,
) -> None:
    """Segment photographs, folders of them, or a stream of frames.

    Each gives a label PNG in VOC's palette, an overlay, and the confidence.
    """
    from fcn_onnx import predict as run_predict

    if STREAM in images or output == STREAM:
        if images != (STREAM,) or json_target:
            raise UsageError(
                "frames are read from a stream alone, and are not reported as JSON",
                fix="give - as the only image, without --json",
            )
        _filter(model, None if output in (None, STREAM) else output, write, legend, interface, threads)
        return
    claim(json_target)
    results = run_predict(
        model,
        images,
        output=output or Path("predictions"),
        legend=legend,
        interface=interface,
        threads=threads,
        progress=ConsoleProgress(),
    )
    found = [{"image": str(r.image), "labels": str(r.labels), "shares": r.shares} for r in results]
    write_json({"predictions": found}, json_target)
    if wants_stdout(json_target):
        return
    for result in results:
        seen = ", ".join(f"{name} {100 * share:.1f} %" for name, share in result.shares.items())
        print_line(f"{result.image}: {seen}")
        print_line(f"  {result.labels}  {result.overlay}  {result.confidence or ''}".rstrip())


def _filter(model: Path, output: Path | None, write: str, legend: bool, interface: Interface, threads: int) -> None:
    """Frames from standard input to a folder or, one for one, to standard output."""
    from fcn_onnx.data.frames import read_frames
    from fcn_onnx.stages.predict import predict_frames

    frames = read_frames(cast(BufferedReader, sys.stdin.buffer))
    for name, picture in predict_frames(
        model, frames, legend=legend, interface=interface, threads=threads, progress=ConsoleProgress()
    ):
        click.echo(f"{name}: {', '.join(picture.shares)}", err=True)
        if output:
            picture.save(Path(name), output / name)
            continue
        image = {"overlay": picture.overlay, "labels": picture.labels, "confidence": picture.confidence}[write]
        if image is None:
            raise UsageError(f"{model} returns labels, which have no confidence", fix="write the overlay or the labels")
        image.save(sys.stdout.buffer, "PNG")
        sys.stdout.buffer.flush()
