"""What scales and shifts the channels behind a convolution becomes part of its weight and bias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from fcn_onnx.model.uses import captured, fresh, group_of, is_op, keep_nodes, producers, readers, tensor_names

DEFAULT_EPSILON = 1e-5
Values = Mapping[str, TensorProto]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """x · factor + offset for every channel, (C,) float64 or a scalar each."""

    factor: Array
    offset: Array


def fold_affine(graph: onnx.GraphProto) -> None:
    """Fold what alone reads the result of a Conv or ConvTranspose and is affine in each of its channels.

    That is a BatchNormalization, and a Mul, Div, Add or Sub with a constant of one value or one a channel (a bias that
    the exporter left behind, the scale of a layer). W' = W · factor and b' = b · factor + offset are computed in
    float64 and stored in float32. The convolution takes over the name of the tensor that the folded node wrote.

    Requires: weights and biases that nothing else reads (`unshare`).
    """
    values = {tensor.name: tensor for tensor in graph.initializer}
    makers, found = producers(graph), readers(graph)
    seen = captured(graph) | {value.name for value in graph.output}
    taken = tensor_names(graph)
    kept = []
    for node in graph.node:
        source = next((name for name in node.input if name in makers), "")
        conv = makers.get(source)
        if conv is None or source in seen or len(found[source]) != 1 or not _is_foldable(conv, values):
            kept.append(node)
            continue
        affine = _affine(node, source, values, _channels(conv, values), len(values[conv.input[1]].dims))
        folded = affine and _folded(conv, affine, values)
        if not folded:
            kept.append(node)
            continue
        weight, shifted = folded
        bias = conv.input[2] if any(conv.input[2:]) else ""
        if not bias:
            bias = fresh(f"{conv.input[1]}_bias", taken)
            values[bias] = graph.initializer.add()
            del conv.input[2:]
            conv.input.append(bias)
        values[conv.input[1]].CopyFrom(numpy_helper.from_array(weight, conv.input[1]))
        values[bias].CopyFrom(numpy_helper.from_array(shifted, bias))
        conv.output[0] = node.output[0]
        makers[node.output[0]] = conv
    keep_nodes(graph, kept)


def _is_foldable(conv: onnx.NodeProto, values: Values) -> bool:
    return is_op(conv, "Conv", "ConvTranspose") and all(not name or _is_float(name, values) for name in conv.input[1:])


def _is_float(name: str, values: Values) -> bool:
    return name in values and values[name].data_type == TensorProto.FLOAT


def _channels(conv: onnx.NodeProto, values: Values) -> int:
    """How many channels a convolution writes."""
    dims = values[conv.input[1]].dims
    return int(dims[0]) if is_op(conv, "Conv") else int(dims[1]) * group_of(conv)


def _affine(node: onnx.NodeProto, source: str, values: Values, channels: int, rank: int) -> Affine | None:
    """What `node` does to each of the channels of `source`, a tensor of `rank` dimensions; None if it does more."""
    if is_op(node, "BatchNormalization"):
        return _normalisation(node, values)
    others = [name for name in node.input if name != source]
    if not is_op(node, "Mul", "Div", "Add", "Sub") or len(others) != 1 or not _is_float(others[0], values):
        return None
    if node.op_type in ("Div", "Sub") and node.input[0] != source:
        return None
    operand = numpy_helper.to_array(values[others[0]]).astype(np.float64)
    shape = (*[1] * (rank - operand.ndim), *operand.shape)
    if len(shape) != rank or shape[1] not in (1, channels) or operand.size != shape[1]:
        return None
    operand = operand.reshape(-1)
    one, zero = np.ones(1), np.zeros(1)
    with np.errstate(divide="ignore"):
        return {
            "Mul": lambda: Affine(operand, zero),
            "Div": lambda: Affine(1 / operand, zero),
            "Add": lambda: Affine(one, operand),
            "Sub": lambda: Affine(one, -operand),
        }[node.op_type]()


def _normalisation(node: onnx.NodeProto, values: Values) -> Affine | None:
    """A BatchNormalization of inference: x · γ / √(σ² + ε) + β − μ · γ / √(σ² + ε)."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    trains = "training_mode" in attributes and attributes["training_mode"].i != 0
    trains = trains or any(node.output[1:])  # how opsets before 14 ask for it
    per_position = "spatial" in attributes and attributes["spatial"].i == 0
    if trains or per_position or not all(_is_float(name, values) for name in node.input[1:]):
        return None
    gamma, beta, mean, variance = (numpy_helper.to_array(values[name]).astype(np.float64) for name in node.input[1:5])
    epsilon = float(attributes["epsilon"].f) if "epsilon" in attributes else DEFAULT_EPSILON
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = gamma / np.sqrt(variance + epsilon)
    return Affine(factor, beta - mean * factor)


def _folded(
    conv: onnx.NodeProto, affine: Affine, values: Values
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """The weight and the (C,) bias of a convolution that does this too; None where float32 does not hold them."""
    channels = _channels(conv, values)
    factor, offset = (np.broadcast_to(part, channels) for part in (affine.factor, affine.offset))
    weight = numpy_helper.to_array(values[conv.input[1]]).astype(np.float64)
    bias = numpy_helper.to_array(values[conv.input[2]]).astype(np.float64) if any(conv.input[2:]) else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        if is_op(conv, "Conv"):  # (C, I / groups, …)
            weight *= factor.reshape(-1, *[1] * (weight.ndim - 1))
        else:  # (I, C / groups, …), groups one after the other along I
            grouped = weight.reshape(group_of(conv), -1, *weight.shape[1:])
            grouped *= factor.reshape(group_of(conv), 1, -1, *[1] * (weight.ndim - 2))
        results = weight.astype(np.float32), (bias * factor + offset).astype(np.float32)
    return results if all(np.isfinite(result).all() for result in results) else None
