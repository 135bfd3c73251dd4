"""Thresholds against slow, literal versions, and against what the usual tools return."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization.calibrate import HistogramCollector

from fcn_onnx.calibration import thresholds
from fcn_onnx.calibration.counting import SIDE
from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.levels import LEVELS
from fcn_onnx.calibration.methods import METHODS, get_method
from fcn_onnx.calibration.thresholds import kl_divergences, range_of


def literal_divergence(counts: list[float], i: int, levels: int) -> float:
    """QUANTIZATION.md §3, line by line, for one candidate."""
    p = list(counts[:i])
    p[-1] += sum(counts[i:])
    q = [0.0] * i
    for j in range(levels):
        first, last = j * i // levels, (j + 1) * i // levels
        filled = [b for b in range(first, last) if counts[b] > 0]
        for b in filled:
            q[b] = sum(counts[first:last]) / len(filled)
    if not sum(q):
        return math.inf

    def normalised(values: list[float]) -> list[float]:
        total = sum(values)
        smooth = [v / total + 1e-12 for v in values]
        return [v / sum(smooth) for v in smooth]

    return sum(a * math.log(a / b) for a, b in zip(normalised(p), normalised(q), strict=True))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 16), st.floats(0.0, 0.8))
def test_divergences_equal_the_literal_version(seed: int, levels: int, sparsity: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(levels, 60))
    counts = rng.integers(0, 1000, n) * (rng.random(n) >= sparsity)
    counts[-1] = 1
    fast = kl_divergences(counts.astype(np.float64), levels)
    slow = [literal_divergence(counts.tolist(), i, levels) for i in range(levels, n + 1)]
    assert fast == pytest.approx(slow, rel=1e-6, abs=1e-9)


def heavy_tailed(signed: bool) -> np.ndarray:
    """A few large values among normal ones; after a ReLU (not signed) half of them are exact zeros."""
    rng = np.random.default_rng(1)
    values = np.abs(rng.standard_normal(200_000)).astype(np.float32)
    values[:20] *= 30
    if signed:
        return values * rng.choice([-1, 1], values.size).astype(np.float32)
    values[rng.random(values.size) < 0.5] = 0
    return values


@pytest.mark.parametrize("signed", [False, True])
def test_kl_clips_a_heavy_tail(signed: bool) -> None:
    values = heavy_tailed(signed)
    threshold = thresholds.kl(Histogram.of(values))
    assert 2 < threshold < np.abs(values).max() / 3


@pytest.mark.parametrize("signed", [False, True])
def test_onnxruntimes_default_entropy_is_min_max(signed: bool) -> None:
    """What the peers call entropy: 128 bins for 128 levels leave one candidate (QUANTIZATION.md §1)."""
    values = heavy_tailed(signed)
    collector = HistogramCollector("entropy", False, 128, 128, 99.999, "same")
    collector.collect({"t": [values]})
    low, high = (float(x) for x in collector.compute_collection_result()["t"][:2])
    seen = float(np.abs(values).max())
    assert (low, high) == pytest.approx((float(values.min()), float(values.max())), abs=0.02 * seen)


@pytest.mark.parametrize("signed", [False, True])
def test_neural_compressors_kl_is_min_max(signed: bool) -> None:
    """Its default is the same one candidate; with images of one size nothing else happens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from neural_compressor.adaptor.ox_utils.calibrator import CALIBRATOR
        except Exception:
            pytest.skip("Neural Compressor is in the other environment (constraints/everything.txt)")
    values = heavy_tailed(signed)
    calibrator = CALIBRATOR["kl"]()
    calibrator.collect([values])
    low, high = (float(x) for x in calibrator.calib_range)
    seen = float(np.abs(values).max())
    assert (low, high) == pytest.approx((float(values.min()), float(values.max())), abs=0.02 * seen)


def quantized_error(values: np.ndarray, low: float, high: float, levels: str = "u8") -> float:
    """Mean squared error of 8-bit quantization with this range, really rounded."""
    if levels == "s8":
        step, zero, least, most = max(-low, high) / 127, 0, -127, 127
    else:
        step = (high - low) / 255
        zero, least, most = round(-low / step), 0, 255
    restored = (np.clip(np.rint(values.astype(np.float64) / step) + zero, least, most) - zero) * step
    return float(((values - restored) ** 2).mean())


SHAPES = ("one-sided", "signed", "skewed")


