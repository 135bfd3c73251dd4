"""Pairs that can saturate in written weights, against literal loops over what each kernel adds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fcn_onnx.errors import QuantizationError
from fcn_onnx.quantization.saturation import read_pairs, require_pair_safe


def model_of(node: onnx.NodeProto, weight: np.ndarray, *before: onnx.NodeProto) -> onnx.ModelProto:
    graph = helper.make_graph([*before, node], "one", [], [], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def conv(weight: np.ndarray, kind: str = "QLinearConv", **attributes: Any) -> onnx.ModelProto:
    inputs = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"] if kind == "QLinearConv" else ["x", "w"]
    return model_of(helper.make_node(kind, inputs, ["y"], name="node", **attributes), weight)


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("inputs", [1, 3, 4])
def test_pairs_of_a_convolution(group: int, inputs: int) -> None:
    weight = np.random.default_rng(group).integers(-128, 128, (8, inputs, 3, 3)).astype(np.int8)
    unsafe = count = 0
    for channel in weight.astype(int):
        order = [channel[i, y, x] for y in range(3) for x in range(3) for i in range(inputs)]
        for a, b in zip(order[0::2], order[1::2], strict=False):
            count += 1
            unsafe += not -32768 <= 255 * (a + b) <= 32767
    found = read_pairs(conv(weight, group=group))
    assert (found.count, found.unsafe) == (count, {"node": unsafe})
    assert found.unsafe_count == unsafe
    with pytest.raises(QuantizationError, match=f"{unsafe} pairs of weights can saturate"):
        require_pair_safe(found)


def test_a_depthwise_kernel_adds_no_pairs_and_a_depth_multiplier_is_not_depthwise() -> None:
    weight = np.full((8, 1, 3, 3), 127, np.int8)
    require_pair_safe(read_pairs(conv(weight, group=8)))
    assert read_pairs(conv(weight, group=8)).count == 0
    assert read_pairs(conv(weight, group=4)).unsafe_count == 8 * 4


def test_weights_behind_a_dequantizer_count_and_those_that_no_saturating_kernel_takes_do_not() -> None:
    dequantize = helper.make_node("DequantizeLinear", ["w", "s"], ["wf"])
    weight = np.full((2, 4, 1, 1), 127, np.int8)
    node = helper.make_node("Conv", ["x", "wf"], ["y"], name="node")
    assert read_pairs(model_of(node, weight, dequantize)).unsafe == {"node": 4}
    assert read_pairs(conv(weight.astype(np.uint8))).count == 0
    assert read_pairs(conv(weight.astype(np.float32), "Conv")).count == 0


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "rows_are_sums"),
    [
        ("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], {}, False),
        ("MatMulInteger", ["x", "w"], {}, False),
        ("QGemm", ["x", "xs", "xz", "w", "ws", "wz"], {}, False),
        ("QGemm", ["x", "xs", "xz", "w", "ws", "wz"], {"transB": 1}, True),
    ],
)
def test_a_matrix_product_adds_pairs_along_the_inner_axis(
    kind: str, inputs: list[str], attributes: dict[str, int], rows_are_sums: bool
) -> None:
    weight = np.zeros((4, 6), np.int8)
    weight[2, 2] = weight[3, 2] = 127  # one pair if columns are the sums
    weight[0, 4] = weight[0, 5] = 127  # one pair if rows are
    weight[1, 1] = weight[1, 2] = 127  # no pair: 1 and 2 are not 2k and 2k + 1
    found = read_pairs(model_of(helper.make_node(kind, inputs, ["y"], name="node", **attributes), weight))
    assert found.unsafe_count == 1
    assert found.count == (4 * 3 if rows_are_sums else 6 * 2)
