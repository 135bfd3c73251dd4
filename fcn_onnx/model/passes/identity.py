"""Nodes that hand on what they are given go."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from fcn_onnx.model.uses import is_op, keep_nodes, producers, reads, rename_reads


def drop_identities(graph: onnx.GraphProto) -> None:
    """Drop every Identity, and every Dropout that drops nothing; their readers read what they read.

    One that writes an output of the graph gives the output's name to the node before it; it stays where there is
    none to rename: behind an input, an initializer, or another output.
    """
    outputs = {value.name for value in graph.output}
    idle = _idle(graph)
    source: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if node.output[0] in idle and node.output[0] not in outputs:
            source[node.output[0]] = source.get(node.input[0], node.input[0])
        else:
            kept.append(node)
    keep_nodes(graph, kept)
    rename_reads(graph, source)
    makers = producers(graph)
    kept = []
    for node in graph.node:
        maker = makers.get(node.input[0]) if node.output[0] in idle else None
        if maker is None or node.input[0] in outputs:
            kept.append(node)
            continue
        before, after = node.input[0], node.output[0]
        maker.output[list(maker.output).index(before)] = after
        makers[after] = maker
        rename_reads(graph, {before: after})
    keep_nodes(graph, kept)


def _idle(graph: onnx.GraphProto) -> frozenset[str]:
    """What is written by nodes that hand on their input."""
    used = {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
    values = {tensor.name: tensor for tensor in graph.initializer}

    def trains(node: onnx.NodeProto) -> bool:
        """From opset 12 on a Dropout's third input says so; before, none did once it was exported."""
        name = node.input[2] if len(node.input) > 2 else ""
        return bool(name) and (name not in values or bool(numpy_helper.to_array(values[name]).any()))

    return frozenset(
        node.output[0]
        for node in graph.node
        if is_op(node, "Identity") or (is_op(node, "Dropout") and not used & set(node.output[1:]) and not trains(node))
    )