def few_values(shape: str) -> np.ndarray:
    """Values with a tail; skewed, those below 0 are small, as after a LeakyRelu."""
    values = np.random.default_rng(5).standard_t(4, 4000).astype(np.float32)
    return {"one-sided": np.maximum(values, 0), "signed": values, "skewed": np.where(values < 0, values / 10, values)}[
        shape
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", LEVELS)
def test_mse_is_the_best_of_all_candidates(levels: str, shape: str) -> None:
    """Every edge of a bin is tried, and all values are really rounded."""
    values = few_values(shape)
    histogram = Histogram.of(values)
    low, high = min(0.0, float(values.min())), float(values.max())
    edges = np.arange(1, math.ceil(histogram.max_magnitude / histogram.width) + 1) * histogram.width
    candidates = edges[edges > 0.5]  # below, all is clipped
    best = min(quantized_error(values, max(low, -t), min(high, t), levels) for t in candidates)
    chosen = range_of(histogram, get_method("mse", levels=levels))
    assert quantized_error(values, chosen.lowest, chosen.highest, levels) <= 1.03 * best


def test_half_the_levels_clip_earlier_and_err_less() -> None:
    values = few_values("one-sided")
    histogram = Histogram.of(values)
    own, other = (range_of(histogram, get_method("mse", levels=levels)) for levels in ("s8", "u8"))
    errors = [quantized_error(values, chosen.lowest, chosen.highest, "s8") for chosen in (own, other)]
    assert own.highest < other.highest
    assert errors[0] < 0.99 * errors[1]


@pytest.mark.parametrize(
    ("levels", "one_sided", "count"), [("u8", True, 256), ("u8", False, 128), ("s8", True, 128), ("s8", False, 128)]
)
def test_kl_is_the_best_of_all_candidates(levels: str, one_sided: bool, count: int) -> None:
    """The literal divergence of each, with as many levels as |x| has."""
    rng = np.random.default_rng(6)
    counts = np.zeros(2 * SIDE, np.int64)
    used = 290
    counts[SIDE : SIDE + used] = 1e5 * np.exp(-np.arange(used) / 40) * rng.uniform(0.7, 1.3, used)
    if not one_sided:
        counts[SIDE - used : SIDE] = counts[SIDE : SIDE + used][::-1]
    histogram = Histogram(0, counts, 0.0 if one_sided else -used + 0.5, used - 0.5)
    magnitudes = histogram.magnitudes()[:used].tolist()
    if one_sided:
        magnitudes[0] = 0
    divergences = [literal_divergence(magnitudes, i, count) for i in range(count, used + 1)]
    assert get_method("kl", levels=levels).threshold(histogram) == min(
        count + int(np.argmin(divergences)) + 0.5, used - 0.5
    )


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_ranges_that_count_no_levels_are_the_same_for_all(method: str) -> None:
    histogram = Histogram.of(few_values("signed"))
    assert len({range_of(histogram, get_method(method, levels=levels)) for levels in LEVELS}) == 1


@pytest.mark.parametrize("signed", [False, True])
def test_mse_finds_the_least_error_of_really_rounded_values(signed: bool) -> None:
    values = heavy_tailed(signed)
    histogram = Histogram.of(values)
    chosen = range_of(histogram, METHODS["mse"])
    error = quantized_error(values, chosen.lowest, chosen.highest)
    most = histogram.max_magnitude
    others = [
        quantized_error(values, max(histogram.minimum, -t), min(histogram.maximum, t))
        for t in np.linspace(most / 60, most, 120)
    ]
    assert error <= 1.02 * min(others)
    assert error < others[-1]  # better than min/max


@pytest.mark.parametrize("percent", [50.0, 99.0, 99.9])
def test_percentile_equals_numpys(percent: float) -> None:
    values = np.abs(np.random.default_rng(2).standard_normal(50_000)).astype(np.float32)
    histogram = Histogram.of(values)
    ours = thresholds.percentile(histogram, percent)
    assert ours == pytest.approx(np.percentile(values, percent, method="inverted_cdf"), abs=1.01 * histogram.width)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [3.0], [-2.0, -1.0], [5.0, 5.0, 5.0], [1e-30, 0.0], [-1.0, 4.0], [0.0, 1.0, 2.0]]
)
def test_every_range_holds_zero_and_never_widens_what_was_seen(method: str, values: list[float]) -> None:
    array = np.array(values, np.float32)
    found = range_of(Histogram.of(array), METHODS[method])
    assert min(0, array.min()) <= found.lowest <= 0 <= found.highest <= max(0, array.max())


def test_minmax_is_exact() -> None:
    values = np.random.default_rng(3).standard_normal(1000).astype(np.float32)
    found = range_of(Histogram.of(values), METHODS["minmax"])
    assert (found.lowest, found.highest) == (values.min(), values.max())


@pytest.mark.parametrize("signed", [False, True])
def test_expected_errors_are_those_of_really_rounded_values(signed: bool) -> None:
    values = heavy_tailed(signed)
    histogram = Histogram.of(values)
    for share in (0.05, 0.2, 0.7, 1.0):
        t = share * histogram.max_magnitude
        expected = quantized_error(values, max(histogram.minimum, -t), min(histogram.maximum, t)) * values.size
        found = float(thresholds.squared_errors(histogram, np.array([t]))[0])
        assert found == pytest.approx(expected, rel=0.05)
