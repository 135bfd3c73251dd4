"""What a validation found, as typed values and as the JSON that every report is drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.evaluation.comparison import Difference, Interval
from fcn_onnx.evaluation.metrics import Counts, Scores
from fcn_onnx.runtime.timing import Latency

SCHEMA = 1


@dataclass(frozen=True)
class ModelResult:
    """One model's row.

    Attributes:
        path: the file, as it was named.
        digest: of the file.
        size_bytes: of the file and its external data.
        scores: of all images.
        counts: (N, columns) int64, the protocol's row of counts for each image.
        latency_ms: (N,) float64, the session's time for each image.
        quantization: the plan recorded in the model's card, if there is one.
    """

    path: str
    digest: str
    size_bytes: int
    scores: Scores
    counts: Counts
    latency_ms: NDArray[np.float64]
    quantization: Mapping[str, Any] | None

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """The `fp32` or `int8` object of the report."""
        return {
            "path": self.path,
            "miou": number(self.scores.miou),
            "pixel_accuracy": number(self.scores.pixel_accuracy),
            "mean_accuracy": None if self.scores.mean_accuracy is None else number(self.scores.mean_accuracy),
            "per_class_iou": per_class(self.scores.per_class_iou, classes),
            "latency_ms": asdict(Latency.of(self.latency_ms)),
            "latency_samples_ms": [round(float(x), 3) for x in self.latency_ms],
            "size_bytes": self.size_bytes,
            "quantization": self.quantization,
        }


@dataclass(frozen=True)
class Gate:
    """`--max-drop`: the relative mIoU loss that is allowed, in percent; the point estimate is tested.

    Attributes:
        max_drop_percent: what is allowed; None without a gate.
        drop_percent: the point estimate; None where fp32 scores nothing to lose.
        drop_percent_ci95: its interval; None where there is none.
    """

    max_drop_percent: float | None
    drop_percent: float | None
    drop_percent_ci95: Interval | None = None

    @property
    def passed(self) -> bool | None:
        """None without a gate; a drop that cannot be computed does not pass one."""
        if self.max_drop_percent is None:
            return None
        return self.drop_percent is not None and self.drop_percent <= self.max_drop_percent

    @property
    def certain(self) -> bool | None:
        """Whether the interval lies on one side of what is allowed; None without a gate."""
        if self.max_drop_percent is None:
            return None
        if self.drop_percent_ci95 is None:
            return False
        low, high = self.drop_percent_ci95
        return not low <= self.max_drop_percent < high

    def to_json(self) -> dict[str, Any]:
        """The `gate` object of the report."""
        return {
            "max_drop_percent": self.max_drop_percent,
            "drop_percent": self.drop_percent,
            "drop_percent_ci95": list(self.drop_percent_ci95) if self.drop_percent_ci95 else None,
            "passed": self.passed,
            "certain": self.certain,
        }


@dataclass(frozen=True)
class Validation:
    """The whole result of `fcn_onnx.validate`.

    Attributes:
        fp32, int8: the two models.
        difference: int8 − fp32 with intervals.
        speedup: median fp32 latency / median int8 latency.
        speedup_ci95: its interval; None below five images.
        gate: whether the loss is within `--max-drop`.
        report: the JSON of `report.json`, holding all of the above and where it came from.
        per_image: what was counted of each image, row by row: `names`, `counts_fp32` and `counts_int8` (N, columns),
            `agreement` (N, 2) pixels with the same label and pixels compared, `latency_fp32` and `latency_int8` in ms,
            `seconds` (N, 3) of loading, both sessions and scoring.
    """

    fp32: ModelResult
    int8: ModelResult
    difference: Difference
    speedup: float
    speedup_ci95: Interval | None
    gate: Gate
    report: Mapping[str, Any]
    per_image: Mapping[str, NDArray[Any]]

    @property
    def passed(self) -> bool:
        """False only when a gate was set and not met."""
        return self.gate.passed is not False


def delta_json(
    fp32: ModelResult,
    int8: ModelResult,
    difference: Difference,
    speedup: float,
    speedup_ci95: Interval | None,
    classes: Sequence[str],
) -> dict[str, Any]:
    """The `delta` object of the report."""
    before, after = fp32.scores.per_class_iou, int8.scores.per_class_iou
    return {
        "miou": number(difference.miou),
        "miou_relative_percent": relative_percent(difference.miou, fp32.scores.miou),
        "miou_ci95": bounds(difference.miou_ci95),
        "pixel_accuracy": number(difference.pixel_accuracy),
        "pixel_accuracy_ci95": bounds(difference.pixel_accuracy_ci95),
        "label_agreement": number(difference.label_agreement),
        "label_agreement_ci95": bounds(difference.label_agreement_ci95),
        "per_class_iou": None if before is None or after is None else per_class(after - before, classes),
        "per_class_iou_ci95": None
        if difference.per_class_iou_ci95 is None
        else {
            name: None if np.isnan(ends).any() else ends.tolist()
            for name, ends in zip(classes, difference.per_class_iou_ci95, strict=True)
        },
        "speedup": speedup,
        "speedup_ci95": bounds(speedup_ci95),
        "size_ratio": fp32.size_bytes / int8.size_bytes,
    }


def relative_percent(delta: float, reference: float) -> float | None:
    """100 · delta / reference; None where the reference is 0 or not a number."""
    return number(100 * delta / reference) if reference > 0 else None


def per_class(values: NDArray[np.float64] | None, classes: Sequence[str]) -> dict[str, float | None] | None:
    """Class name → value of (C,); null for NaN."""
    if values is None:
        return None
    return {name: number(value) for name, value in zip(classes, values, strict=True)}


def bounds(interval: Interval | None) -> list[float | None] | None:
    """An interval as JSON: [low, high], or null."""
    return None if interval is None else [number(x) for x in interval]


def number(value: float) -> float | None:
    """A JSON number; null for NaN."""
    return None if np.isnan(value) else float(value)
