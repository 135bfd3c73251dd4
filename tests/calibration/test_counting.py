"""Both ways to count give the same counts, those of a loop in Python's exact arithmetic."""

from __future__ import annotations

import sys
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fcn_onnx.calibration import counting
from fcn_onnx.calibration.counting import SIDE, Count, by_numpy

WAYS = [by_numpy]
if counting.why_slow() is None:
    from fcn_onnx.calibration.compiled import by_numba

    WAYS.append(by_numba)

both = pytest.mark.parametrize("count", WAYS)


def literally(values: np.ndarray, exponent: int) -> np.ndarray:
    counts = np.zeros(2 * SIDE, np.int64)
    for value in values.tolist():
        counts[SIDE + floor(Fraction(value) / Fraction(2) ** exponent)] += 1
    return counts


@both
@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 50), elements=st.floats(-4000, 4000, width=32)),
    st.integers(0, 60),
    st.integers(-40, 40),
)
def test_counts_are_those_of_exact_arithmetic(count: Count, values: np.ndarray, zeros: int, exponent: int) -> None:
    scaled = np.ldexp(np.concatenate([values, np.zeros(zeros, np.float32)]), exponent)
    assert np.array_equal(count(scaled, exponent, bool(scaled.min() < 0)), literally(scaled, exponent))
    assert np.array_equal(count(abs(scaled), exponent, False), literally(abs(scaled), exponent))


@both
def test_the_smallest_negative_values_fall_into_bin_minus_one(count: Count) -> None:
    values = np.array([-1e-45, 0, 1e-45, -(2.0**-126)], np.float32)
    counts = count(values, 100, True)
    assert (counts[SIDE - 1], counts[SIDE]) == (2, 2)


@both
@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 200_003])
def test_long_arrays_lose_nothing(count: Count, size: int) -> None:
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    values.setflags(write=False)
    edges = np.arange(-SIDE, SIDE + 1) * 2.0**-9
    assert np.array_equal(count(values, -9, True), np.histogram(values.astype(np.float64), edges)[0])
    assert np.array_equal(count(abs(values), -9, False), np.histogram(abs(values).astype(np.float64), edges)[0])


def test_numpy_counts_until_numba_is_worth_its_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "why_slow", lambda: None)
    assert counting.best_after(counting.WORTH - 1) is by_numpy
    assert counting.best_after(counting.WORTH).__name__ == "by_numba"


def test_without_numba_numpy_counts_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "why_slow", counting.why_slow.__wrapped__)
    monkeypatch.setattr(counting, "find_spec", lambda name: None)
    assert "fcn-onnx[fast]" in (counting.why_slow() or "")
    assert counting.best_after(counting.WORTH) is by_numpy


def test_a_numba_that_does_not_import_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "numba", None)
    assert "does not import" in (counting.why_slow.__wrapped__() or "")
