"""A weight or a bias of several layers becomes one for each."""

from __future__ import annotations

import onnx

from fcn_onnx.model.uses import captured, fresh, is_op, readers, tensor_names

PARAMETERS = (1, 2)
"""Which inputs of a Conv, ConvTranspose or Gemm are its weight and its bias."""


def unshare(graph: onnx.GraphProto) -> None:
    """Give every Conv, ConvTranspose and Gemm weights and biases that nothing else reads.

    The first of them keeps the shared tensor under its name, unless anything else (a MatMul, an Add, a subgraph, an
    output) reads it too: that must find it unchanged.
    """
    inner = captured(graph) | {value.name for value in graph.output}
    found = readers(graph)
    taken = tensor_names(graph)
    for tensor in list(graph.initializer):
        uses = found.get(tensor.name, [])
        layers = [use for use in uses if is_op(use[0], "Conv", "ConvTranspose", "Gemm") and use[1] in PARAMETERS]
        alone = len(layers) == len(uses) and tensor.name not in inner
        for node, index in layers[1:] if alone else layers:
            copy = graph.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = fresh(f"{tensor.name}_{node.name}", taken)
            node.input[index] = copy.name
