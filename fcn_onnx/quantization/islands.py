"""Nodes that would compute in int8 alone among fp32 ones: they stay fp32 with their neighbours.

Convolutions are what int8 is for. An addition or a pooling is quantized so that what flows between them stays 8 bits;
where no 8-bit tensor comes in, or no convolution wants one, that only rounds (the `+ ε` of a LayerNorm, the `+ 1` of a
GELU, score maps that are added up). So does a product with several constants (the scales of a layer's channels): all of
them would have one scale.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import prod

import onnx

from fcn_onnx.model.graph import Graph
from fcn_onnx.model.uses import moves_values, producers, readers

RECTIFIERS = frozenset({"Relu", "Clip"})
"""Free behind what computes in int8: a QLinearConv's output clips."""

SUMS = frozenset({"Add", "Mul"})
"""All their operands have to be 8-bit, where for the others one is enough."""


def float_islands(fp32: Graph, op_types: Collection[str], float_nodes: Collection[str]) -> tuple[str, ...]:
    """Names of the nodes that gain nothing from int8, in graph order.

    Args:
        fp32: after intake.
        op_types: operators that are quantized.
        float_nodes: nodes that stay fp32 in any case.
    """
    graph, floats = fp32.model.graph, fp32.floats
    makers, uses = producers(graph), readers(graph)
    several = {tensor.name for tensor in graph.initializer if prod(tensor.dims) > 1}
    int8 = {
        node.name: node
        for node in graph.node
        if node.op_type in op_types and node.name not in float_nodes and node.output[0] in floats
        if node.op_type != "Mul" or several.isdisjoint(node.input)
    }

    def is_int8(node: onnx.NodeProto | None) -> bool:
        return node is not None and node.name in int8

    def maker(tensor: str) -> onnx.NodeProto | None:
        node = makers.get(tensor)
        return maker(node.input[0]) if node is not None and moves_values(node) else node

    def following(tensor: str) -> Iterator[onnx.NodeProto]:
        for reader, _ in uses.get(tensor, []):
            if moves_values(reader):
                for result in reader.output:
                    yield from following(result)
            elif is_int8(reader):
                yield reader

    def read_by_conv(tensor: str) -> bool:
        return any(reader.op_type == "Conv" for reader in following(tensor))

    def is_fed(node: onnx.NodeProto) -> bool:
        given = [is_int8(maker(name)) or read_by_conv(name) for name in node.input if name in floats]
        return all(given) if node.op_type in SUMS else any(given)

    def is_wanted(node: onnx.NodeProto) -> bool:
        if node.op_type in RECTIFIERS and any(_is_conv(makers.get(name)) for name in node.input):
            return True
        return any(reader.op_type == "Conv" or is_wanted(reader) for reader in following(node.output[0]))

    while True:
        alone = [n.name for n in int8.values() if n.op_type != "Conv" and not (is_fed(n) and is_wanted(n))]
        if not alone:
            break
        for name in alone:
            del int8[name]
    return tuple(
        node.name
        for node in graph.node
        if node.op_type in op_types
        and node.output[0] in floats
        and node.name not in int8
        and node.name not in float_nodes
    )


def _is_conv(node: onnx.NodeProto | None) -> bool:
    return node is not None and node.op_type == "Conv"
