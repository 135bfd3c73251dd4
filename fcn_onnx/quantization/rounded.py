"""The fp32 model with one activation, or one weight, rounded as in an int8 model, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from fcn_onnx.evaluation.fidelity import stored_activations
from fcn_onnx.model.form import image_input
from fcn_onnx.model.uses import fresh, keep_nodes, rename_reads, tensor_names
from fcn_onnx.quantization.corrections import correct_biases
from fcn_onnx.quantization.keeping import LAYERS, shield
from fcn_onnx.quantization.weights import QuantizedWeight


@dataclass(frozen=True)
class ActivationStep:
    """What the 8 bits of an activation mean: (q − zero point) · scale.

    Attributes:
        name: of the tensor in the fp32 model.
        scale: float32.
        zero_point: uint8 or int8, as q is.
    """

    name: str
    scale: np.float32
    zero_point: np.integer[Any]


def activation_steps(fp32: onnx.ModelProto, int8: onnx.ModelProto) -> list[ActivationStep]:
    """Of each activation of `fp32` that `int8` holds in 8 bits, the input too, in graph order."""
    kinds: dict[int, type[np.integer[Any]]] = {onnx.TensorProto.UINT8: np.uint8, onnx.TensorProto.INT8: np.int8}
    stored = stored_activations(fp32, int8)
    found = [
        ActivationStep(name, np.float32(place.scale), kinds[place.kind](place.zero)) for name, place in stored.items()
    ]
    image = image_input(fp32)
    constants = {tensor.name: tensor for tensor in int8.graph.initializer}
    if image is not None and {f"{image.name}_scale", f"{image.name}_zero_point"} <= constants.keys():
        scale, zero = (numpy_helper.to_array(constants[f"{image.name}_{what}"]) for what in ("scale", "zero_point"))
        found.insert(0, ActivationStep(image.name, np.float32(scale.item()), zero.reshape(-1)[0]))
    return found


def with_rounded(fp32: onnx.ModelProto, step: ActivationStep) -> onnx.ModelProto:
    """A copy of `fp32` in which whatever reads this activation reads it rounded; no layer of it runs in int8."""
    model = onnx.ModelProto()
    model.CopyFrom(fp32)
    graph, taken = model.graph, tensor_names(model.graph)
    scale, zero, q, rounded = (fresh(f"{step.name}_{what}", taken) for what in ("scale", "zero", "q", "rounded"))
    graph.initializer.append(numpy_helper.from_array(np.asarray(step.scale), scale))
    graph.initializer.append(numpy_helper.from_array(np.asarray(step.zero_point), zero))
    pair = [
        helper.make_node("QuantizeLinear", [step.name, scale, zero], [q], q),
        helper.make_node("DequantizeLinear", [q, scale, zero], [rounded], rounded),
    ]
    rename_reads(graph, {step.name: rounded})
    nodes = list(graph.node)
    behind = next((index + 1 for index, node in enumerate(nodes) if step.name in node.output), 0)
    keep_nodes(graph, [*nodes[:behind], *pair, *nodes[behind:]])
    return shield(model, [node.name for node in graph.node if node.op_type in LAYERS])


def with_rounded_weight(
    fp32: onnx.ModelProto, conv: str, weight: QuantizedWeight, shift: NDArray[np.float64] | None
) -> onnx.ModelProto:
    """A copy of `fp32` in which one convolution multiplies by its int8 weight, as floats; nothing else is rounded.

    Args:
        shift: of the mean of its channels, which is taken off its bias; None leaves that as it is.
    """
    model = onnx.ModelProto()
    model.CopyFrom(fp32)
    (node,) = (node for node in model.graph.node if node.name == conv)
    (stored,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    stored.CopyFrom(numpy_helper.from_array(weight.values(), stored.name))
    if shift is not None:
        correct_biases(model, {conv: shift})
    return model
