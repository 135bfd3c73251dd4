"""The histogram's laws, and its counts against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fcn_onnx.calibration.counting import SIDE
from fcn_onnx.calibration.histogram import Histogram

FLOATS = st.floats(-1e6, 1e6, width=32)
TENSORS = arrays(np.float32, st.integers(1, 40), elements=FLOATS)


@given(TENSORS)
def test_counts_equal_numpys_on_the_same_edges(values: np.ndarray) -> None:
    histogram = Histogram.of(values)
    edges = np.arange(-SIDE, SIDE + 1, dtype=np.float64) * histogram.width
    expected, _ = np.histogram(values.astype(np.float64), edges)
    assert np.array_equal(histogram.counts, expected)
    assert (histogram.minimum, histogram.maximum) == (values.min(), values.max())


@given(TENSORS)
def test_at_least_2048_bins_span_the_range(values: np.ndarray) -> None:
    histogram = Histogram.of(values)
    if histogram.max_magnitude > 1e-25:
        assert SIDE / 2 <= histogram.max_magnitude / histogram.width < SIDE


@given(TENSORS, TENSORS, TENSORS)
def test_merging_is_commutative_and_associative_and_equals_one_pass(
    a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> None:
    x, y, z = Histogram.of(a), Histogram.of(b), Histogram.of(c)
    assert x + y == y + x
    assert (x + y) + z == x + (y + z) == Histogram.of(np.concatenate([a, b, c]))


@settings(max_examples=30)
@given(arrays(np.float32, 60, elements=FLOATS), st.randoms(use_true_random=False), st.integers(1, 10))
def test_any_order_and_any_split_give_the_same(values: np.ndarray, random: object, parts: int) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    pieces = [Histogram.of(p) for p in np.array_split(shuffled, parts)]
    assert sum(pieces[1:], pieces[0]) == Histogram.of(values)


@given(TENSORS, st.integers(1, 30))
def test_doubling_loses_no_count(values: np.ndarray, steps: int) -> None:
    histogram = Histogram.of(values)
    widened = histogram + Histogram.of(np.array([histogram.max_magnitude * 2.0**steps + 1], np.float32))
    assert widened.counts.sum() == values.size + 1


def test_magnitudes_are_counts_of_absolute_values() -> None:
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    histogram = Histogram.of(values)
    edges = np.arange(SIDE + 1) * histogram.width
    assert np.array_equal(histogram.magnitudes(), np.histogram(np.abs(values), edges)[0])
    assert not histogram.one_sided
    assert Histogram.of(np.abs(values)).one_sided


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    values = np.ones(70_000, np.float32)
    values[66_000] = bad
    with pytest.raises(ValueError, match="finite"):
        Histogram.of(values)


def test_zeros_do_not_widen_the_bins_of_what_follows() -> None:
    zeros, quarter = Histogram.of(np.zeros(2, np.float32)), Histogram.of(np.array([0.25], np.float32))
    assert zeros + quarter == Histogram.of(np.array([0, 0, 0.25], np.float32))


def test_the_smallest_negative_value_stays_negative_at_any_width() -> None:
    """2⁻¹⁴⁹ times a power of two below 1 is 0 in float32, and ⌊−0⌋ is not −1."""
    tiny, large = np.float32(-1.4e-45), np.float32(4096)
    assert Histogram.of(np.array([tiny])) + Histogram.of(np.array([large])) == Histogram.of(np.array([tiny, large]))


@pytest.mark.parametrize("value", [0.0, 1e-42, 3.4e38, -3.4e38])
def test_extreme_tensors(value: float) -> None:
    histogram = Histogram.of(np.full(5, value, np.float32))
    assert histogram.counts.sum() == 5
