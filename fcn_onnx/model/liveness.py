"""How much memory a graph takes when it runs."""

from __future__ import annotations

from math import prod

import onnx
from onnx import helper

from fcn_onnx.model.shapes import TensorType, tensor_types


def peak_bytes(model: onnx.ModelProto, size: tuple[int, int]) -> int:
    """Bytes of the tensors that are alive at once, at most, while one image of `size` (height, width) is computed.

    Nodes run in the order of the graph, and a tensor lives from the node that writes it to the last that reads it, as
    in onnxruntime; weights, inner buffers of kernels and tensors of unknown shape are left out.
    """
    types = tensor_types(model, size)
    nodes = list(model.graph.node)
    last = {name: index for index, node in enumerate(nodes) for name in node.input}
    last |= dict.fromkeys((value.name for value in model.graph.output), len(nodes))
    constants = {tensor.name for tensor in model.graph.initializer}
    alive = {value.name: _bytes(types, value.name) for value in model.graph.input if value.name not in constants}
    peak = 0
    for index, node in enumerate(nodes):
        alive |= {name: _bytes(types, name) for name in node.output if name}
        peak = max(peak, sum(alive.values()))
        for name in (*node.input, *node.output):
            if name in alive and last.get(name, -1) <= index:
                del alive[name]
    return peak


def _bytes(types: dict[str, TensorType], name: str) -> int:
    kind = types.get(name)
    if kind is None or kind.known is None:
        return 0
    return prod(kind.known) * int(helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize)
