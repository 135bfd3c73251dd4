"""What types do not say of a report: that its parts speak of the same classes and models, as its figures rely on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fcn_onnx.errors import ReportError
from fcn_onnx.jobs.typed import shown
from fcn_onnx.report.codec import FIX

if TYPE_CHECKING:
    from fcn_onnx.report.document import Document


def require_consistent(document: Document, fp32: str, where: str) -> None:
    """Check that what is given by class is given for every class, and every model has its confusion matrix.

    Args:
        fp32: what the fp32 model is called among the matrices.

    Raises:
        ReportError: it is not; `where` says in which report.
    """
    by_class: dict[str, Mapping[str, Any] | None] = {f"{fp32}: per_class_iou": document.fp32.per_class_iou}
    for name, candidate in document.candidates.items():
        by_class[f"{name}: per_class_iou"] = candidate.int8.per_class_iou
        by_class[f"{name}: change of per_class_iou"] = candidate.delta.per_class_iou
        by_class[f"{name}: per_class_iou_ci95"] = candidate.delta.per_class_iou_ci95
    for what, found in by_class.items():
        if found is not None and set(found) != set(document.classes):
            strange = sorted(set(found) ^ set(document.classes))
            raise ReportError(f"{where}: {what} is not of the report's classes: {shown(strange)}", fix=FIX)
    _require_regions(document, where)
    if document.confusion is None:
        return
    count = len(document.classes)
    for name in (fp32, *document.candidates):
        matrix = document.confusion.get(name)
        if matrix is None or [len(row) for row in matrix] != [count] * count:
            raise ReportError(f"{where}: the confusion matrix of {shown(name)} is not {count} × {count}", fix=FIX)


def _require_regions(document: Document, where: str) -> None:
    """Every model has something of each region, or, as in older reports, nothing has."""
    expected = set(document.regions or {})
    parts: list[Mapping[str, Any] | None] = [document.fp32.regions]
    for candidate in document.candidates.values():
        parts += [candidate.int8.regions, candidate.delta.regions]
    for found in parts:
        if set(found or {}) != expected:
            strange = sorted(set(found or {}) ^ expected)
            raise ReportError(f"{where}: what is given by region is not of the report's: {shown(strange)}", fix=FIX)
