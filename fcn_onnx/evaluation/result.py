"""What a validation found, as typed values and arrays, and as the rows of its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.evaluation.comparison import Difference, Interval, compare, median_interval, speedup_interval
from fcn_onnx.evaluation.gates import Estimate, Gates, worst
from fcn_onnx.evaluation.metrics import Counts, Metric, Scores
from fcn_onnx.evaluation.regions import RegionChange, RegionCounts, region_changes
from fcn_onnx.evaluation.sparse import SparseCounts
from fcn_onnx.report import document
from fcn_onnx.report.document import FP32, Delta, Document, Gate, OneSided, Outcome, Row
from fcn_onnx.report.notebook import document_html
from fcn_onnx.report.profile import Profile
from fcn_onnx.report.regions import RegionDelta
from fcn_onnx.runtime.timing import Latency


@dataclass(frozen=True)
class ModelResult:
    """One row: a model in a runtime.

    Attributes:
        name: of the row; `fp32` is the reference.
        path: the file.
        runtime: what ran it.
        digest: of the file and its external data.
        size_bytes: likewise.
        scores: of all images.
        counted: (N, columns), the protocol's row of counts for each image, without the zeros.
        regions: what was counted along borders, and on objects.
        latency_ms: (N,) float64, the session's time for each image.
        quantization: the plan recorded in the model's card, if there is one.
        peak_memory_bytes, profile: of a session of its own, where they were asked for.
    """

    name: str
    path: Path
    runtime: str
    digest: str
    size_bytes: int
    scores: Scores
    counted: SparseCounts
    regions: RegionCounts
    latency_ms: NDArray[np.float64]
    quantization: Mapping[str, Any] | None
    peak_memory_bytes: int | None = None
    profile: Profile | None = None

    @property
    def counts(self) -> Counts:
        """`counted` as (N, columns) int64, which is made anew each time."""
        return np.asarray(self.counted)

    def row(self, classes: Sequence[str]) -> Row:
        """As the report has it."""
        scores = self.scores
        return Row(
            path=str(self.path),
            digest=self.digest,
            runtime=self.runtime,
            miou=number(scores.miou),
            pixel_accuracy=number(scores.pixel_accuracy),
            mean_accuracy=None if scores.mean_accuracy is None else number(scores.mean_accuracy),
            per_class_iou=per_class(scores.per_class_iou, classes),
            regions={name: number(score) for name, score in self.regions.scores.items()},
            latency_ms=document.Latency(**asdict(Latency.of(self.latency_ms))),
            latency_samples_ms=tuple(round(float(x), 3) for x in self.latency_ms),
            size_bytes=self.size_bytes,
            quantization=self.quantization,
            peak_memory_bytes=self.peak_memory_bytes,
            profile=self.profile,
        )


@dataclass(frozen=True)
class Comparison:
    """A candidate against the reference.

    Attributes:
        fp32, int8: the two rows.
        agreement: (N, 2) int64, pixels with the same label and pixels compared.
        difference: int8 − fp32 with intervals.
        regions: the same along borders, and on objects, by region.
        speedup: median fp32 latency / median int8 latency.
        speedup_ci95: its interval; None below five images.
        gate: whether it meets the gates.
    """

    fp32: ModelResult
    int8: ModelResult
    agreement: NDArray[np.int64]
    difference: Difference
    regions: Mapping[str, RegionChange]
    speedup: float
    speedup_ci95: Interval | None
    gate: Gate

    @classmethod
    def of(
        cls, metric: Metric, fp32: ModelResult, int8: ModelResult, agreement: NDArray[np.int64], gates: Gates
    ) -> Comparison:
        """Compare two rows, and hold the second against the gates."""
        difference = compare(metric, fp32.counted, int8.counted, agreement)
        regions = region_changes(fp32.regions, int8.regions)
        speedup, speedup_ci95 = speedup_interval(fp32.latency_ms, int8.latency_ms)
        size = int8.size_bytes / 1e6
        measured = {
            "max_drop": drop(difference.miou, difference.miou_ci95, fp32.scores.miou),
            "min_agreement": Estimate(difference.label_agreement, difference.label_agreement_ci95),
            "min_speedup": Estimate(speedup, speedup_ci95),
            "max_latency": Estimate(*median_interval(int8.latency_ms)),
            "max_size": Estimate(size, (size, size)),
        }
        gate = gates.judge(measured, len(agreement))
        return cls(fp32, int8, agreement, difference, regions, speedup, speedup_ci95, gate)

    def delta(self, classes: Sequence[str]) -> Delta:
        """As the report has it."""
        before, after = self.fp32.scores.per_class_iou, self.int8.scores.per_class_iou
        found, ends = self.difference, self.difference.per_class_iou_ci95
        intervals = None if ends is None else {c: bounds(pair) for c, pair in zip(classes, ends, strict=True)}
        return Delta(
            miou=number(found.miou),
            miou_relative_percent=relative_percent(found.miou, self.fp32.scores.miou),
            miou_ci95=bounds(found.miou_ci95),
            pixel_accuracy=number(found.pixel_accuracy),
            pixel_accuracy_ci95=bounds(found.pixel_accuracy_ci95),
            label_agreement=found.label_agreement,
            label_agreement_ci95=bounds(found.label_agreement_ci95),
            per_class_iou=None if before is None or after is None else per_class(after - before, classes),
            per_class_iou_ci95=intervals,
            regions={name: RegionDelta(**change._asdict()) for name, change in self.regions.items()},
            speedup=self.speedup,
            speedup_ci95=self.speedup_ci95,
            size_ratio=self.fp32.size_bytes / self.int8.size_bytes,
        )

    def one_sided(self, classes: Sequence[str], *, leaves_absent_out: bool) -> OneSided | None:
        """Classes in no truth that one model alone predicts: 0 in that model's mean, and not in the other's at all.

        By the protocol both means are right, but their difference is then not one of quality. None where there is no
        such class, or the protocol counts absent ones.
        """
        before, after = self.fp32.scores.per_class_iou, self.int8.scores.per_class_iou
        if before is None or after is None or not leaves_absent_out:
            return None
        alone = np.isnan(before) != np.isnan(after)
        if not alone.any():
            return None
        both = ~np.isnan(before) & ~np.isnan(after)
        return OneSided(
            predicted_by={classes[c]: FP32 if np.isnan(after[c]) else self.int8.name for c in np.flatnonzero(alone)},
            common_classes=int(both.sum()),
            miou_common_classes=float((after[both] - before[both]).mean()),
        )


class PerImage(Mapping[str, NDArray[Any]]):
    """Arrays by name; those that are mostly zeros are made whole when they are asked for.

    Args:
        held: as they are held.
    """

    def __init__(self, held: Mapping[str, NDArray[Any] | SparseCounts]) -> None:
        self.held = held

    def __getitem__(self, name: str) -> NDArray[Any]:
        return np.asarray(self.held[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)


@dataclass(frozen=True)
class Validation:
    """The whole result of `fcn_onnx.validate`.

    Attributes:
        fp32: the reference.
        candidates: each against it, by name; one alone is called `int8`, several by their files.
        document: what `report.json` holds: all of the above and where it came from.
        per_image: what was counted of each image, image by image: `names`, `counts_fp32` and `counts_<candidate>`
            (N, columns), `agreement` or, of several candidates, `agreement_<candidate>` (N, 2) pixels with the same
            label and pixels compared, `regions_ground` (N, G, C + 2), `regions_fp32` and `regions_<candidate>` (N, G,
            2C + 1) as `fcn_onnx.evaluation.regions.Ground` counts them, `latency_fp32` and `latency_<candidate>` in
            ms, `seconds` (N, 3) of loading, all sessions and scoring.
        pictures: the galleries', by the names that the document has for them; each a file, (n,) uint8.
    """

    fp32: ModelResult
    candidates: Mapping[str, Comparison]
    document: Document
    per_image: PerImage
    pictures: Mapping[str, NDArray[Any]]

    def _repr_html_(self) -> str:
        return document_html(self.document)

    @property
    def report(self) -> dict[str, Any]:
        """The JSON of `report.json`."""
        return self.document.to_json()

    @property
    def only(self) -> Comparison:
        """The one candidate. Raises ValueError if there are several."""
        (candidate,) = self.candidates.values()
        return candidate

    @property
    def outcome(self) -> Outcome | None:
        """Of all gates of all candidates; None without a gate."""
        return worst(candidate.gate.outcome for candidate in self.candidates.values())

    @property
    def passed(self) -> bool:
        """False only where a gate was set that is not, or perhaps not, met."""
        return self.outcome in (None, Outcome.PASSED)


def drop(change: float | None, ci95: Interval | None, reference: float | None) -> Estimate:
    """A loss relative to the mIoU that there was, in percent, of a change of it and its interval."""
    lost = None if change is None or reference is None else relative_percent(-change, reference)
    if lost is None or reference is None or ci95 is None:
        return Estimate(lost, None)
    low, high = ci95
    return Estimate(lost, (-100 * high / reference, -100 * low / reference))


def relative_percent(delta: float, reference: float) -> float | None:
    """100 · delta / reference; None where the reference is 0 or not a number."""
    return number(100 * delta / reference) if reference > 0 else None


def per_class(values: NDArray[np.float64] | None, classes: Sequence[str]) -> dict[str, float | None] | None:
    """Class name → value of (C,); None for NaN."""
    if values is None:
        return None
    return {name: number(value) for name, value in zip(classes, values, strict=True)}


def bounds(interval: Sequence[float] | NDArray[np.float64] | None) -> Interval | None:
    """An interval as floats; None where there is none, or it is not a number."""
    if interval is None or np.isnan(interval).any():
        return None
    low, high = interval
    return float(low), float(high)


def number(value: float) -> float | None:
    """A JSON number; None for NaN."""
    return None if np.isnan(value) else float(value)
