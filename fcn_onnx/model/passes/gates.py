"""Hard swishes and hard sigmoids in one form: Mul(x, HardSigmoid(x)), HardSigmoid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fcn_onnx.model.uses import captured, fresh, is_op, keep_nodes, producers, readers, tensor_names

ALPHA, BETA = 1 / 6, 0.5
"""Of the HardSigmoid in a HardSwish, by its definition."""

Values = Mapping[str, onnx.TensorProto]


def unify_gates(graph: onnx.GraphProto) -> None:
    """Write every gate as its product with a HardSigmoid, which has kernels in 8 bits where the others have none.

    A HardSwish becomes what it is defined as. clip(x + a, 0, c) / c is HardSigmoid with alpha 1/c and beta a/c, whether
    the division (or a product with 1/c) stands behind the Clip or behind the product that the Clip gates. The nodes
    that nobody reads any more stay, for `drop_unused`.
    """
    _divide_hard_swishes(graph)
    values = {tensor.name: tensor for tensor in graph.initializer}
    makers, found = producers(graph), readers(graph)
    seen = captured(graph) | {value.name for value in graph.output}

    def only_reader(tensor: str) -> onnx.NodeProto | None:
        reads = found.get(tensor, [])
        return reads[0][0] if len(reads) == 1 and tensor not in seen else None

    gone: set[str] = set()
    for clip in graph.node:
        gate = _hard_sigmoid(clip, makers, values)
        if gate is None:
            continue
        reader = only_reader(clip.output[0])
        if reader is None:
            continue
        if _divides(reader, clip.output[0], gate.bound, values):
            reader.CopyFrom(gate.node(reader.output[0], reader.name))
            continue
        if not is_op(reader, "Mul") or any(name in values for name in reader.input):
            continue
        last = only_reader(reader.output[0])
        if last is not None and _divides(last, reader.output[0], gate.bound, values):
            clip.CopyFrom(gate.node(clip.output[0], clip.name))
            reader.output[0] = last.output[0]
            gone.add(last.name)
    keep_nodes(graph, [node for node in graph.node if node.name not in gone])


class _Gate:
    """clip(x + offset, 0, bound) / bound."""

    def __init__(self, x: str, offset: float, bound: float) -> None:
        self.x, self.offset, self.bound = x, offset, bound

    def node(self, output: str, name: str) -> onnx.NodeProto:
        return helper.make_node(
            "HardSigmoid", [self.x], [output], name, alpha=1 / self.bound, beta=self.offset / self.bound
        )


def _divide_hard_swishes(graph: onnx.GraphProto) -> None:
    taken = tensor_names(graph) | {node.name for node in graph.node}
    nodes = []
    for node in graph.node:
        if is_op(node, "HardSwish"):
            gate = fresh(f"{node.output[0]}_gate", taken)
            nodes.append(helper.make_node("HardSigmoid", [node.input[0]], [gate], gate, alpha=ALPHA, beta=BETA))
            node = helper.make_node("Mul", [node.input[0], gate], [node.output[0]], node.name)
        nodes.append(node)
    keep_nodes(graph, nodes)


def _hard_sigmoid(clip: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], values: Values) -> _Gate | None:
    """What a Clip from 0 of a sum with a constant is, once divided; None where it is no such Clip."""
    if not is_op(clip, "Clip") or len(clip.input) != 3:
        return None
    lowest, bound = (_scalar(name, values) for name in clip.input[1:])
    add = makers.get(clip.input[0])
    if lowest != 0 or bound is None or bound <= 0 or add is None or not is_op(add, "Add"):
        return None
    x, offset = next(((a, _scalar(b, values)) for a, b in (add.input, add.input[::-1]) if b in values), ("", None))
    return None if offset is None or x in values else _Gate(x, offset, bound)


def _divides(node: onnx.NodeProto, tensor: str, bound: float, values: Values) -> bool:
    """Whether `node` computes `tensor` / `bound`, but for rounding."""
    if is_op(node, "Div"):
        return node.input[0] == tensor and _scalar(node.input[1], values) == bound
    others = [name for name in node.input if name != tensor]
    factor = _scalar(others[0], values) if is_op(node, "Mul") and len(others) == 1 else None
    return factor is not None and bool(np.isclose(factor * bound, 1, rtol=1e-6))


def _scalar(name: str, values: Values) -> float | None:
    """The one value of a stored float tensor."""
    tensor = values.get(name)
    if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or int(np.prod(tensor.dims)) != 1:
        return None
    return float(numpy_helper.to_array(tensor).reshape(()))
