"""Changes to the fp32 model that make up for what int8 does to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fcn_onnx.quantization.weights import QuantizedWeight

Means = Mapping[str, tuple[float, ...]]


def correct_biases(
    original: onnx.ModelProto, placed: onnx.ModelProto, weights: Mapping[str, QuantizedWeight], means: Means
) -> onnx.ModelProto:
    """A copy of `placed` in which rounding the weights leaves the mean of every output channel where it was.

    A convolution with the weight W' in place of W shifts the mean of its output channel o by
    Σᵢ (Σₖ W'ₒᵢₖ − Wₒᵢₖ) · E[xᵢ], i being an input channel and k a position of the kernel; that is taken off its bias.
    What padding changes at the borders is neglected. (Nagel et al., "Data-Free Quantization Through Weight
    Equalization and Bias Correction", ICCV 2019, §4.2, with measured instead of derived means.)

    Args:
        original: the fp32 model.
        placed: the same with rounded weights.
        weights: those, by initializer.
        means: E[x] by tensor, for each channel, over calibration images.
    """
    corrected = onnx.ModelProto()
    corrected.CopyFrom(placed)
    before = {tensor.name: tensor for tensor in original.graph.initializer}
    after = {tensor.name: tensor for tensor in corrected.graph.initializer}
    for node in corrected.graph.node:
        if node.op_type != "Conv" or node.input[1] not in weights or node.input[0] not in means:
            continue
        shift = mean_shift(
            weights[node.input[1]].values() - numpy_helper.to_array(before[node.input[1]]),
            np.array(means[node.input[0]]),
        )
        if len(node.input) > 2 and node.input[2]:
            bias = numpy_helper.to_array(after[node.input[2]])
            after[node.input[2]].CopyFrom(numpy_helper.from_array((bias - shift).astype(np.float32), node.input[2]))
        else:
            name = f"{node.input[1]}_correction"
            del node.input[2:]
            node.input.append(name)
            corrected.graph.initializer.append(numpy_helper.from_array((-shift).astype(np.float32), name))
    return corrected


def mean_shift(difference: NDArray[np.float32], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a change of the weight (C, I / groups, k, …) adds to the mean of each output channel, (C,) float64.

    Args:
        difference: the change.
        means: (I,) of the input channels.
    """
    summed = difference.astype(np.float64).sum(tuple(range(2, difference.ndim)))
    outputs, inputs = summed.shape
    groups = len(means) // inputs
    grouped = np.repeat(means.reshape(groups, inputs), outputs // groups, axis=0)
    shift: NDArray[np.float64] = (summed * grouped).sum(1)
    return shift
