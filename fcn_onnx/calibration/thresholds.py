"""From a histogram to a range, by what each entry of `METHODS` names.

Each method chooses a threshold T for the magnitude; the range is [max(min, −T), min(max, T)], so that a
threshold never widens what was seen, extended to hold 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.levels import UNSIGNED, Levels
from fcn_onnx.calibration.methods import PERCENTILE, Method
from fcn_onnx.calibration.table import Range

EPSILON = 1e-12
CANDIDATES_AT_ONCE = 512
Floats = NDArray[np.float64]


def range_of(histogram: Histogram, method: Method) -> Range:
    """The range that `method` chooses, as float32 values."""
    threshold = method.threshold(histogram)
    lowest = min(0.0, max(histogram.minimum, -threshold))
    highest = max(0.0, min(histogram.maximum, threshold))
    return Range(float(np.float32(lowest)), float(np.float32(highest)))


def minmax(histogram: Histogram) -> float:
    """max |x|: nothing is clipped."""
    return histogram.max_magnitude


def percentile(histogram: Histogram, percent: float = PERCENTILE) -> float:
    """The upper edge of the bin below which at least `percent` of the magnitudes lie."""
    cumulative = np.cumsum(histogram.magnitudes())
    index = int(np.searchsorted(cumulative, percent / 100 * cumulative[-1]))
    return min((index + 1) * histogram.width, histogram.max_magnitude)


def mse(histogram: Histogram, levels: Levels = UNSIGNED) -> float:
    """The T of least expected squared error, among the upper edges of the bins; see `squared_errors`."""
    used = int(np.flatnonzero(histogram.magnitudes())[-1]) + 1
    thresholds = np.arange(1, used + 1) * histogram.width
    best = np.argmin(squared_errors(histogram, thresholds, levels))
    return min(float(thresholds[best]), histogram.max_magnitude)


def squared_errors(histogram: Histogram, thresholds: Floats, levels: Levels = UNSIGNED) -> Floats:
    """Expected sum of squared errors of 8-bit quantization at each threshold (T,), float64.

    A value inside the range errs by s²/12 on average, s being the step between the levels; a value c outside errs
    by (|c| − T)². The exact zeros of a ReLU are represented exactly and are left out.
    """
    counts = histogram.magnitudes().astype(np.float64)
    if histogram.one_sided:
        counts[0] = 0
    centres = (np.arange(len(counts)) + 0.5) * histogram.width
    highest = np.maximum(0, np.minimum(histogram.maximum, thresholds))
    lowest = np.minimum(0, np.maximum(histogram.minimum, -thresholds))
    steps = np.maximum(-lowest, highest) / 127 if levels.symmetric else (highest - lowest) / 255
    sums = [_prefix(counts * centres**power) for power in (0, 1, 2)]
    inside = np.searchsorted(centres, thresholds)
    n, m1, m2 = (total[-1] - total[inside] for total in sums)
    errors: Floats = sums[0][inside] * steps**2 / 12 + (m2 - 2 * thresholds * m1 + thresholds**2 * n)
    return errors


def kl(histogram: Histogram, levels: Levels = UNSIGNED) -> float:
    """The T of least KL(P‖Q) between the clipped distribution and its quantized form.

    For candidates of i bins: P is bins [0, i) with the clipped tail added to the last; Q is bins [0, i) without
    the tail, merged to L levels over the edges ⌊j·i/L⌋, each level's mass spread over its bins that are not empty
    before the tail is added; both are normalised, 1e-12 is added, and they are normalised again. T = (i + ½) bins.
    L is the levels of |x|: 256 or, with symmetric levels, 128 for a one-sided tensor, whose exact zeros are left
    out, and 128 for a signed one.
    (After Migacz, "8-bit inference with TensorRT", GTC 2017.)
    """
    counts = histogram.magnitudes().astype(np.float64)
    used = _used(counts)
    fewest = levels.of_magnitudes(histogram.one_sided)
    if histogram.one_sided:
        counts[0] = 0
    counts = counts[:used]
    if used <= fewest or not counts.any():
        return histogram.max_magnitude
    divergences = kl_divergences(counts, fewest)
    best = fewest + int(np.argmin(divergences))
    return min((best + 0.5) * histogram.width, histogram.max_magnitude)


def kl_divergences(counts: Floats, levels: int) -> Floats:
    """KL(P‖Q) of every candidate i = levels … len(counts), (len(counts) − levels + 1,) float64; inf where Q is empty.

    Sums over the bins of a level are differences of prefix sums, so a candidate costs O(levels), not O(i).
    """
    n = len(counts)
    total = counts.sum()
    p = counts / total
    entropy = _prefix((p + EPSILON) * np.log(p + EPSILON))
    mass, filled = _prefix(counts), _prefix(counts > 0)
    divergences = np.empty(n - levels + 1)
    for start in range(levels, n + 1, CANDIDATES_AT_ONCE):
        i = np.arange(start, min(start + CANDIDATES_AT_ONCE, n + 1))
        edges = np.arange(levels + 1) * i[:, None] // levels
        level_mass, level_filled = np.diff(mass[edges], axis=1), np.diff(filled[edges], axis=1)
        level_bins = np.diff(edges, axis=1)
        kept = mass[i]
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.where(level_filled > 0, level_mass / (level_filled * kept[:, None]), 0)
        log_q = np.log(spread + EPSILON)
        cross = (
            (level_mass / total + level_filled * EPSILON) * log_q
            + (level_bins - level_filled) * EPSILON * np.log(EPSILON)
        ).sum(1)
        # the tail stands in P's last bin alone, whose q is its level's, or nothing if that bin was empty
        tail, last = (total - kept) / total, p[i - 1]
        cross += tail * np.where(last > 0, log_q[:, -1], np.log(EPSILON))
        own = entropy[i - 1] + (last + tail + EPSILON) * np.log(last + tail + EPSILON)
        norm = 1 + i * EPSILON  # of both, so its logarithm cancels
        divergences[i - levels] = np.where(kept > 0, (own - cross) / norm, np.inf)
    return divergences


def _prefix(values: NDArray[np.generic]) -> Floats:
    """Sums of the first 0, 1, … values."""
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _used(counts: Floats) -> int:
    """Bins up to the last that is not empty."""
    return int(np.flatnonzero(counts)[-1]) + 1
