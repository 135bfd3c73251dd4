"""Results as a notebook shows them: small tables without a style, which would be that of the whole notebook."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from fcn_onnx.report.markup import table

if TYPE_CHECKING:
    from fcn_onnx.report.change import Change
    from fcn_onnx.report.document import Document


def document_html(document: Document) -> str:
    """A report: its verdicts, and the tables that the terminal shows."""
    from fcn_onnx.report.table import CANDIDATES_HEADER, REGIONS_HEADER, candidate_rows, region_rows, summary_rows
    from fcn_onnx.report.verdict import verdict

    def parts() -> Iterator[str]:
        if document.several:
            yield table(CANDIDATES_HEADER, candidate_rows(document))
        for name, candidate in document.candidates.items():
            yield _said(verdict(document, candidate), name if document.several else "")
            if not document.several:
                yield table(("", "fp32", "int8", "change"), summary_rows(document, candidate))
                if rows := region_rows(document, candidate):
                    yield table(REGIONS_HEADER, rows)

    return "\n".join(parts())


def change_html(change: Change) -> str:
    """A comparison of two reports: its verdicts, and what changed."""
    from fcn_onnx.report.change import CHANGE_HEADER, change_rows, change_verdict

    return "\n".join(
        _said(change_verdict(release, change.images), name) + table(CHANGE_HEADER, change_rows(release))
        for name, release in change.candidates.items()
    )


def _said(text: str, name: str = "") -> str:
    return f"<p>{escape(name)}{': ' if name else ''}<b>{escape(text)}</b></p>"
