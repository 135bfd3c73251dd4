"""`fcn-onnx validate`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import parameter
from fcn_onnx.cli.options import (
    PATH,
    annotations_option,
    data_option,
    images_option,
    interface_options,
    json_option,
    listed,
    threads_option,
)
from fcn_onnx.cli.tables import print_validation
from fcn_onnx.data.sets.discover import annotations_beside
from fcn_onnx.evaluation.gates import Gates, exit_code
from fcn_onnx.evaluation.protocols import PROTOCOLS
from fcn_onnx.jobs.fields import declared
from fcn_onnx.model.interface import Interface

NAMES = {
    name: protocol.description + (f"; published: {protocol.published}" if protocol.targets else "")
    for name, protocol in PROTOCOLS.items()
}


@click.command(
    epilog="Protocols:\n\n"
    + listed(NAMES)
    + "\n\nExample: fcn-onnx validate --data coco/val2017 --limit 40 --max-drop 1"
)
@click.option("--fp32", type=PATH, metavar="FILE", help="Default: the one fp32 model here.")
@click.option("--int8", type=PATH, metavar="FILE", multiple=True, help="Default: the one here; several are compared.")
@data_option(required=True)
@annotations_option
@click.option("--protocol", type=click.Choice(list(NAMES)), default="torchvision", show_default=True)
@images_option
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N images.")
@click.option("--include-calibration-images", is_flag=True, help="Also score what the int8 model was calibrated on.")
@click.option(
    "--report",
    type=PATH,
    default=Path("report"),
    show_default=True,
    metavar="DIR",
    help="Gets report.json, report.md, report.html and images.npz.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes; 1 times best.")
@interface_options
@threads_option
@json_option
def validate(
    fp32: Path | None,
    int8: tuple[Path, ...],
    data: Path,
    annotations: Path | None,
    protocol: str,
    images: Path | None,
    limit: int | None,
    include_calibration_images: bool,
    report: Path,
    workers: int,
    interface: Interface,
    threads: int,
    json_target: str | None,
    **gates: Any,
) -> None:
    """Compare an int8 model with its fp32 original: mIoU, pixel accuracy, agreement, latency."""
    from fcn_onnx.stages.naming import find_pair
    from fcn_onnx.stages.validate import report_files, validate_and_report

    fp32, first = find_pair(fp32, int8[0] if int8 else None)
    models = {"the fp32 model": fp32, "the int8 model": first}
    claim(json_target, report_files(report), {"the annotations": annotations_beside(data), **models})
    result = validate_and_report(
        fp32,
        int8 or (first,),
        data,
        report=report,
        annotations=annotations,
        protocol=protocol,
        images=images,
        limit=limit,
        include_calibration_images=include_calibration_images,
        gates=Gates(**gates),
        interface=interface,
        workers=workers,
        threads=threads,
        command=shlex.join(["fcn-onnx", *sys.argv[1:]]),
        progress=ConsoleProgress(),
    )
    write_json(result.report, json_target)
    if not wants_stdout(json_target):
        print_validation(result.document)
        print_line(f"report: {report / 'report.html'}")
    sys.exit(exit_code([result.outcome]))


PLACE = next(i for i, option in enumerate(validate.params) if option.name == "report")
validate.params[PLACE:PLACE] = [parameter(entry) for entry in declared(Gates)]
