"""Two models on the same images: the difference and how sure we are of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.evaluation.metrics import Floats, Metric, Ratios, divide
from fcn_onnx.evaluation.sparse import Held

MIN_IMAGES = 5
"""Fewer images, or runs, than these have no interval: they say too little of others."""

RESAMPLES = 10_000
FEWER_RESAMPLES = 2_000
"""Where many intervals are wanted: their reach is then within 2 % of what more would give, by its standard error."""

CHUNK, ROOM = 250, 1 << 17
"""Resamples that are made at once, and numbers in one array on the way: of many images fewer are made at once."""

ROUNDING = 1e-12
"""Differences of fractions below this are float64's."""

LEAST_SPREAD = 0.5

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """int8 − fp32 with 95 % intervals over the choice of images, None below `MIN_IMAGES`; fractions.

    The interval does not cover the choice of calibration images: vary the calibration seed for that.
    """

    miou: float
    miou_ci95: Interval | None
    pixel_accuracy: float
    pixel_accuracy_ci95: Interval | None
    label_agreement: float
    label_agreement_ci95: Interval | None
    per_class_iou_ci95: NDArray[np.float64] | None
    """(C, 2) float64, of each class's IoU; NaN where a model does not score the class. None without classes too."""


def compare(
    metric: Metric,
    fp32: Held,
    int8: Held,
    agreement: NDArray[np.int64],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Paired bootstrap-t over images: each resample weighs both models' images alike.

    The interval is symmetric, ± the standard error times the 95th percentile of the resamples' absolute deviations in
    their own standard errors (Hall, On symmetric bootstrap confidence intervals, 1988), which are those of the
    infinitesimal jackknife. Where a few images make up most of what int8 changes, or hold a rare class, plain
    percentiles of the resamples hold the truth too seldom, and an equal-tailed bootstrap-t is worse: see
    `benchmarks/intervals.py`.

    The differences are int8's score minus fp32's. The class set is that of the full sample; in a resample, a class
    whose union is empty for either model is left out for both, and the resample is held against the full sample over
    the same classes.

    Args:
        metric: the protocol's.
        fp32: rows of counts (N, columns) int64.
        int8: rows of the same images.
        agreement: (N, 2) int64, pixels with the same label and pixels compared.
    """
    images = len(fp32)
    same, compared = agreement.astype(np.float64).T
    nothing = np.zeros((images, 1))
    ious = _Change(metric.ious(fp32), metric.ious(int8), metric.leaves_absent_out)
    accuracy = _Change(metric.accuracy(fp32), metric.accuracy(int8))
    agreed = _Change(Ratios(nothing, nothing + 1), Ratios(same[:, None], compared[:, None]))
    changes = (ious, accuracy, agreed)
    miou, pixel_accuracy, label_agreement = (float(change.mean(np.ones((1, images)))[1][0]) for change in changes)
    if images < MIN_IMAGES:
        return Difference(miou, None, pixel_accuracy, None, label_agreement, None, None)
    moved, accurate, agreeing, each = _intervals(changes, images, resamples, seed)
    has_classes = metric.scores(fp32).per_class_iou is not None
    return Difference(
        miou=miou,
        miou_ci95=_pair(moved[0]),
        pixel_accuracy=pixel_accuracy,
        pixel_accuracy_ci95=_pair(accurate[0]),
        label_agreement=label_agreement,
        label_agreement_ci95=_pair(np.clip(agreeing[0], 0, 1)),
        per_class_iou_ci95=each if has_classes else None,
    )


def paired_change(
    before: Ratios, after: Ratios, leaves_absent_out: bool = True, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """The interval of `compare` of the change of one mean of ratios, from one set of counts to another of the same
    images; None below `MIN_IMAGES`.

    Args:
        before, after: K ratios of the same N images.
        leaves_absent_out: whether a ratio of nothing is no part of the mean: see `Metric`.
    """
    images = len(before.numerators)
    if images < MIN_IMAGES:
        return None
    return _pair(_intervals([_Change(before, after, leaves_absent_out)], images, resamples, seed)[0][0])


def paired_changes(
    shares: Ratios, pairs: Iterable[tuple[Ratios, Ratios]], *, resamples: int = FEWER_RESAMPLES, seed: int = 0
) -> tuple[Floats, list[Interval]]:
    """The intervals of `compare` for many figures of the same images, all from the same resamples.

    Args:
        shares: K ratios of N images.
        pairs: ratios before and after, of the same images; the change is that of their mean. They are taken one pair
            at a time.

    Returns:
        Of each share, (K, 2) float64, NaN below `MIN_IMAGES` and where nothing is shared; and of each pair's change,
        none below `MIN_IMAGES`.
    """
    images, count = shares.numerators.shape
    if images < MIN_IMAGES:
        return np.full((count, 2), np.nan), []
    nothing = np.zeros((images, count))
    changes = [_Change(Ratios(nothing, nothing + 1), shares), *starmap(_Change, pairs)]
    _, *moved, each = _intervals(changes, images, resamples, seed)
    return each, [_pair(found[0]) for found in moved]


def _intervals(changes: Sequence[_Change], images: int, resamples: int, seed: int) -> list[Floats]:
    """(1, 2) float64 of the mean of each of `changes`, and last (K, 2) of each ratio of the first."""
    rng = np.random.default_rng(seed)
    whole = np.ones((1, images))
    found = [change.mean(whole)[1:] for change in changes]
    each, each_spread = changes[0].each(whole, changes[0].ratios(whole))
    deviations: list[list[Floats]] = [[] for _ in range(len(changes) + 1)]
    for size in _at_once(resamples, images):
        weights = rng.multinomial(images, np.full(images, 1 / images), size).astype(np.float64)
        drawn = [change.ratios(weights) for change in changes]
        for change, ratios, (_, spread), kept in zip(changes, drawn, found, deviations, strict=False):
            moved, _, spreads = change.mean(weights, ratios)
            kept.append(_studentised(moved, spreads, spread)[:, None])
        values, spreads = changes[0].each(weights, drawn[0])
        deviations[-1].append(_studentised(values - each, spreads, each_spread))
    centres = [*found, (each[0], each_spread[0])]
    return [
        _interval(value, spread, np.concatenate(kept))
        for (value, spread), kept in zip(centres, deviations, strict=True)
    ]


def _at_once(resamples: int, images: int) -> Iterator[int]:
    """How many resamples are made after each other; what is drawn does not depend on it."""
    most = max(1, min(CHUNK, ROOM // images))
    return (min(most, resamples - start) for start in range(0, resamples, most))


class _Change:
    """int8 − fp32 of K ratios, of their mean, and the standard errors of both, for any weighting of the images.

    What is held, and summed, of a ratio is of the images that have it: an image holds few classes.

    A class in no truth that one model alone predicts is 0 in that model's mean, in any resample, and no part of the
    other's. Its place in that mean is kept in every resample, or the interval would not belong to the difference.
    """

    def __init__(self, fp32: Ratios, int8: Ratios, leaves_absent_out: bool = True) -> None:
        self._leaves_absent_out = leaves_absent_out
        self._whole = np.stack([side.values() for side in (fp32, int8)])
        before, after = ~np.isnan(self._whole)
        self._alone = ((before & ~after).sum(), (after & ~before).sum()) if leaves_absent_out else (0, 0)
        self._images, ratios = fp32.numerators.shape
        parts = (fp32.numerators, fp32.denominators, int8.numerators, int8.denominators)
        self._held: list[tuple[NDArray[np.int32], NDArray[Any]]] = []
        for index in range(ratios):
            own = np.stack([part[:, index] for part in parts])
            images = np.flatnonzero(own.any(0)).astype(np.int32)
            self._held.append((images, _narrow(own[:, images])))

    def mean(self, weights: Floats, ratios: tuple[Floats, Floats] | None = None) -> tuple[Floats, Floats, Floats]:
        """For weights (R, N): how far the change of the mean is from the full sample's over the ratios that are scored
        here, the change itself, and its standard error, each (R,); `ratios` are these weights', where known."""
        values, slopes = ratios or self.ratios(weights)
        both = ~np.isnan(values).any(0)
        number = both.sum(1) if self._leaves_absent_out else np.full(len(weights), both.shape[1])
        shares = [divide(np.ones(len(weights)), number + float(alone)) for alone in self._alone]
        before, after, before_whole, after_whole = (
            np.where(both, side, 0).sum(1) * share
            for side, share in zip([*values, *self._whole], shares * 2, strict=True)
        )
        per_part = np.repeat(np.stack(shares, axis=1), 2, axis=1)[:, None, :]
        directions = np.where(both[:, :, None], slopes * per_part, 0).reshape(len(weights), -1)
        influence = self._influence(directions)
        change = after - before
        spread = np.sqrt(np.einsum("rn,nr,nr->r", weights, influence, influence, optimize=True))
        return change - (after_whole - before_whole), change, spread

    def each(self, weights: Floats, ratios: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        """Change of every ratio and its standard error, each (R, K); NaN where a model does not score it."""
        values, slopes = ratios
        products, by_image = np.empty((*slopes.shape, 4)), np.ascontiguousarray(weights.T)
        for index, (images, held) in enumerate(self._held):
            parts = held.T.astype(np.float64)
            squares = (parts[:, :, None] * parts[:, None, :]).reshape(-1, 16)
            products[:, index] = (self._of(weights, by_image, images) @ squares).reshape(-1, 4, 4)
        variance = np.einsum("rki,rkij,rkj->rk", slopes, products, slopes, optimize=True)
        return values[1] - values[0], np.sqrt(np.maximum(variance, 0))

    def ratios(self, weights: Floats) -> tuple[Floats, Floats]:
        """Both models' ratios, (2, R, K), and the slopes (R, K, 4) of their difference along numerators and
        denominators: of fp32, then of int8."""
        sums, by_image = np.empty((4, len(weights), len(self._held))), np.ascontiguousarray(weights.T)
        for index, (images, held) in enumerate(self._held):
            own = self._of(weights, by_image, images)
            for place, part in enumerate(held.astype(np.float64)):
                sums[place, :, index] = own @ part
        values, slopes = [], []
        for (numerators, denominators), sign in zip((sums[:2], sums[2:]), (-1, 1), strict=True):
            value = divide(numerators, denominators)
            values.append(value)
            slopes += [divide(np.full_like(value, sign), denominators), divide(-sign * value, denominators)]
        return np.stack(values), np.stack(slopes, axis=2)

    def _of(self, weights: Floats, by_image: Floats, images: NDArray[np.int32]) -> Floats:
        """(R, n): these images' columns of (R, N) weights, of which `by_image` (N, R) is a copy that has them as
        rows."""
        return weights if len(images) == self._images else by_image[images].T

    def _influence(self, directions: Floats) -> Floats:
        """(N, R): each image's parts along directions (R, K · 4)."""
        found, ratios = np.empty((self._images, len(directions))), len(self._held)
        most = max(1, ROOM // max(1, 4 * ratios))
        for start in range(0, self._images, most):
            stop = min(start + most, self._images)
            whole = np.zeros((stop - start, ratios, 4))
            for index, (images, parts) in enumerate(self._held):
                first, last = np.searchsorted(images, [start, stop])
                whole[images[first:last] - start, index] = parts[:, first:last].T
            found[start:stop] = whole.reshape(stop - start, -1) @ directions.T
        return found


def _narrow(values: Floats) -> NDArray[Any]:
    """The same as uint32 where they are such whole numbers."""
    if (values >= 1 << 32).any():
        return values
    narrow = values.astype(np.uint32)
    return narrow if (narrow == values).all() else values


def _studentised(deviations: Floats, spreads: Floats, spread: Floats) -> Floats:
    """Deviations in standard errors, none of which is taken as less than `LEAST_SPREAD` of the full sample's.

    A resample of images that happen to be alike would otherwise be infinitely many standard errors away.
    """
    least = np.maximum(spreads, LEAST_SPREAD * spread)
    return np.where(np.abs(deviations) < ROUNDING, 0.0, deviations / np.maximum(least, ROUNDING))


def _interval(value: Floats, spread: Floats, studentised: Floats) -> Floats:
    """(K, 2) float64: the 95 % interval, within −1 … 1.

    Args:
        value, spread: (K,) of the full sample; NaN gives NaN.
        studentised: (R, K), where NaN is a resample that does not score the ratio.
    """
    bounds = np.full((len(value), 2), np.nan)
    known = ~np.isnan(value)
    reach = np.array([np.nanpercentile(np.abs(own), 95) for own in studentised.T[known]]) * spread[known]
    bounds[known] = np.clip(np.stack([value[known] - reach, value[known] + reach], axis=1), -1, 1)
    return bounds


def _pair(bounds: Floats) -> Interval:
    low, high = bounds.tolist()
    return low, high


def speedup_interval(
    slow: Floats, fast: Floats, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, Interval | None]:
    """Ratio of the medians of two interleaved latency series (N,), with a 95 % moving-block bootstrap interval.

    Below `MIN_IMAGES` there is none. Both series are resampled alike.
    """
    ratio = float(np.median(slow) / np.median(fast))
    return ratio, _block_interval((slow, fast), lambda medians: medians[0] / medians[1], resamples, seed)


def median_interval(series: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, Interval | None]:
    """Median of a latency series (N,), with an interval as `speedup_interval` makes it."""
    return float(np.median(series)), _block_interval((series,), lambda medians: medians[0], resamples, seed)


def _block_interval(
    series: Sequence[Floats], statistic: Callable[[Sequence[Floats]], Floats], resamples: int, seed: int
) -> Interval | None:
    """95 % of what `statistic` makes of the medians of resampled series; None below `MIN_IMAGES`.

    Blocks of ⌈√N⌉ neighbouring images keep the drift of a shared machine inside a resample
    (Künsch 1989).
    """
    images = len(series[0])
    if images < MIN_IMAGES:
        return None
    block = max(1, round(sqrt(images)))
    rng = np.random.default_rng(seed)
    found: list[Floats] = []
    for size in _at_once(resamples, images):
        first = rng.integers(0, images, (size, -(-images // block), 1))
        picks = ((first + np.arange(block)) % images).reshape(size, -1)[:, :images]
        found.append(statistic([np.median(values[picks], axis=1) for values in series]))
    low, high = np.percentile(np.concatenate(found), [2.5, 97.5])
    return float(low), float(high)
