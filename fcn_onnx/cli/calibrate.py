"""`fcn-onnx calibrate`."""

from __future__ import annotations

from pathlib import Path

import click

from fcn_onnx.calibration import METHODS
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.options import (
    PATH,
    annotations_option,
    data_option,
    images_option,
    json_option,
    listed,
    seed_option,
    threads_option,
)

NAMES = {name: method.description for name, method in METHODS.items()}


@click.command(
    epilog="Methods:\n\n" + listed(NAMES) + "\n\nExample: fcn-onnx calibrate --data coco/train2017 --limit 64"
)
@click.option("--model", type=PATH, metavar="FILE", help="Default: the one fp32 model here.")
@data_option(required=True)
@annotations_option
@images_option
@click.option("--limit", type=click.IntRange(min=1), help="Images to observe. Default: min(100, half).")
@seed_option
@click.option("--method", type=click.Choice(list(NAMES)), default="minmax", show_default=True)
@click.option("--output", type=PATH, metavar="FILE", help="Default: calibration/<model>-<method>.json.")
@threads_option
@json_option
def calibrate(
    model: Path | None,
    data: Path,
    annotations: Path | None,
    images: Path | None,
    limit: int | None,
    seed: int,
    method: str,
    output: Path | None,
    threads: int,
    json_target: str | None,
) -> None:
    """Observe the activations on images and write a table of ranges that onnxruntime's quantizer reads."""
    from fcn_onnx.naming import find_fp32
    from fcn_onnx.pipeline import calibrate_data

    result = calibrate_data(
        model or find_fp32(),
        data,
        annotations=annotations,
        images=images,
        limit=limit,
        seed=seed,
        method=method,
        output=output,
        threads=threads,
        progress=ConsoleProgress(),
    )
    write_json(result.to_json(), json_target)
    if not wants_stdout(json_target):
        print_line(f"wrote {result.output} ({len(result.table.ranges)} tensors, {len(result.images)} images, {method})")
