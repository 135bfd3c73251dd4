"""A report as numbers by name, for whatever tracks experiments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fcn_onnx.report.document import Candidate, Document, Row

MODEL = ("miou", "pixel_accuracy", "mean_accuracy", "size_bytes")
DELTA = ("miou", "miou_relative_percent", "pixel_accuracy", "label_agreement", "speedup", "size_ratio")
LATENCY = ("p50", "p90", "p99", "mean")
FOREIGN = re.compile(r"[^\w .-]", re.ASCII)
"""What MLflow takes in no name; the slash it takes stands between our parts."""

Numbers = Iterator[tuple[str, float | None]]


def to_metrics(document: Document) -> dict[str, float]:
    """`fp32/miou`, `int8/miou`, `int8/delta_miou`, `int8/iou/<class>` …: flat, numbers only, units as in report.json.

    What is null in the report is left out; an interval is `…_ci95_low` and `…_ci95_high`. Several candidates are called
    as in the report. Signs that trackers refuse become `_`; of two names that are then alike the first is kept.
    """
    found: dict[str, float] = {"images": document.images}
    for key, value in _all(document):
        if value is not None:
            found.setdefault(key, value)
    return found


def _all(document: Document) -> Numbers:
    yield from _row("fp32", document.fp32)
    for name, candidate in document.candidates.items():
        yield from _candidate(_clean(name), candidate)


def _candidate(name: str, candidate: Candidate) -> Numbers:
    yield from _row(name, candidate.int8)
    for key in DELTA:
        yield f"{name}/delta_{key}", getattr(candidate.delta, key)
        ends = getattr(candidate.delta, f"{key}_ci95", None) or ()
        yield from ((f"{name}/delta_{key}_ci95_{end}", x) for end, x in zip(("low", "high"), ends, strict=False))
    yield f"{name}/drop_percent", candidate.gate.drop_percent
    for region, delta in (candidate.delta.regions or {}).items():
        yield f"{name}/delta_{_clean(region)}", delta.score
        yield f"{name}/delta_{_clean(region)}_label_agreement", delta.label_agreement


def _row(name: str, row: Row) -> Numbers:
    yield from ((f"{name}/{key}", getattr(row, key)) for key in MODEL)
    yield from ((f"{name}/{_clean(region)}", score) for region, score in (row.regions or {}).items())
    yield from ((f"{name}/latency_{key}_ms", getattr(row.latency_ms, key)) for key in LATENCY)
    per_class: Mapping[str, float | None] = row.per_class_iou or {}
    yield from ((f"{name}/iou/{_clean(one)}", value) for one, value in per_class.items())


def _clean(part: str) -> str:
    return FOREIGN.sub("_", part)
