"""A report's folder: `report.json` and `images.npz` are the source, all else is drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fcn_onnx.errors import ReportError
from fcn_onnx.jobs.arrays import BROKEN, Blocks, npz, read_arrays
from fcn_onnx.jobs.artifact import atomic_folder, dump_json
from fcn_onnx.report.beside import pages_beside
from fcn_onnx.report.document import Document
from fcn_onnx.report.html import to_html
from fcn_onnx.report.markdown import to_markdown
from fcn_onnx.report.metrics import to_metrics
from fcn_onnx.report.pictures import NO_PICTURES, PREFIX, Encoded

Counted = Mapping[str, NDArray[Any] | Blocks]

REPORT_JSON, ARRAYS = "report.json", "images.npz"
DRAWN = ("report.md", "report.html", "metrics.json")
REPORT_FILES = (REPORT_JSON, *DRAWN, ARRAYS)
MAX_PICTURES = 256 << 20
"""Bytes of all pictures that are read; a candidate's have less than a megabyte."""

COUNTED = ("names", "counts_", "agreement")
"""How the names of arrays begin that scores are made of."""

MAX_COUNTS = 1 << 30
"""Bytes of the counts; those of 5,000 images and 21 classes have 18 MB a model."""


def write_report(
    document: Document, folder: Path, counted: Counted = NO_PICTURES, pictures: Encoded = NO_PICTURES
) -> tuple[Path, ...]:
    """Write all files of a report into `folder`, all or none.

    Args:
        counted: what was counted of each image, and
        pictures: the gallery's; `images.npz` gets both, if there are any.

    Raises:
        OutputError: the folder cannot be written.
        ValueError: the report holds NaN.
    """
    files = {REPORT_JSON: dump_json(document.to_json()), **_drawn(document, pictures, folder, folder)}
    arrays = {**counted, **pictures}
    with atomic_folder(folder) as temporary:
        _write(files, temporary)
        if arrays:
            (temporary / ARRAYS).write_bytes(npz(arrays))
    return tuple(folder / name for name in [*files, *([ARRAYS] if arrays else [])])


def redraw(report: Path, folder: Path) -> tuple[Path, ...]:
    """Draw Markdown and HTML of a `report.json` again, with what is there now: the `images.npz` and pages beside it.

    Raises:
        ReportError: it is not a report.
        OutputError: the folder cannot be written.
    """
    files = _drawn(Document.load(report), read_pictures(report.with_name(ARRAYS)), report.parent, folder)
    with atomic_folder(folder) as temporary:
        _write(files, temporary)
    return tuple(folder / name for name in files)


def read_pictures(path: Path) -> Encoded:
    """The pictures in an `images.npz`; none where it is not there, or not such a file."""
    try:
        return read_arrays(path, MAX_PICTURES, prefix=PREFIX)
    except (OSError, ValueError, *BROKEN):
        return NO_PICTURES


def read_counts(path: Path) -> dict[str, NDArray[Any]] | None:
    """What was counted of each image, from an `images.npz`; None where there is no such file.

    Raises:
        ReportError: it is not such a file, or too large.
    """
    if not path.exists():
        return None
    found: dict[str, NDArray[Any]] = {}
    try:
        for prefix in COUNTED:
            found |= read_arrays(path, MAX_COUNTS, prefix=prefix)
    except (OSError, ValueError, *BROKEN) as error:
        raise ReportError(
            f"{path} cannot be read: {error}", fix="put the one there that validate wrote, or remove it"
        ) from error
    return found


def _drawn(document: Document, pictures: Encoded, report: Path, folder: Path) -> dict[str, str]:
    """The files of `DRAWN` as they are to lie in `folder`, of the report that is in the folder `report`."""
    page = to_html(document, pictures, pages_beside(report, document.fp32.digest, folder))
    return dict(zip(DRAWN, (to_markdown(document), page, dump_json(to_metrics(document))), strict=True))


def _write(files: Mapping[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
