"""The comparison as the terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fcn_onnx.cli.console import print_line, print_table
from fcn_onnx.report.table import summary_rows, verdict


def print_validation(report: Mapping[str, Any]) -> None:
    """Print a report's table and its verdict on stdout."""
    excluded = report["dataset"]["excluded_calibration_images"]
    left_out = f", {excluded} calibration images left out" if excluded else ""
    shown = report["shown"]
    size = "" if shown["resize"] == shown["protocol_resize"] else f" shown at {shown['resize']}"
    print_line(f"protocol {report['protocol']}, {report['images']} images{size}{left_out}")
    print_table(("", "fp32", "int8", "change"), summary_rows(report))
    print_line(verdict(report))
