"""onnx's inference of types and shapes, without copying the weights, so for models of any size."""

from __future__ import annotations

from math import prod

import onnx

from fcn_onnx.errors import ModelError, first_line

SMALL = 1024
"""Elements of the largest constant whose values inference gets: shapes, axes and scales are shorter."""


def skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` without its initializers, which are nearly all of its bytes."""
    bare = onnx.ModelProto(
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        model_version=model.model_version,
        doc_string=model.doc_string,
    )
    bare.opset_import.extend(model.opset_import)
    bare.metadata_props.extend(model.metadata_props)
    bare.functions.extend(model.functions)
    graph, full = bare.graph, model.graph
    graph.name, graph.doc_string = full.name, full.doc_string
    graph.node.extend(full.node)
    graph.sparse_initializer.extend(full.sparse_initializer)
    graph.input.extend(full.input)
    graph.output.extend(full.output)
    graph.value_info.extend(full.value_info)
    graph.quantization_annotation.extend(full.quantization_annotation)
    return bare


def inferred(model: onnx.ModelProto) -> onnx.GraphProto:
    """The graph of `model`, but for its large constants, with the types and shapes of inner tensors in `value_info`.

    What cannot be inferred is missing there.

    Raises:
        ModelError: what is inferred contradicts what is declared.
    """
    light = skeleton(model)
    graph, full = light.graph, model.graph
    listed = {value.name for value in full.input}
    for tensor in full.initializer:
        if prod(tensor.dims) <= SMALL:
            graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in listed:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        return onnx.shape_inference.infer_shapes(light).graph
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"the model's shapes contradict one another: {first_line(error)}", fix="make it again"
        ) from error
