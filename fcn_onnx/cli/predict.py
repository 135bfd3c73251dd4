"""`fcn-onnx predict`."""

from __future__ import annotations

import sys
from io import BufferedReader
from pathlib import Path
from typing import cast

import click

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.text import visible
from fcn_onnx.stages.options import PredictOptions

STREAM = Path("-")


def act(options: PredictOptions, json_target: str | None) -> None:
    """Segment photographs, folders of them, or a stream of frames.

    Each gives a label PNG in VOC's palette, an overlay, and the confidence.
    """
    from fcn_onnx.stages.predict import predict

    if STREAM in options.images or options.output == STREAM:
        if options.images != (STREAM,) or json_target:
            raise UsageError(
                "frames are read from a stream alone, and are not reported as JSON",
                fix="give - as the only image, without --json",
            )
        _filter(options)
        return
    claim(json_target)
    results = predict(options, progress=ConsoleProgress())
    found = [{"image": str(r.image), "labels": str(r.labels), "shares": r.shares} for r in results]
    write_json({"predictions": found}, json_target)
    if wants_stdout(json_target):
        return
    for result in results:
        seen = ", ".join(f"{name} {100 * share:.1f} %" for name, share in result.shares.items())
        print_line(f"{result.image}: {seen}")
        print_line(f"  {result.labels}  {result.overlay}  {result.confidence or ''}".rstrip())


def _filter(options: PredictOptions) -> None:
    """Frames from standard input to a folder or, one for one, to standard output."""
    from fcn_onnx.data.frames import read_frames
    from fcn_onnx.stages.predict import predict_frames

    output = None if options.output in (None, STREAM) else options.output
    frames = read_frames(cast(BufferedReader, sys.stdin.buffer))
    for name, picture in predict_frames(options, frames, progress=ConsoleProgress()):
        click.echo(visible(f"{name}: {', '.join(picture.shares)}"), err=True)
        if output:
            picture.save(Path(name), output / name)
            continue
        image = {"overlay": picture.overlay, "labels": picture.labels, "confidence": picture.confidence}[options.write]
        if image is None:
            raise UsageError(
                f"{options.model} returns labels, which have no confidence", fix="write the overlay or the labels"
            )
        image.save(sys.stdout.buffer, "PNG")
        sys.stdout.buffer.flush()


command = StageCommand(
    "predict",
    PredictOptions,
    act,
    outline="fcn_onnx.stages.outlines:predict",
    tables={"runtime": "Runtimes"},
    examples=("predict fcn-resnet50-12-int8.onnx street.jpg holidays --output predictions",),
    after="""\b
As a filter:
  ffmpeg -i street.mp4 -f image2pipe -c:v mjpeg - | fcn-onnx predict MODEL - | ffmpeg -f image2pipe -i - seen.mp4
""",
)
