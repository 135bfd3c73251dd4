"""Which tensors of a model are observed, and which carry another's range.

onnxruntime's quantizer looks up more tensors than it quantizes: without an entry for a Conv's own output, a
per-channel QOperator model does not load and QDQ raises KeyError. So every float tensor that an operator of
`QUANTIZABLE` reads or writes, or that is multiplied by a stored matrix, has an entry; but what feeds only a Relu takes
the Relu's range, and what only selects among values or moves them takes their range, so neither is observed. (With one
range before and behind it, onnxruntime lets 8 bits through what moves them.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from fcn_onnx.model.graph import Graph
from fcn_onnx.model.products import stored_products
from fcn_onnx.model.uses import moves_values

QUANTIZABLE = frozenset(
    {"Conv", "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "Add", "Mul"}
    | {"MaxPool", "AveragePool", "GlobalAveragePool", "Concat"}
)
RECTIFIERS = frozenset({"Relu", "Clip"})
SELECTORS = frozenset({"MaxPool"})


@dataclass(frozen=True)
class Observed:
    """Tensors of one model.

    Attributes:
        tensors: those to observe, in graph order.
        carried: tensor → the observed one whose range it has; observed tensors map to themselves.
        conv_inputs: tensors that convolutions read, other than the model's inputs: their channels' means are taken.
    """

    tensors: tuple[str, ...]
    carried: Mapping[str, str]
    conv_inputs: tuple[str, ...]


def observed_tensors(fp32: Graph) -> Observed:
    """Decide for a model after intake."""
    graph, floats = fp32.model.graph, fp32.floats
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    carried: dict[str, str] = {}
    moved = {
        result: node.input[0] for node in graph.node if moves_values(node) for result in node.output if result in floats
    }
    for node in graph.node:
        if node.op_type not in QUANTIZABLE:
            continue
        for name in [*node.input, *node.output]:
            if name in floats:
                carried.setdefault(name, moved.get(name, name))
        source, result = node.input[0], node.output[0]
        if node.op_type in SELECTORS:
            carried[result] = source
        if node.op_type in RECTIFIERS and source not in outputs and len(readers[source]) == 1:
            carried[source] = result
    for product in stored_products(graph).values():
        carried.setdefault(product.data, moved.get(product.data, product.data))
    sources = moved | carried
    resolved = {name: _root(name, sources) for name in carried}
    resolved |= {root: root for root in resolved.values()}
    computed = floats - {value.name for value in graph.input}
    read = dict.fromkeys(node.input[0] for node in graph.node if node.op_type == "Conv" and node.input[0] in computed)
    return Observed(tuple(dict.fromkeys(resolved.values())), resolved, tuple(read))


def _root(name: str, carried: Mapping[str, str]) -> str:
    while carried.get(name, name) != name:
        name = carried[name]
    return name
