"""What stands above the sections of several candidates: all of them together, on the same scales."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fcn_onnx.report.document import FP32, Document, Row
from fcn_onnx.report.markup import figure, table
from fcn_onnx.report.svg import LABEL, changes_figure, latency_strips
from fcn_onnx.report.table import (
    CANDIDATES_HEADER,
    candidate_rows,
    candidates_line,
    flip_rows,
    percent,
    regions_line,
)


def side_by_side(document: Document) -> Iterator[str]:
    """Tables and figures of all candidates; names lead to `#candidate-1` and so on."""
    links = [f"#candidate-{index}" for index in range(1, len(document.candidates) + 1)]
    yield table(CANDIDATES_HEADER, candidate_rows(document), candidates_line(document), kind="cards", links=links)
    if len(runtimes := _runtimes(document)) > 1:
        yield "<h2>By runtime</h2>"
        yield table(("model", *runtimes), _by_runtime(document, runtimes), "Speed over fp32's, and agreement with it.")
    changes = {name: candidate.delta.miou for name, candidate in document.candidates.items()}
    intervals = {name: candidate.delta.miou_ci95 for name, candidate in document.candidates.items()}
    if any(intervals.values()):
        drawing = changes_figure([*changes], changes, intervals, left=2 * LABEL)
        yield "<h2>Change of mIoU, side by side</h2>"
        yield figure(drawing, "int8 − fp32 in percentage points, with 95 % intervals over the choice of images.")
    rows = {FP32: document.fp32} | {name: candidate.int8 for name, candidate in document.candidates.items()}
    if all(row.latency_samples_ms for row in rows.values()):
        yield "<h2>Latency, side by side</h2>"
        drawing = latency_strips({name: row.latency_samples_ms for name, row in rows.items()}, left=2 * LABEL)
        yield figure(drawing, "The session's time for each image, models in turns.")
    if flips := flip_rows(document):
        yield "<h2>Where labels flip, side by side</h2>"
        yield table(flips[0], flips[1:], regions_line(document), kind="cards", links=links)


def _runtimes(document: Document) -> list[str]:
    return list(dict.fromkeys(candidate.int8.runtime for candidate in document.candidates.values()))


def _by_runtime(document: Document, runtimes: list[str]) -> Iterator[tuple[str, ...]]:
    """A row for each file, with what it came to in each runtime."""
    cells: dict[str, dict[str, str]] = {}
    for candidate in document.candidates.values():
        delta = candidate.delta
        said = f"{delta.speedup:.2f}×, {percent(delta.label_agreement)}"
        cells.setdefault(_file(candidate.int8), {})[candidate.int8.runtime] = said
    for file, found in cells.items():
        yield file, *(found.get(runtime, "") for runtime in runtimes)


def _file(row: Row) -> str:
    return Path(row.path).name
