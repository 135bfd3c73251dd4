"""`fcn-onnx calibrate`."""

from __future__ import annotations

from pathlib import Path

import click

from fcn_onnx.calibration.thresholds import DEFAULT_METHOD, METHODS
from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.options import (
    PATH,
    image_choice,
    interface_options,
    json_option,
    listed,
    percentile_option,
    threads_option,
)
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.errors import UsageError
from fcn_onnx.model.interface import Interface
from fcn_onnx.stages.naming import find_fp32, table_path

NAMES = {name: method.description for name, method in METHODS.items()}


@click.command(
    epilog="Methods:\n\n"
    + listed(NAMES)
    + "\n\nExample: fcn-onnx calibrate --data coco/train2017 --limit 64 --histograms h.npz"
    + "\n\nExample: fcn-onnx calibrate --from h.npz --method kl --output kl.json"
)
@click.option("--model", type=PATH, metavar="FILE", help="Default: the one fp32 model here.")
@image_choice
@click.option("--from", "source", type=PATH, metavar="HIST", help="Histograms of an earlier pass, instead of --data.")
@click.option("--method", type=click.Choice(list(NAMES)), default=DEFAULT_METHOD, show_default=True)
@percentile_option
@click.option("--output", type=PATH, metavar="FILE", help="Default: calibration/<model>-<method>.json.")
@click.option("--histograms", type=PATH, metavar="FILE", help="Also write what was observed, for --from.")
@click.option("--skip-bad-images", is_flag=True, help="List images that cannot be read instead of stopping.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@interface_options
@threads_option
@json_option
def calibrate(
    model: Path | None,
    choice: ImageChoice | None,
    source: Path | None,
    method: str,
    percentile: float | None,
    output: Path | None,
    histograms: Path | None,
    skip_bad_images: bool,
    workers: int,
    interface: Interface,
    threads: int,
    json_target: str | None,
) -> None:
    """Observe the activations on images and write a table of ranges that onnxruntime's quantizer reads."""
    from fcn_onnx.stages.calibrate import derive
    from fcn_onnx.stages.calibrating import calibrate_data

    if (choice is None) == (source is None):
        raise UsageError("images (--data) or histograms (--from)?", fix="give exactly one of the two")
    if source is not None:
        output = output or source.with_name(f"{source.stem}-{method}.json")
        claim(json_target, {"--output": output})
        result = derive(source, method=method, percentile=percentile, output=output)
    else:
        assert choice is not None
        model = model or find_fp32()
        output = output or table_path(model, method)
        claim(
            json_target,
            {"--output": output, "--histograms": histograms},
            {"the model": model, **choice.inputs()},
        )
        result = calibrate_data(
            model,
            choice,
            method=method,
            percentile=percentile,
            output=output,
            histograms=histograms,
            skip_bad_images=skip_bad_images,
            workers=workers,
            interface=interface,
            threads=threads,
            progress=ConsoleProgress(),
        )
    write_json(result.to_json(), json_target)
    if wants_stdout(json_target):
        return
    table = result.table
    skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
    print_line(
        f"wrote {result.output}: {len(table.ranges)} tensors, {len(table.images)} images{skipped}, {table.method}"
    )
    if histograms is not None:
        print_line(f"wrote {histograms}")
