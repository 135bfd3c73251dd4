"""Networks of half precision."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from foreign.drawing import Drawing


def half_inside(opset: int) -> onnx.ModelProto:
    """float32 in and out, every tensor between them float16."""
    model = _float32(opset)
    _halve(model)
    graph = model.graph
    graph.node.insert(0, helper.make_node("Cast", ["image"], ["image_half"], name="/to_half", to=TensorProto.FLOAT16))
    graph.node[1].input[0] = "image_half"
    graph.node[-1].output[0] = "out_half"
    graph.node.append(helper.make_node("Cast", ["out_half"], ["out"], name="/to_float", to=TensorProto.FLOAT))
    onnx.checker.check_model(model, full_check=True)
    return model


def half_throughout(opset: int) -> onnx.ModelProto:
    """float16 from the input to the output."""
    model = _float32(opset)
    _halve(model)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.checker.check_model(model, full_check=True)
    return model


def _float32(opset: int) -> onnx.ModelProto:
    d = Drawing(13, opset)
    x = d.relu(d.conv(d.relu(d.conv(d.input, 8)), 8))
    return d.model([d.classify(x)], renamed=["out"])


def _halve(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        halved = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(halved, tensor.name))
