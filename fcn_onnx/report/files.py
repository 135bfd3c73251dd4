"""Reports: `report.json` is the source, Markdown and HTML are drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fcn_onnx.jobs.artifact import atomic_folder, dump_json, npz
from fcn_onnx.report.candidates import (
    HEADER,
    candidate_rows,
    candidates_to_html,
    candidates_to_json,
    candidates_to_markdown,
)
from fcn_onnx.report.histograms import TensorPlot, to_histogram_page
from fcn_onnx.report.html import to_html
from fcn_onnx.report.markdown import to_markdown
from fcn_onnx.report.table import per_class_rows, summary_rows, verdict

__all__ = [
    "CANDIDATES_FILES",
    "HEADER",
    "REPORT_FILES",
    "TensorPlot",
    "candidate_rows",
    "per_class_rows",
    "summary_rows",
    "to_histogram_page",
    "to_html",
    "to_markdown",
    "verdict",
    "write_candidates",
    "write_report",
]


PER_IMAGE = "images.npz"
REPORT_FILES = ("report.json", "report.md", "report.html", PER_IMAGE)
CANDIDATES_FILES = ("candidates.json", "candidates.md", "candidates.html")


def write_candidates(reports: Mapping[str, Mapping[str, Any]], folder: Path) -> tuple[Path, ...]:
    """Write `candidates.json`, `.md` and `.html` into `folder`, where each report is in the folder of its name.

    Raises:
        OutputError: the folder cannot be written.
    """
    files = {
        "candidates.json": dump_json(candidates_to_json(reports)),
        "candidates.md": candidates_to_markdown(reports),
        "candidates.html": candidates_to_html(reports),
    }
    return _write(files, folder)


def write_report(
    report: Mapping[str, Any], folder: Path, per_image: Mapping[str, NDArray[Any]] | None = None
) -> tuple[Path, ...]:
    """Write `report.json`, `report.md` and `report.html` into `folder`, all or none.

    Args:
        per_image: arrays of what was counted of each image; `images.npz` gets them.

    Raises:
        OutputError: the folder cannot be written.
        ValueError: the report holds NaN.
    """
    files = {
        "report.json": dump_json(report),
        "report.md": to_markdown(report),
        "report.html": to_html(report),
    }
    return _write(files, folder, per_image)


def _write(
    files: Mapping[str, str], folder: Path, per_image: Mapping[str, NDArray[Any]] | None = None
) -> tuple[Path, ...]:
    with atomic_folder(folder) as temporary:
        for name, text in files.items():
            (temporary / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        if per_image:
            (temporary / PER_IMAGE).write_bytes(npz(per_image))
    return tuple(folder / name for name in [*files, *([PER_IMAGE] if per_image else [])])
