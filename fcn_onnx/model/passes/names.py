"""Every node gets a name that no other node has."""

from __future__ import annotations

import onnx

from fcn_onnx.model.uses import all_nodes, fresh


def name_nodes(graph: onnx.GraphProto) -> None:
    """Name the unnamed after what they write, and number the namesakes; subgraphs too.

    The first node of a name keeps it. What a node writes has one writer, so the names do not hang on the order of
    the nodes.
    """
    nodes = list(all_nodes(graph))
    taken = {node.name for node in nodes if node.name}
    seen: set[str] = set()
    for node in nodes:
        if not node.name:
            node.name = fresh(next(filter(None, node.output), node.op_type), taken)
        elif node.name in seen:
            node.name = fresh(node.name, taken)
        seen.add(node.name)
