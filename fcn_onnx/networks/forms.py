"""Other forms of an exported model: labels instead of logits, half precision."""

from __future__ import annotations

import warnings

import onnx
from onnx import TensorProto, helper


def with_labels(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose every output (N, C, H, W) of logits is its argmax over C, uint8 (N, H, W), under the same name.

    The lowest class wins a tie, as in numpy.
    """
    labelled = onnx.ModelProto()
    labelled.CopyFrom(model)
    graph = labelled.graph
    outputs = [value.name for value in graph.output]
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name in outputs:
                    names[place] = f"{name}_logits"
    for value in graph.output:
        name, dims = value.name, value.type.tensor_type.shape.dim
        shape = [dims[axis].dim_param or dims[axis].dim_value for axis in (0, 2, 3)]
        logits, index = f"{name}_logits", f"{name}_index"
        graph.node.extend(
            [
                helper.make_node("ArgMax", [logits], [index], name=f"/{name}/ArgMax", axis=1, keepdims=0),
                helper.make_node("Cast", [index], [name], name=f"/{name}/Cast", to=TensorProto.UINT8),
            ]
        )
        value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, shape))
    return labelled


def in_half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in float16, with float32 inputs and outputs; Resize stays float32, as most backends want."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of every weight that float16 rounds to zero
        half: onnx.ModelProto = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, "Resize"]
        )
    OnnxModel(half).topological_sort()  # the converter puts its casts last
    return half
