"""Two models on the same images: the difference and how sure we are of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

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

    The same arithmetic gives the differences and every resample: int8's score minus fp32's, each model's mIoU
    over the classes whose union is not empty for it. So an interval belongs to its difference even where one
    model alone predicts a class that no truth holds (`validate` names such classes in a note).

    Args:
        metric: the protocol's.
        fp32: rows of counts (N, columns) int64.
        int8: rows of the same images.
        agreement: (N, 2) int64, pixels with the same label and pixels compared.
    """
    images = len(fp32)
    ones = np.ones((1, images))
    miou, accuracy = _differences(metric, fp32, int8, ones)
    rng = np.random.default_rng(seed)
    samples: list[Floats] = []
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        weights = rng.multinomial(images, np.full(images, 1 / images), size).astype(np.float64)
        same, compared = (weights @ agreement.astype(np.float64)).T
        samples.append(np.stack([*_differences(metric, fp32, int8, weights), same / compared]))
    intervals = _ci95(np.concatenate(samples, axis=1))
    return Difference(
        miou=float(miou[0]),
        miou_ci95=intervals[0],
        pixel_accuracy=float(accuracy[0]),
        pixel_accuracy_ci95=intervals[1],
        label_agreement=float(agreement[:, 0].sum() / agreement[:, 1].sum()),
        label_agreement_ci95=intervals[2],
    )


def _differences(metric: Metric, fp32: Counts, int8: Counts, weights: Floats) -> tuple[Floats, Floats]:
    """int8 − fp32 of (mIoU, pixel accuracy), each (R,), for each weighting."""
    before, after = metric.scores(fp32, weights), metric.scores(int8, weights)
    return after.miou - before.miou, after.pixel_accuracy - before.pixel_accuracy


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
    """The central 95 % of each row."""
    low, high = np.nanpercentile(samples, [2.5, 97.5], axis=1)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
