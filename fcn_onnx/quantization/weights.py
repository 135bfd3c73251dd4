"""Weights of convolutions as int8: the scale of each output channel, and sums that cannot saturate.

On x86 without VNNI the fast u8·s8 kernel is `vpmaddubsw`: it multiplies an activation (0 … 255) by a weight and adds
the products of two neighbours into one int16, which saturates. With both activations at 255 a pair of weights is safe
when

    |q₀ + q₁| ≤ 128,    as 255 · 128 = 32640 ≤ 32767 < 255 · 129

and any pair of opposite signs is. onnxruntime keeps the channels last, so neighbours are the input channels 2k and
2k + 1 of a group under the same kernel position; with an odd number of channels, one among them, the pairs run on over
the positions. Only a truly depthwise convolution (as many groups as input and as output channels) has a kernel of its
own, which widens first. Of a matrix product, neighbours are 2k and 2k + 1 along the inner dimension.
(`tools/kernel_pairs.py` reads all of this off the kernels themselves.) Large neighbours of one
sign are rare, so a scale that is coarser for such channels alone keeps nearly all of the eighth bit, and the fast
kernel exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.model.uses import group_of

QMAX = 127
PAIR_MAX = 128
COARSER = np.linspace(1, 2, 17)
"""Factors tried on the scale of a channel that holds an unsafe pair; at 2 the weights have 7 bits, and no pair is."""

BIAS_MAX = 2.0**30
"""Of a bias in units of (activation scale · weight scale): int32, with a bit to spare."""

Int8 = NDArray[np.int8]
Rows = NDArray[Any]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

CACHED = 1 << 16
"""Elements that are rounded at a time: with their copies they stay in a core's own cache."""


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A convolution's weight (C, …) as q · scale. Equal only to itself, so that what follows from it can be looked up.

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


Rule = Callable[..., QuantizedWeight]
"""Takes what `quantize_weight` does."""


@dataclass(frozen=True)
class Request:
    """All that the int8 form of a weight depends on.

    Attributes:
        name: of the initializer.
        per_channel, pair_safe: see `quantize_weight`.
        least: bytes of the scales, (C,) float64, below which a bias does not fit; 0 where the weight itself needs more.
        rule: that rounds it.
    """

    name: str
    per_channel: bool
    pair_safe: bool
    least: bytes
    rule: Rule


def quantize_weights(
    model: onnx.ModelProto,
    table: RangeTable,
    nodes: frozenset[str],
    *,
    per_channel: bool,
    pair_safe: bool,
    rule: Rule | None = None,
    known: dict[Request, QuantizedWeight] | None = None,
    threads: int = 1,
) -> dict[str, QuantizedWeight]:
    """int8 weights of the convolutions named, by initializer.

    Args:
        model: fp32.
        table: ranges of their inputs, which say how coarse a scale a bias needs.
        nodes: names of nodes.
        per_channel: a scale for each output channel rather than one for all.
        pair_safe: no pair may saturate.
        rule: that rounds them; None is `quantize_weight`.
        known: what was rounded of this model before, and gets what is rounded now.
        threads: that round, a weight each at a time.
    """
    known = {} if known is None else known
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    convs = [node for node in model.graph.node if node.name in nodes and node.input[1] in stored]

    def request(node: onnx.NodeProto) -> Request:
        weight = numpy_helper.to_array(stored[node.input[1]])
        bias = stored.get(node.input[2]) if len(node.input) > 2 else None
        given = table.ranges.get(node.input[0])
        step = (given.highest - given.lowest) / 255 if given else 0.0
        least = np.zeros(len(weight))
        if bias is not None and step > 0:
            least = np.abs(numpy_helper.to_array(bias).astype(np.float64)) / (step * BIAS_MAX)
            least[least <= np.abs(weight).reshape(len(weight), -1).max(1) / (QMAX + 1.0)] = 0
        paired = pair_safe and not is_depthwise(weight.shape, group_of(node))
        return Request(node.input[1], per_channel, paired, least.tobytes(), rule or quantize_weight)

    def rounded(wanted: Request) -> QuantizedWeight:
        return wanted.rule(
            numpy_helper.to_array(stored[wanted.name]),
            per_channel=wanted.per_channel,
            pair_safe=wanted.pair_safe,
            least=np.frombuffer(wanted.least),
        )

    requests = [request(node) for node in convs]
    new = sorted({r for r in requests if r not in known}, key=lambda r: -prod(stored[r.name].dims))
    with ThreadPoolExecutor(max(1, threads)) as pool:  # numpy lets go of the interpreter
        known.update(zip(new, pool.map(rounded, new), strict=True))
    return {wanted.name: known[wanted] for wanted in requests}


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
    rows = kernel_order(weight)
    largest = np.abs(rows).max(1).astype(np.float64)
    if not per_channel:
        largest = np.full_like(largest, largest.max())
        least = np.full_like(largest, np.max(least))
    floor = np.maximum(least, np.finfo(np.float32).tiny * 2**24)
    full = np.maximum(largest / QMAX, floor)
    grid = np.exp2(np.ceil(np.log2(np.maximum(largest / (QMAX + 1), floor))))
    scales = np.stack([full, grid])
    scale = _best(rows, scales, pair_safe, per_channel)
    q = np.empty(rows.shape, np.int8)
    unsafe = np.zeros(len(rows), bool)
    for block in row_blocks(rows):
        q[block] = rounded = _rounded(rows[block].astype(np.float64), scale[block])
        unsafe[block] = _unsafe(rounded).any(1)
    if pair_safe and unsafe.any():
        chosen = np.nonzero(unsafe if per_channel else np.ones_like(unsafe))[0]
        coarser = (scales[:, None, chosen] * COARSER[:, None]).reshape(-1, len(chosen))
        retried = rows[chosen]
        scale[chosen] = _best(retried, coarser, pair_safe, per_channel)
        for block in row_blocks(retried):
            rounded = _rounded(retried[block].astype(np.float64), scale[chosen[block]])
            relieve(rounded)
            q[chosen[block]] = rounded
    return QuantizedWeight(from_kernel_order(q, weight.shape), scale)


