"""Rounding a weight moves the mean of what its convolution makes; the bias takes that back."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fcn_onnx.quantization.weights import QuantizedWeight, row_blocks

Means = Mapping[str, tuple[float, ...]]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Rounding:
    """What the mean shift of one convolution depends on.

    Attributes:
        weight: rounded.
        means: of its input's channels.
    """

    weight: QuantizedWeight
    means: tuple[float, ...]


def mean_shifts(
    model: onnx.ModelProto,
    weights: Mapping[str, QuantizedWeight],
    means: Means,
    known: dict[Rounding, Doubles] | None = None,
    threads: int = 1,
) -> dict[str, Doubles]:
    """What rounding the weights adds to the mean of each output channel, (C,) float64 by convolution.

    A convolution with the weight W' in place of W shifts the mean of its output channel o by
    Σᵢ (Σₖ W'ₒᵢₖ − Wₒᵢₖ) · E[xᵢ], i being an input channel and k a position of the kernel. What padding changes at the
    borders is neglected. (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
    2019, §4.2, with measured instead of derived means.)

    Args:
        model: fp32.
        weights: its rounded ones, by initializer.
        means: E[x] by tensor, for each channel, over calibration images.
        known: what was computed for this model before, and gets what is computed now.
        threads: that compute, a convolution each at a time.
    """
    known = {} if known is None else known
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    asked = {
        node.name: (node.input[1], Rounding(weights[node.input[1]], means[node.input[0]]))
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in weights and node.input[0] in means
    }

    def shift(weight: str, rounding: Rounding) -> Doubles:
        original, rounded = numpy_helper.to_array(stored[weight]), rounding.weight
        means = np.array(rounding.means)
        alone = len(means) == original.shape[1]  # channels of one group, a few of which may be looked at alone
        blocks = row_blocks(original) if alone else [slice(None)]
        shifts = [
            mean_shift(QuantizedWeight(rounded.q[block], rounded.scale[block]).values() - original[block], means)
            for block in blocks
        ]
        return np.concatenate(shifts)

    new = [own for own in asked.values() if own[1] not in known]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        known.update((own[1], found) for own, found in zip(new, pool.map(lambda own: shift(*own), new), strict=True))
    return {name: known[rounding] for name, (_, rounding) in asked.items()}


def correct_biases(model: onnx.ModelProto, shifts: Mapping[str, Doubles]) -> None:
    """Take these shifts of the means, by convolution, off the biases of `model`; one that has none gets one."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.name not in shifts:
            continue
        shift = shifts[node.name]
        if len(node.input) > 2 and node.input[2]:
            bias = numpy_helper.to_array(stored[node.input[2]])
            stored[node.input[2]].CopyFrom(numpy_helper.from_array((bias - shift).astype(np.float32), node.input[2]))
        else:
            name = f"{node.input[1]}_correction"
            del node.input[2:]
            node.input.append(name)
            model.graph.initializer.append(numpy_helper.from_array((-shift).astype(np.float32), name))


def mean_shift(difference: NDArray[np.float32], means: Doubles) -> Doubles:
    """What a change of the weight (C, I / groups, k, …) adds to the mean of each output channel, (C,) float64.

    Args:
        difference: the change.
        means: (I,) of the input channels.
    """
    summed = difference.astype(np.float64).sum(tuple(range(2, difference.ndim)))
    outputs, inputs = summed.shape
    groups = len(means) // inputs
    grouped = np.repeat(means.reshape(groups, inputs), outputs // groups, axis=0)
    shift: Doubles = (summed * grouped).sum(1)
    return shift
