"""What no output needs goes."""

from __future__ import annotations

import onnx

from fcn_onnx.model.uses import keep_nodes, reads


def drop_unused(graph: onnx.GraphProto) -> None:
    """Drop nodes that no output of the graph needs, initializers that nothing reads, and notes about what is gone."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(filter(None, node.output)):
            kept.append(node)
            needed.update(reads(node))
    keep_nodes(graph, kept[::-1])
    for tensors in (graph.initializer, graph.sparse_initializer):
        for index in reversed(range(len(tensors))):
            tensor = tensors[index]
            if (tensor.name if isinstance(tensor, onnx.TensorProto) else tensor.values.name) not in needed:
                del tensors[index]
    written = needed | {name for node in graph.node for name in node.output}
    for index in reversed(range(len(graph.value_info))):
        if graph.value_info[index].name not in written:
            del graph.value_info[index]