def unsafe_pairs(q: Int8) -> int:
    """How many pairs of neighbours in an int8 weight (C, I, kH, kW) can saturate."""
    return unsafe_in_rows(kernel_order(q))


def unsafe_in_rows(rows: Rows) -> int:
    """How many pairs can saturate in the int8 weights (C, K) of C sums of K products, in the kernel's order."""
    return int(_unsafe(rows).sum())


def _best(rows: Floats, scales: Doubles, pair_safe: bool, per_channel: bool) -> Floats:
    """Of several scales (N, C), the first of least squared error for each channel, or for all together, (C,)."""
    rounded_scales = scales.astype(np.float32)
    errors = np.empty(scales.shape)
    for block in row_blocks(rows):
        exact = rows[block].astype(np.float64)
        for index, scale in enumerate(rounded_scales[:, block]):
            values = _rounded(exact, scale)
            if pair_safe:
                relieve(values)
            values *= scale[:, None]
            values -= exact
            values *= values
            errors[index, block] = values.sum(1)
    if not per_channel:
        errors[:] = errors.sum(1, keepdims=True)
    best: Floats = np.take_along_axis(rounded_scales, errors.argmin(0)[None], 0)[0]
    return best


def row_blocks(rows: Rows) -> Iterator[slice]:
    """Some of the first axis at a time: as many as stay in a core's cache."""
    step = max(1, CACHED // max(1, rows[0].size))
    return (slice(start, start + step) for start in range(0, len(rows), step))


def _rounded(rows: Doubles, scale: Floats) -> Doubles:
    """Whole numbers from -128 to 127. No scale is so small that a weight would be below -128; 128 there may be."""
    rounded: Doubles = rows / scale.astype(np.float64)[:, None]
    np.rint(rounded, out=rounded)
    return np.minimum(rounded, QMAX, out=rounded) if rounded.max() > QMAX else rounded


def relieve(q: Doubles) -> None:
    """Take the excess over 128 off both weights of a pair, half each, in place; `q` is contiguous."""
    first, second = _pairs(q)
    total = first + second
    unsafe = np.flatnonzero(np.abs(total) > PAIR_MAX)
    row, pair = np.divmod(unsafe, total.shape[1])
    sign, over = np.sign(total.ravel()[unsafe]), np.abs(total.ravel()[unsafe]) - PAIR_MAX
    at = row * q.shape[1] + 2 * pair
    q.ravel()[at] -= sign * np.ceil(over / 2)
    q.ravel()[at + 1] -= sign * np.floor(over / 2)


def _unsafe(q: Rows) -> NDArray[np.bool_]:
    """(C, pairs) bool, for rows in kernel order."""
    first, second = _pairs(q if q.dtype != np.int8 else q.astype(np.int16))
    unsafe: NDArray[np.bool_] = np.abs(first + second) > PAIR_MAX
    return unsafe


def _pairs(q: Rows) -> tuple[Rows, Rows]:
    """Views of the first and the second of every pair, (C, pairs); the last of an odd number has no neighbour."""
    return q[:, 0:-1:2], q[:, 1::2]


def kernel_order(weight: Rows) -> Rows:
    """(C, I, kH, kW) → (C, kH · kW · I), the order in which the kernel multiplies."""
    return np.moveaxis(weight, 1, -1).reshape(len(weight), -1)


def from_kernel_order(rows: Int8, shape: tuple[int, ...]) -> Int8:
    """Back to (C, I, kH, kW), which is `shape`."""
    return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1))
