"""Who reads and who writes which tensor, subgraphs (of If, Loop, Scan) among the readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

STANDARD = frozenset({"", "ai.onnx"})
MOVERS = frozenset(
    {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "DepthToSpace", "SpaceToDepth"}
)


def is_op(node: onnx.NodeProto, *ops: str) -> bool:
    """Whether `node` is one of the standard operators named."""
    return node.op_type in ops and node.domain in STANDARD


def moves_values(node: onnx.NodeProto) -> bool:
    """Whether `node` moves values of its first input and computes none, so that onnxruntime lets 8 bits through."""
    if is_op(node, "Resize"):
        return any(attribute.name == "mode" and attribute.s == b"nearest" for attribute in node.attribute)
    return is_op(node, *MOVERS)


def group_of(node: onnx.NodeProto) -> int:
    """Groups of a convolution, transposed or not."""
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that `node` holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs too."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from all_nodes(inner)


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that `node` reads: its inputs, and what its subgraphs take from around them."""
    yield from filter(None, node.input)
    for graph in subgraphs(node):
        yield from _free(graph)


def _free(graph: onnx.GraphProto) -> Iterator[str]:
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        yield from (name for name in reads(node) if name not in own)
        own.update(node.output)
    yield from (value.name for value in graph.output if value.name not in own)


def captured(graph: onnx.GraphProto) -> frozenset[str]:
    """Names of `graph` that subgraphs read."""
    return frozenset(name for node in graph.node for inner in subgraphs(node) for name in _free(inner))


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that writes each tensor."""
    return {name: node for node in graph.node for name in node.output if name}


def readers(graph: onnx.GraphProto) -> dict[str, list[tuple[onnx.NodeProto, int]]]:
    """(node, index of its input) of each direct read; what subgraphs read is in `captured`."""
    found: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name:
                found.setdefault(name, []).append((node, index))
    return found


def rename_reads(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Let every reader of a key read its value instead, subgraphs too."""
    for node in all_nodes(graph):
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = names[name]
        for inner in subgraphs(node):
            for value in inner.output:
                value.name = names.get(value.name, value.name)


def fresh(wanted: str, taken: set[str]) -> str:
    """`wanted`, or with the first number behind it that makes it new; joins `taken`."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def tensor_names(graph: onnx.GraphProto) -> set[str]:
    """Every name that a tensor has anywhere."""
    found = {value.name for value in [*graph.input, *graph.output]}
    found.update(tensor.name for tensor in graph.initializer)
    for node in all_nodes(graph):
        found.update(node.input)
        found.update(node.output)
        for inner in subgraphs(node):
            found.update(tensor.name for tensor in inner.initializer)
            found.update(value.name for value in inner.input)
    return found


def keep_nodes(graph: onnx.GraphProto, kept: Sequence[onnx.NodeProto]) -> None:
    """Leave only these nodes, in their order."""
    if len(kept) != len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)
