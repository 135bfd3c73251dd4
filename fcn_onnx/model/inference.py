"""onnx's inference of types and shapes, without copying the weights, so for models of any size."""

from __future__ import annotations

from math import prod

import onnx

SMALL = 1024
"""Elements of the largest constant whose values inference gets: shapes, axes and scales are shorter."""


def inferred(model: onnx.ModelProto) -> onnx.GraphProto:
    """The graph of `model`, but for its large constants, with the types and shapes of inner tensors in `value_info`.

    What cannot be inferred is missing there.
    """
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph, full = light.graph, model.graph
    graph.name = full.name
    graph.node.extend(full.node)
    graph.input.extend(full.input)
    graph.output.extend(full.output)
    graph.value_info.extend(full.value_info)
    listed = {value.name for value in full.input}
    for tensor in full.initializer:
        if prod(tensor.dims) <= SMALL:
            graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in listed:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return onnx.shape_inference.infer_shapes(light).graph
