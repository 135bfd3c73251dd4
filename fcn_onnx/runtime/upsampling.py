"""Logits brought to another size before the argmax, as protocols that score at the original size do."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import Session, options_of


def upsample(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(C, h, w) float32 resized to (C, *size), bilinear, half-pixel centres, no antialiasing.

    What `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` and OpenCV's INTER_LINEAR compute.
    """
    if logits.shape[1:] == size:
        return logits
    sizes = np.array([1, len(logits), *size], np.int64)
    (resized,) = _session().run(None, {"x": np.ascontiguousarray(logits)[None], "sizes": sizes})
    planes: NDArray[np.float32] = resized[0]
    return planes


@cache
def _session() -> Session:
    """One Resize node; its sizes are an input."""
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel"
    )
    graph = helper.make_graph(
        [node],
        "upsample",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "C", "h", "w"]),
            helper.make_tensor_value_info("sizes", TensorProto.INT64, [4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "C", "H", "W"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return Session(model.SerializeToString(), options_of(SessionConfig()), name="the resizing of logits")
