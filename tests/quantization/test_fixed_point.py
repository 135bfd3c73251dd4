"""Weights and biases of power-of-two scales, against a rule written out number by number."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_onnx.quantization.fixed_point import fixed_point_bias, fixed_point_weight
from fcn_onnx.quantization.weights import unsafe_pairs


def step_of(values: np.ndarray) -> Fraction:
    return Fraction(2) ** ceil(log2(max(abs(float(v)) for v in values.ravel()))) / 128


def code(value: float, step: Fraction) -> int:
    exact = Fraction(float(value)) / step
    away = floor(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
    return max(-128, min(127, away))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (5, 1, 3, 3), (6, 8, 1, 1)])
def test_a_weight_is_rounded_as_written(per_channel: bool, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal(shape) * rng.uniform(0.01, 2, (shape[0], 1, 1, 1))).astype(np.float32)
    weight[0].flat[:4] = [0.5, -0.5, 2**-8, -(2**-8)]  # a power of two, and ties of many scales
    found = fixed_point_weight(weight, per_channel=per_channel)
    whole = step_of(weight)
    for channel, scale, q in zip(weight, found.scale, found.q, strict=True):
        step = max(step_of(channel), whole / 256) if per_channel else whole
        assert Fraction(float(scale)) == step
        assert [code(value, step) for value in channel.ravel()] == q.ravel().tolist()


def test_the_scale_of_a_channel_has_a_least() -> None:
    weight = np.array([1.0, 2.0**-12], np.float32).reshape(2, 1, 1, 1)
    assert fixed_point_weight(weight, per_channel=True).scale.tolist() == [2**-7, 2**-15]


def test_zeros_stay_zeros() -> None:
    found = fixed_point_weight(np.zeros((2, 3, 1, 1), np.float32))
    assert not found.q.any()
    assert (found.scale > 0).all()


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_no_pair_saturates_where_none_may(seed: int, per_channel: bool) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.uniform(-1, 1, (4, 6, 3, 3)).astype(np.float32) ** rng.choice([1, 3, 9])
    plain, safe = (fixed_point_weight(weight, per_channel=per_channel, pair_safe=pair_safe) for pair_safe in (0, 1))
    assert unsafe_pairs(safe.q) == 0
    assert (np.frexp(safe.scale)[0] == 0.5).all()
    assert set((safe.scale / plain.scale).tolist()) <= {1.0, 2.0}
    calm = [not unsafe_pairs(q[None]) for q in plain.q]
    if per_channel or all(calm):
        np.testing.assert_array_equal(safe.q[calm], plain.q[calm])


@pytest.mark.parametrize("step", [2.0**-12, 2.0**-16, 2.0**-9])
def test_a_bias_is_rounded_as_written(step: float) -> None:
    bias = np.random.default_rng(1).standard_normal(50).astype(np.float32)
    own = step_of(bias)
    expected = []
    for value in bias:
        counted = code(value, own) * own / Fraction(step)
        expected.append(float(max(-(2**15), min(2**15 - 1, round(counted))) * Fraction(step)))
    assert fixed_point_bias(bias, np.full(50, step)).tolist() == expected
