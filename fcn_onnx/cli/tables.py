"""The comparison as the terminal shows it."""

from __future__ import annotations

from fcn_onnx.cli.console import print_line, print_table
from fcn_onnx.report.document import Document
from fcn_onnx.report.table import (
    CANDIDATES_HEADER,
    REGIONS_HEADER,
    candidate_rows,
    flip_rows,
    region_rows,
    summary_rows,
)
from fcn_onnx.report.verdict import verdict


def print_validation(document: Document) -> None:
    """Print a report's table and its verdicts on stdout."""
    excluded = document.dataset.excluded_calibration_images
    left_out = f", {excluded} calibration images left out" if excluded else ""
    shown = document.shown
    size = "" if shown.resize == shown.protocol_resize else f" shown at {shown.resize}"
    print_line(f"protocol {document.protocol}, {document.images} images{size}{left_out}")
    if document.several:
        print_table(CANDIDATES_HEADER, candidate_rows(document))
        if flips := flip_rows(document):
            print_table(flips[0], flips[1:])
    for name, candidate in document.candidates.items():
        if not document.several:
            print_table(("", "fp32", "int8", "change"), summary_rows(document, candidate))
            if rows := region_rows(document, candidate):
                print_table(REGIONS_HEADER, rows)
        print_line((f"{name}: " if document.several else "") + verdict(document, candidate))
