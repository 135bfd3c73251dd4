"""Batch normalisation behind a convolution becomes part of its weight and bias."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from fcn_onnx.model.uses import captured, fresh, is_op, keep_nodes, producers, readers, tensor_names

DEFAULT_EPSILON = 1e-5


def fold_batch_norms(graph: onnx.GraphProto) -> None:
    """Fold every BatchNormalization that alone reads what a Conv or ConvTranspose writes.

    W' = W · γ / √(σ² + ε) and b' = (b − μ) · γ / √(σ² + ε) + β, computed in float64 and stored in float32. The
    convolution takes over the name of the tensor that the normalisation wrote.

    Requires: weights and biases that nothing else reads (`unshare`).
    """
    values = {tensor.name: tensor for tensor in graph.initializer}
    makers, found = producers(graph), readers(graph)
    seen = captured(graph) | {value.name for value in graph.output}
    taken = tensor_names(graph)
    kept = []
    for node in graph.node:
        conv = makers.get(node.input[0]) if is_op(node, "BatchNormalization") else None
        between = node.input[0] if conv is not None else ""
        if conv is None or between in seen or len(found[between]) != 1 or not _foldable(conv, node, values):
            kept.append(node)
            continue
        bias = conv.input[2] if len(conv.input) > 2 else ""
        weight, shifted = _folded(conv, node, values)
        values[conv.input[1]].CopyFrom(numpy_helper.from_array(weight, conv.input[1]))
        if not bias:
            bias = fresh(f"{conv.input[1]}_bias", taken)
            values[bias] = graph.initializer.add()
            del conv.input[2:]
            conv.input.append(bias)
        values[bias].CopyFrom(numpy_helper.from_array(shifted, bias))
        conv.output[0] = node.output[0]
        makers[node.output[0]] = conv
    keep_nodes(graph, kept)


def _foldable(conv: onnx.NodeProto, norm: onnx.NodeProto, values: Mapping[str, TensorProto]) -> bool:
    """Whether both hold float32 constants, and the normalisation is the one of inference."""
    constants = [*conv.input[1:], *norm.input[1:]]
    constant = all(not name or (name in values and values[name].data_type == TensorProto.FLOAT) for name in constants)
    attributes = {attribute.name: attribute for attribute in norm.attribute}
    trains = "training_mode" in attributes and attributes["training_mode"].i != 0
    trains = trains or any(norm.output[1:])  # how opsets before 14 ask for it
    per_position = "spatial" in attributes and attributes["spatial"].i == 0
    return is_op(conv, "Conv", "ConvTranspose") and constant and not trains and not per_position


def _folded(
    conv: onnx.NodeProto, norm: onnx.NodeProto, values: Mapping[str, TensorProto]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The weight and the (C,) bias of a convolution that does its normalisation's work too."""
    gamma, beta, mean, variance = (numpy_helper.to_array(values[name]).astype(np.float64) for name in norm.input[1:5])
    epsilon = next((float(a.f) for a in norm.attribute if a.name == "epsilon"), DEFAULT_EPSILON)
    factor = gamma / np.sqrt(variance + epsilon)
    weight = numpy_helper.to_array(values[conv.input[1]]).astype(np.float64)
    if is_op(conv, "Conv"):  # (C, I / groups, …)
        scaled = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    else:  # (I, C / groups, …), groups one after the other along I
        groups = next((int(a.i) for a in conv.attribute if a.name == "group"), 1)
        grouped = weight.reshape(groups, -1, *weight.shape[1:])
        scaled = (grouped * factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
    bias = numpy_helper.to_array(values[conv.input[2]]).astype(np.float64) if any(conv.input[2:]) else 0.0
    return scaled.astype(np.float32), ((bias - mean) * factor + beta).astype(np.float32)
