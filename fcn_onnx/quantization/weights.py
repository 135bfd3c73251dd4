"""Weights of convolutions as int8: the scale of each output channel, and sums that cannot saturate.

On x86 without VNNI the fast u8·s8 kernel is `vpmaddubsw`: it multiplies an activation (0 … 255) by a weight and adds
the products of two neighbours into one int16, which saturates. With both activations at 255 a pair of weights is safe
when

    |q₀ + q₁| ≤ 128,    as 255 · 128 = 32640 ≤ 32767 < 255 · 129

and any pair of opposite signs is. onnxruntime keeps the channels last, so neighbours are the input channels 2k and
2k + 1 of a group under the same kernel position; with an odd number of channels, one among them, the pairs run on over
the positions. Only a truly depthwise convolution (as many groups as input and as output channels) has a kernel of its
own, which widens first. (`tools/kernel_pairs.py` reads all of this off the kernels themselves.) Large neighbours of one
sign are rare, so a scale that is coarser for such channels alone keeps nearly all of the eighth bit, and the fast
kernel exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fcn_onnx.calibration.table import RangeTable

QMAX = 127
PAIR_MAX = 128
COARSER = np.linspace(1, 2, 17)
"""Factors tried on the scale of a channel that holds an unsafe pair; at 2 the weights have 7 bits, and no pair is."""

BIAS_MAX = 2.0**30
"""Of a bias in units of (activation scale · weight scale): int32, with a bit to spare."""

Int8 = NDArray[np.int8]
Rows = NDArray[Any]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class QuantizedWeight:
    """A convolution's weight (C, …) as q · scale.

    Attributes:
        q: int8, the weight's shape.
        scale: (C,) float32, one an output channel; per tensor, all are equal.
    """

    q: Int8
    scale: Floats

    def values(self) -> Floats:
        """q · scale, float32, the weight's shape."""
        values: Floats = self.q.astype(np.float32) * self.scale.reshape(-1, *[1] * (self.q.ndim - 1))
        return values


def quantize_weights(
    model: onnx.ModelProto, table: RangeTable, nodes: frozenset[str], *, per_channel: bool, pair_safe: bool
) -> Mapping[str, QuantizedWeight]:
    """int8 weights of the convolutions named, by initializer.

    Args:
        model: fp32.
        table: ranges of their inputs, which say how coarse a scale a bias needs.
        nodes: names of nodes.
        per_channel: a scale for each output channel rather than one for all.
        pair_safe: no pair may saturate.
    """
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.name not in nodes or node.input[1] not in initializers:
            continue
        weight = numpy_helper.to_array(initializers[node.input[1]])
        bias = initializers.get(node.input[2]) if len(node.input) > 2 else None
        given = table.ranges.get(node.input[0])
        step = (given.highest - given.lowest) / 255 if given else 0.0
        least = np.zeros(len(weight))
        if bias is not None and step > 0:
            least = np.abs(numpy_helper.to_array(bias).astype(np.float64)) / (step * BIAS_MAX)
        found[node.input[1]] = quantize_weight(
            weight,
            per_channel=per_channel,
            pair_safe=pair_safe and not is_depthwise(weight.shape, group_of(node)),
            least=least,
        )
    return found


def group_of(node: onnx.NodeProto) -> int:
    """Groups of a convolution."""
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def is_depthwise(shape: Sequence[int], group: int) -> bool:
    """Whether a weight (C, I / group, kH, kW) has one input and one output channel a group: its pairs are not added."""
    return shape[1] == 1 and shape[0] == group


