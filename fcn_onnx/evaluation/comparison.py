"""Two models on the same images: the difference and how sure we are of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.evaluation.metrics import Counts, Floats, Metric

RESAMPLES = 10_000
CHUNK = 500
Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """int8 − fp32 with 95 % intervals over the choice of images; fractions.

    The interval does not cover the choice of calibration images: vary the calibration seed for that.
    """

    miou: float
    miou_ci95: Interval
    pixel_accuracy: float
    pixel_accuracy_ci95: Interval
    label_agreement: float
    label_agreement_ci95: Interval
    per_class_iou_ci95: NDArray[np.float64] | None
    """(C, 2) float64, of each class's IoU; NaN where a model does not score the class. None without classes."""


def compare(
    metric: Metric,
    fp32: Counts,
    int8: Counts,
    agreement: NDArray[np.int64],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Paired percentile bootstrap over images: each resample weighs both models' images alike.

    The differences are int8's score minus fp32's. The class set is that of the full sample; in a resample, a class
    whose union is empty for either model is left out for both.

    Args:
        metric: the protocol's.
        fp32: rows of counts (N, columns) int64.
        int8: rows of the same images.
        agreement: (N, 2) int64, pixels with the same label and pixels compared.
    """
    images = len(fp32)
    pair = _Pair.of(metric, fp32, int8)
    miou, accuracy, ious = pair.differences(np.ones((1, images)))
    rng = np.random.default_rng(seed)
    samples: list[Floats] = []
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        weights = rng.multinomial(images, np.full(images, 1 / images), size).astype(np.float64)
        same, compared = (weights @ agreement.astype(np.float64)).T
        change = pair.differences(weights)
        samples.append(np.stack([change.miou, change.pixel_accuracy, same / compared, *change.per_class_iou.T]))
    intervals = _ci95(np.concatenate(samples, axis=1))
    return Difference(
        miou=float(miou[0]),
        miou_ci95=intervals[0],
        pixel_accuracy=float(accuracy[0]),
        pixel_accuracy_ci95=intervals[1],
        label_agreement=float(agreement[:, 0].sum() / agreement[:, 1].sum()),
        label_agreement_ci95=intervals[2],
        per_class_iou_ci95=np.array(intervals[3:]) if ious.size else None,
    )


class _Change(NamedTuple):
    """int8 − fp32 of R weightings of the images: (R,), (R,) and (R, C), with C = 0 where there are no classes."""

    miou: Floats
    pixel_accuracy: Floats
    per_class_iou: Floats


@dataclass(frozen=True)
class _Pair:
    """Both models' counts, and the classes of the full sample that one model alone scores.

    Such a class is in no truth: the model that predicts it has IoU 0 there, in any resample, and the other none. Its
    place in that model's mean is kept in every resample, or the interval would not belong to the difference.
    """

    metric: Metric
    fp32: Counts
    int8: Counts
    alone: tuple[int, int]

    @classmethod
    def of(cls, metric: Metric, fp32: Counts, int8: Counts) -> _Pair:
        everything = np.ones((1, len(fp32)))
        a, b = (metric.scores(counts, everything).per_class_iou for counts in (fp32, int8))
        if a is None or b is None or not metric.leaves_absent_out:
            return cls(metric, fp32, int8, (0, 0))
        only_fp32, only_int8 = ~np.isnan(a) & np.isnan(b), np.isnan(a) & ~np.isnan(b)
        return cls(metric, fp32, int8, (int(only_fp32.sum()), int(only_int8.sum())))

    def differences(self, weights: Floats) -> _Change:
        """int8 − fp32 for each weighting (R, N)."""
        before, after = (self.metric.scores(counts, weights) for counts in (self.fp32, self.int8))
        accuracy = after.pixel_accuracy - before.pixel_accuracy
        if before.per_class_iou is None or after.per_class_iou is None:
            return _Change(after.miou - before.miou, accuracy, np.empty((len(weights), 0)))
        ious = after.per_class_iou - before.per_class_iou
        if not self.metric.leaves_absent_out:
            return _Change(after.miou - before.miou, accuracy, ious)
        both = ~np.isnan(before.per_class_iou) & ~np.isnan(after.per_class_iou)
        means = [
            np.where(both, iou, 0).sum(1) / np.maximum(both.sum(1) + alone, 1)
            for iou, alone in zip((before.per_class_iou, after.per_class_iou), self.alone, strict=True)
        ]
        return _Change(means[1] - means[0], accuracy, ious)


def speedup_interval(
    slow: Floats, fast: Floats, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, Interval]:
    """Ratio of the medians of two interleaved latency series (N,), with a 95 % moving-block bootstrap interval.

    Blocks of ⌈√N⌉ neighbouring images keep the drift of a shared machine inside a resample
    (Künsch 1989). Both series are resampled alike.
    """
    images = len(slow)
    ratio = float(np.median(slow) / np.median(fast))
    block = max(1, round(sqrt(images)))
    rng = np.random.default_rng(seed)
    ratios: list[Floats] = []
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        first = rng.integers(0, images, (size, -(-images // block), 1))
        picks = ((first + np.arange(block)) % images).reshape(size, -1)[:, :images]
        ratios.append(np.median(slow[picks], axis=1) / np.median(fast[picks], axis=1))
    return ratio, _ci95(np.concatenate(ratios)[None])[0]


def _ci95(samples: Floats) -> list[Interval]:
    """The central 95 % of each row, of what is not NaN; NaN for a row that is all NaN."""
    known = ~np.isnan(samples).all(1)
    low, high = np.full((2, len(samples)), np.nan)
    low[known], high[known] = np.nanpercentile(samples[known], [2.5, 97.5], axis=1)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
