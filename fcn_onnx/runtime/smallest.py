"""The smallest model that takes images: what a runtime is started with, before anything is asked of it."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper


def smallest_model() -> onnx.ModelProto:
    """x → y, the negative part of an image cut off."""
    shape: list[str | int | None] = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "smallest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
