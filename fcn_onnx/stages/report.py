"""The stage `report`: what is drawn of a report.json, drawn again."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.jobs.artifact import claim_outputs
from fcn_onnx.report.document import Document
from fcn_onnx.report.files import ARRAYS, DRAWN, REPORT_JSON, redraw


def open_report(path: Path | str) -> Document:
    """The report.json at `path`, or in the folder `path`, of schema 1 or 2, as the types it is made of.

    Raises:
        ReportError: it is not there, or is not a report.
    """
    source = Path(path)
    return Document.load(source / REPORT_JSON if source.is_dir() else source)


def report(source: Path, *, output: Path | None = None) -> tuple[Path, ...]:
    """Draw Markdown and HTML of the report.json `source`, of schema 1 or 2, again.

    The gallery's pictures come from the `images.npz` beside it; without that file the gallery is left out.

    Args:
        output: gets `report.md`, `report.html` and `metrics.json`; default: the folder that `source` is in.

    Raises:
        ReportError: it is not a report.
        OutputError: the folder cannot be written.
    """
    folder = output or source.parent
    drawn = {f"{name} of --output": folder / name for name in DRAWN}
    claim_outputs(drawn, {"the report": source, "its pictures": source.with_name(ARRAYS)})
    return redraw(source, folder)
