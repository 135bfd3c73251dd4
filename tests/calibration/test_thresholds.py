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
from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.methods import METHODS
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


def quantized_error(values: np.ndarray, low: float, high: float) -> float:
    """Mean squared error of 8-bit quantization with this range, really rounded."""
    step = (high - low) / 255
    zero = round(-low / step)
    restored = (np.clip(np.rint(values.astype(np.float64) / step) + zero, 0, 255) - zero) * step
    return float(((values - restored) ** 2).mean())


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
