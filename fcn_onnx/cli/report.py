"""`fcn-onnx report`."""

from __future__ import annotations

from pathlib import Path

import click

from fcn_onnx.cli.console import print_line
from fcn_onnx.cli.flags import PATH


@click.command("report", epilog="Example: fcn-onnx report report/report.json")
@click.argument("source", type=PATH, metavar="REPORT.json")
@click.option(
    "--output",
    type=PATH,
    metavar="DIR",
    help="Gets report.md, report.html and metrics.json. Default: where the file is.",
)
def command(source: Path, output: Path | None) -> None:
    """Draw an earlier report again, from its report.json and the images.npz beside it."""
    from fcn_onnx.stages.report import report

    for path in report(source, output=output):
        print_line(f"wrote {path}")
