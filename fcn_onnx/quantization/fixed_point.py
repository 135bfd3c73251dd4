"""Weights and biases rounded to powers of two, as TI's training for int8 (edgeai-modeloptimization, v1) rounds them.

A weight has the scale 2^ceil(log2 max|w|) / 128, one a tensor or one a channel, and is rounded half away from zero to
-128 … 127. A bias is rounded to 8 bits of a scale of its own, likewise, and then held in 16 bits of the scale of the
sums that it is added to. (`xmodelopt/quantization/v1/quant_train_module.py`, `merge_quantize_weights`.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.quantization.weights import (
    Floats,
    QuantizedWeight,
    from_kernel_order,
    kernel_order,
    relieve,
    unsafe_in_rows,
)

LEVELS = 128
CHANNEL_RATIO = 256
"""By which the scale of a channel may be finer than that of its tensor."""

LEAST = 2.0**-16
"""Magnitude from which on a tensor has a scale of its own: a layer of zeros has some scale."""

BIAS_MAX = 2**15


def fixed_point_weight(
    weight: Floats, *, per_channel: bool = False, pair_safe: bool = False, least: object = None
) -> QuantizedWeight:
    """The int8 form of one weight (C, …) that training simulated; a `Rule`, which needs no least scale.

    Args:
        pair_safe: what is left of the excess of pairs that would saturate (see `weights`) is taken off both weights, or
            the scale is doubled, whichever errs less; without such a pair nothing changes.
    """
    rows = kernel_order(weight)
    largest = np.abs(rows).max(1).astype(np.float64)
    scale = _steps(np.full_like(largest, largest.max()))
    if per_channel:
        scale = np.maximum(_steps(largest), scale / CHANNEL_RATIO)
    q = _rounded(rows, scale)
    if pair_safe and unsafe_in_rows(q.astype(np.int16)):
        relieved, halved = q.copy(), _rounded(rows, 2 * scale)
        relieve(relieved)
        relieve(halved)
        errors = np.stack([_errors(relieved, scale, rows), _errors(halved, 2 * scale, rows)])
        coarser = errors[1] < errors[0] if per_channel else np.full(len(rows), errors[1].sum() < errors[0].sum())
        q = np.where(coarser[:, None], halved, relieved)
        scale = np.where(coarser, 2 * scale, scale)
    return QuantizedWeight(from_kernel_order(q.astype(np.int8), weight.shape), scale.astype(np.float32))


def fixed_point_bias(bias: Floats, step: NDArray[np.float64]) -> Floats:
    """The bias (C,) that training simulated, where sums count in `step`, (C,); what is finer is rounded to that."""
    own = _steps(np.full(len(bias), np.abs(bias).max(), np.float64))
    rounded = _rounded(bias[:, None], own)[:, 0] * own
    held: Floats = (np.clip(np.rint(rounded / step), -BIAS_MAX, BIAS_MAX - 1) * step).astype(np.float32)
    return held


def round_biases(model: onnx.ModelProto, weights: Mapping[str, QuantizedWeight], table: RangeTable) -> None:
    """Round the biases of `model`'s layers that have these weights and inputs of these ranges, in place."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        weight = weights.get(node.input[1]) if len(node.input) > 2 else None
        bias = stored.get(node.input[2]) if weight is not None else None
        if weight is None or bias is None:
            continue
        given = table.ranges[node.input[0]]
        step = (given.highest - given.lowest) / 255 * weight.scale.astype(np.float64)
        bias.CopyFrom(numpy_helper.from_array(fixed_point_bias(numpy_helper.to_array(bias), step), bias.name))


def _steps(largest: NDArray[np.float64]) -> NDArray[np.float64]:
    mantissas, exponents = np.frexp(np.maximum(largest, LEAST))
    steps: NDArray[np.float64] = np.ldexp(1.0, exponents - (mantissas == 0.5)) / LEVELS
    return steps


def _rounded(rows: Floats, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half away from zero, as training adds: in float32, which divides by powers of two exactly."""
    scaled = rows / scale.astype(np.float32)[:, None]
    whole = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    codes: NDArray[np.float64] = np.clip(whole, -LEVELS, LEVELS - 1).astype(np.float64)
    return codes


def _errors(q: NDArray[np.float64], scale: NDArray[np.float64], rows: Floats) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = ((q * scale[:, None] - rows) ** 2).sum(1)
    return errors