def quantize_weight(
    weight: Floats, *, per_channel: bool = True, pair_safe: bool = False, least: NDArray[np.float64] | float = 0.0
) -> QuantizedWeight:
    """The int8 form of one weight (C, I, kH, kW) with the least squared error.

    Two scales are tried for each channel: the one that makes its largest weight 127, and the smallest power of two
    that holds it, which keeps weights that lie on a fixed-point grid as they are. Where a pair would saturate, coarser
    scales are tried too, and what is left of its excess is taken off both weights.

    Args:
        least: no scale is below this, (C,) or one for all.
    """
    rows = kernel_order(weight.astype(np.float64))
    largest = np.abs(rows).max(1)
    if not per_channel:
        largest = np.full_like(largest, largest.max())
        least = np.full_like(largest, np.max(least))
    floor = np.maximum(least, np.finfo(np.float32).tiny * 2**24)
    full = np.maximum(largest / QMAX, floor)
    grid = np.exp2(np.ceil(np.log2(np.maximum(largest / (QMAX + 1), floor))))
    candidates = [full, grid]
    tensor_wide = not per_channel
    best = _best(rows, candidates, pair_safe, tensor_wide)
    if pair_safe:
        unsafe = _unsafe(_rounded(rows, best.scale)).any(1)
        chosen = np.ones_like(unsafe) if tensor_wide and unsafe.any() else unsafe
        if chosen.any():
            coarser = [factor * scale[chosen] for scale in candidates for factor in COARSER]
            retried = _best(rows[chosen], coarser, pair_safe, tensor_wide)
            best.q[chosen], best.scale[chosen] = retried.q, retried.scale
    return QuantizedWeight(_from_kernel_order(best.q, weight.shape), best.scale)


def place(model: onnx.ModelProto, weights: Mapping[str, QuantizedWeight]) -> onnx.ModelProto:
    """A copy of `model` with the weights that int8 holds exactly, so that a quantizer has nothing to round."""
    placed = onnx.ModelProto()
    placed.CopyFrom(model)
    for tensor in placed.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].values(), tensor.name))
    return placed


def unsafe_pairs(q: Int8) -> int:
    """How many pairs of neighbours in an int8 weight (C, I, kH, kW) can saturate."""
    return unsafe_in_rows(kernel_order(q))


def unsafe_in_rows(rows: Rows) -> int:
    """How many pairs can saturate in the int8 weights (C, K) of C sums of K products, in the kernel's order."""
    return int(_unsafe(rows).sum())


def _best(
    rows: NDArray[np.float64], scales: list[NDArray[np.float64]], pair_safe: bool, tensor_wide: bool
) -> QuantizedWeight:
    """Of several scales (C,), the one of least squared error for each channel, or for all together."""
    least = np.full(len(rows), np.inf)
    q, chosen = np.zeros(rows.shape, np.int8), np.zeros(len(rows), np.float32)
    for candidate in scales:
        scale = candidate.astype(np.float32)
        rounded = _rounded(rows, scale)
        if pair_safe:
            _relieve(rounded)
        error = ((rounded * scale.astype(np.float64)[:, None] - rows) ** 2).sum(1)
        if tensor_wide:
            error[:] = error.sum()
        better = error < least
        least[better], chosen[better], q[better] = error[better], scale[better], rounded[better]
    return QuantizedWeight(q, chosen)


def _rounded(rows: NDArray[np.float64], scale: Floats) -> NDArray[np.int16]:
    rounded: NDArray[np.int16] = np.clip(np.rint(rows / scale[:, None]), -QMAX - 1, QMAX).astype(np.int16)
    return rounded


def _relieve(q: NDArray[np.int16]) -> None:
    """Take the excess over 128 off both weights of a pair, half each, in place."""
    first, second = _pairs(q)
    total = first + second
    excess = np.abs(total) - PAIR_MAX
    unsafe = np.nonzero(excess > 0)
    sign, over = np.sign(total[unsafe]), excess[unsafe]
    first[unsafe] -= sign * (over - over // 2)
    second[unsafe] -= sign * (over // 2)


def _unsafe(q: Rows) -> NDArray[np.bool_]:
    """(C, pairs) bool, for rows in kernel order."""
    first, second = _pairs(q.astype(np.int16))
    unsafe: NDArray[np.bool_] = np.abs(first + second) > PAIR_MAX
    return unsafe


def _pairs(q: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Views of the first and the second of every pair, (C, pairs); the last of an odd number has no neighbour."""
    return q[:, 0:-1:2], q[:, 1::2]


def kernel_order(weight: Rows) -> Rows:
    """(C, I, kH, kW) → (C, kH · kW · I), the order in which the kernel multiplies."""
    return np.moveaxis(weight, 1, -1).reshape(len(weight), -1)


def _from_kernel_order(rows: Int8, shape: tuple[int, ...]) -> Int8:
    return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1))
