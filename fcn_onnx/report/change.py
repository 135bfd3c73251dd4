"""What has changed from one report to a later one, as typed values, as rows and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fcn_onnx.report import codec
from fcn_onnx.report.document import ByClass, Gate, Interval
from fcn_onnx.report.table import ABSENT, Line, change, interval, megabytes, percent, points
from fcn_onnx.report.verdict import judgement

SCHEMA = 1
CHANGE_HEADER = ("", "old", "new", "change")
CLASSES_NAMED = 3

SCORES: Mapping[str, str] = {
    "fp32_miou": "fp32 mIoU",
    "int8_miou": "int8 mIoU",
    "fp32_pixel_accuracy": "fp32 pixel accuracy",
    "int8_pixel_accuracy": "int8 pixel accuracy",
    "label_agreement": "label agreement",
}
"""Fractions, by their names in `Release.measures`."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number of the older report and of the newer; `change` is new − old, in the same unit."""

    old: float | None
    new: float | None
    change: float | None
    change_ci95: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """A candidate of the older report and the one that has taken its place.

    Attributes:
        measures: those of `SCORES`; `fp32_latency_ms` and `int8_latency_ms`, medians; `speedup`, int8's against fp32;
            `fp32_size_bytes` and `int8_size_bytes`.
        miou_relative_percent: the change of int8's mIoU, relative to the older.
        per_class_iou: the change of int8's IoU by class.
        speedup, speedup_ci95: the older int8 model's median latency over the newer's.
        gate: whether the newer meets what was asked for.
    """

    measures: Mapping[str, Measured]
    miou_relative_percent: float | None
    per_class_iou: ByClass | None
    speedup: float
    speedup_ci95: Interval | None
    gate: Gate


@dataclass(frozen=True, kw_only=True)
class Change:
    """The whole of it; `old` and `new` are the files, `notes` what a reader must know."""

    schema: int = SCHEMA
    old: str
    new: str
    protocol: str
    images: int
    candidates: Mapping[str, Release]
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        from fcn_onnx.report.notebook import change_html  # is made of this

        return change_html(self)

    def to_json(self) -> dict[str, Any]:
        """The object that `compare --json` writes."""
        written: dict[str, Any] = codec.to_json(self)
        return written


def change_rows(release: Release) -> list[Line]:
    """(what, old, new, change): scores in percent and percentage points, the rest in its unit and in percent."""
    measures = release.measures
    rows = [
        (said, percent(found.old), percent(found.new), change(found.change, found.change_ci95))
        for said, found in ((SCORES[name], measures[name]) for name in SCORES)
    ]
    for name in ("fp32", "int8"):
        found = measures[f"{name}_latency_ms"]
        rows.append((f"{name} latency p50", _with(found.old, " ms"), _with(found.new, " ms"), _relative(found)))
    found = measures["speedup"]
    rows.append(("int8's speed-up over fp32", _with(found.old, "×", 2), _with(found.new, "×", 2), _relative(found)))
    for name in ("fp32", "int8"):
        found = measures[f"{name}_size_bytes"]
        rows.append((f"{name} size", megabytes(int(found.old or 0)), megabytes(int(found.new or 0)), _relative(found)))
    return rows


def change_verdict(release: Release, images: int) -> str:
    """The gates, whether int8 scores otherwise than before, and how sure that is."""
    miou, agreement = release.measures["int8_miou"], release.measures["label_agreement"]
    if miou.change is None:
        finding = (
            f"Without scores there is the label agreement: {change(agreement.change, agreement.change_ci95)} points"
        )
    else:
        relative = release.miou_relative_percent
        said = "" if relative is None else f" ({relative:+.2f} % relative)"
        finding = f"{_direction(miou)}: int8's mIoU {points(miou.change)} points{said} on {images} images"
    speed = f"{release.speedup:.2f}× the older int8's speed{interval(release.speedup_ci95, 1, '×', signed=False)}"
    return f"{judgement(release.gate, images)}{finding}. {speed}.{_lost(release.per_class_iou)}"


def _direction(found: Measured) -> str:
    if found.change_ci95 is None:
        return "Cannot tell, there is no interval"
    low, high = found.change_ci95
    return "Worse" if high < 0 else "Better" if low > 0 else "No significant change"


def _lost(per_class: ByClass | None) -> str:
    """The classes that lost most."""
    changes = sorted((x, name) for name, x in (per_class or {}).items() if x is not None and x < 0)
    named = ", ".join(f"{name} {points(x)}" for x, name in changes[:CLASSES_NAMED])
    return f" Classes that lost most: {named}." if named else ""


def _with(value: float | None, unit: str, digits: int = 1) -> str:
    return ABSENT if value is None else f"{value:.{digits}f}{unit}"


def _relative(found: Measured) -> str:
    """The change in percent of the older number."""
    return ABSENT if not found.old or found.change is None else f"{100 * found.change / found.old:+.1f} %"
