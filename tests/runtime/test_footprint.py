"""The memory of a session, of a model whose one large tensor is known to the byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from toys import save

from fcn_onnx.errors import WorkerError
from fcn_onnx.runtime.footprint import STATUS, peak_memory_bytes
from fcn_onnx.runtime.seam import RUNTIMES, SessionConfig

SIDE, REPEATS = 32, 72
TILED = 3 * SIDE**2 * REPEATS**2 * 4
"""Bytes: 64 MB."""

pytestmark = pytest.mark.skipif(not STATUS.is_file(), reason="this system does not tell")
EVERY = [name for name in ("onnxruntime", "openvino") if RUNTIMES[name].installed]


def inflating(repeats: int) -> onnx.ModelProto:
    """The mean of an image that is tiled `repeats` times in each direction."""
    nodes = [
        helper.make_node("Tile", ["input", "repeats"], ["large"]),
        helper.make_node("GlobalAveragePool", ["large"], ["out"]),
    ]
    shape: list[str | int | None] = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "inflating",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3, 1, 1])],
        [numpy_helper.from_array(np.array([1, 1, repeats, repeats], np.int64), "repeats")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


@pytest.mark.parametrize("runtime", EVERY)
def test_a_known_tensor_is_found_and_what_this_process_holds_is_not(runtime: str, tmp_path: Path) -> None:
    ballast = np.ones(40_000_000)  # 320 MB
    path = save(inflating(REPEATS), tmp_path / "m.onnx")
    found = peak_memory_bytes(path, (SIDE, SIDE), SessionConfig(), runtime=runtime)
    assert found is not None
    assert TILED <= found < 2.2 * TILED  # OpenVINO may hold it in two layouts
    assert ballast.sum() == len(ballast)


def test_a_model_in_memory_is_measured_and_a_small_one_is_small() -> None:
    found = peak_memory_bytes(inflating(1), (SIDE, SIDE), SessionConfig(), runtime="onnxruntime")
    assert found is not None
    assert 0 <= found < TILED / 4


def test_what_the_process_says_is_handed_on(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(WorkerError, match=r"measures the memory of .*m\.onnx in onnxruntime ended with 1: "):
        peak_memory_bytes(tmp_path / "m.onnx", (8, 8), SessionConfig(), runtime="onnxruntime")
