"""Multiply-accumulates of everything that multiplies, against counts by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from foreign import counting
from foreign.networks import NETWORKS
from onnx import TensorProto, helper, numpy_helper

from fcn_onnx.model.graph import read_facts


def model_of(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str],
    constants: Mapping[str, Any],
    *,
    opset: int = 13,
) -> onnx.ModelProto:
    """A graph from `input` (float32) to `out`, of any type and shape."""
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid(domain, 1) for domain in ("com.microsoft", "com.example")]
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), *opsets], ir_version=8)


def weight(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


IMAGE = ("n", 3, "h", "w")
SIZE = (6, 10)


@pytest.mark.parametrize(
    ("op", "attributes", "shape", "parts", "macs"),
    [
        ("Conv", {"group": 3}, IMAGE, (weight(6, 1, 3, 3),), 6 * 9 * (4 * 8)),
        ("Conv", {}, (1, 4, 12), (weight(5, 4, 3), weight(5)), 5 * 4 * 3 * 10),
        ("Conv", {}, (1, 2, 4, 6, 8), (weight(7, 2, 2, 3, 3),), 7 * 2 * 18 * (3 * 4 * 6)),
        ("ConvTranspose", {"strides": [2, 2]}, IMAGE, (weight(3, 8, 4, 4), weight(8)), 3 * 8 * 16 * (6 * 10)),
        ("ConvTranspose", {"strides": [4], "group": 2}, (1, 4, 9), (weight(4, 3, 5),), 4 * 3 * 5 * 9),
        ("Gemm", {"transB": 1}, (1, 12), (weight(7, 12), weight(7)), 12 * 7),
        ("Gemm", {"transA": 1}, (12, 1), (weight(12, 7),), 12 * 7),
        ("MatMul", {}, (1, 5, 6, 8), (weight(8, 9),), 5 * 6 * 8 * 9),
        ("MatMul", {}, (1, 5, 6, 8), (weight(5, 8, 9),), 5 * 6 * 8 * 9),
        ("Conv", {}, (4, 3, 6, 10), (weight(2, 3, 1, 1),), 2 * 3 * 60),
    ],
)
def test_what_multiplies_is_counted_for_one_image(
    op: str, attributes: dict[str, Any], shape: Sequence[int | str], parts: Sequence[np.ndarray], macs: int
) -> None:
    names = ["w", "b"][: len(parts)]
    node = helper.make_node(op, ["input", *names], ["out"], **attributes)
    facts = read_facts(model_of([node], shape, dict(zip(names, parts, strict=True))), SIZE)
    assert facts.macs == macs
    assert facts.parameters == sum(part.size for part in parts)
    assert (facts.int8_macs_share, [m.name for m in facts.multiplications]) == (0, [f"{op}(out)"])


STEP = {"s": np.float32(0.1), "z": np.uint8(0), "zi": np.int8(0)}
IN_8_BITS = helper.make_node("QuantizeLinear", ["input", "s", "z"], ["x"])


def contributed(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], domain="com.microsoft", **attributes)


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        ([contributed("QLinearConcat", ["s", "z", "x", "s", "z", "x", "s", "z"], "y", axis=1)], (6, 6, 10)),
        ([contributed("QLinearAdd", ["one", "s", "z", "x", "s", "z", "s", "z"], "y")], (3, 6, 10)),
        ([contributed("QLinearMul", ["x", "s", "z", "one", "s", "z", "s", "z"], "y")], (3, 6, 10)),
        ([contributed("QLinearWhere", ["yes", "one", "s", "z", "x", "s", "z", "s", "z"], "y")], (3, 6, 10)),
        ([contributed("QLinearSigmoid", ["x", "s", "z", "s", "z"], "y")], (3, 6, 10)),
        ([contributed("QLinearLeakyRelu", ["x", "s", "z", "s", "z"], "y", alpha=0.1)], (3, 6, 10)),
        ([contributed("QLinearSoftmax", ["x", "s", "z", "s", "z"], "y", axis=1, opset=13)], (3, 6, 10)),
        (
            [contributed("QLinearAveragePool", ["x", "s", "z", "s", "z"], "y", kernel_shape=[2, 2], strides=[2, 2])],
            (3, 3, 5),
        ),
        ([contributed("QLinearGlobalAveragePool", ["x", "s", "z", "s", "z"], "y", channels_last=0)], (3, 1, 1)),
    ],
)
def test_shapes_behind_contributed_operators(nodes: Sequence[onnx.NodeProto], shape: tuple[int, int, int]) -> None:
    """A quantized convolution behind each of them is counted at the size that they leave."""
    channels, height, width = shape
    conv = helper.make_node("QLinearConv", ["y", "s", "z", "w", "ws", "zi", "s", "z"], ["c"], name="conv")
    out = helper.make_node("DequantizeLinear", ["c", "s", "z"], ["out"])
    constants = {
        "one": np.ones((1, 1, 1, 1), np.uint8),
        "yes": np.array([True]),
        "w": np.ones((4, channels, 1, 1), np.int8),
        "ws": np.full(4, 0.1, np.float32),
    }
    facts = read_facts(model_of([IN_8_BITS, *nodes, conv, out], IMAGE, STEP | constants), SIZE)
    assert (facts.macs, facts.int8_macs_share) == (4 * channels * height * width, 1)
    assert (facts.quant_format, facts.per_channel) == ("qoperator", True)


def test_integer_products_are_counted() -> None:
    """QGemm, QLinearMatMul and MatMulInteger, one behind the other."""
    nodes = [
        IN_8_BITS,
        contributed("QGemm", ["x", "s", "z", "a", "s", "zi", "", "s", "z"], "g", transB=1),
        helper.make_node("QLinearMatMul", ["g", "s", "z", "b", "s", "zi", "s", "z"], ["m"]),
        helper.make_node("MatMulInteger", ["m", "c"], ["i"]),
        helper.make_node("Cast", ["i"], ["out"], to=TensorProto.FLOAT),
    ]
    constants = {"a": np.ones((7, 12), np.int8), "b": np.ones((7, 5), np.int8), "c": np.ones((5, 2), np.int8)}
    facts = read_facts(model_of(nodes, (1, 12), STEP | constants))
    assert [m.macs for m in facts.multiplications] == [84, 35, 10]
    assert (facts.int8_macs_share, facts.per_channel, facts.parameters) == (1, False, 129)


def test_a_weight_before_its_own_pair_is_int8_and_16_bits_are_not() -> None:
    """TensorRT's form: the weight is stored in float32 and quantized in the graph."""

    def share(zero: np.generic) -> float | None:
        nodes = [
            IN_8_BITS,
            helper.make_node("DequantizeLinear", ["x", "s", "z"], ["xd"]),
            helper.make_node("QuantizeLinear", ["w", "s", "wz"], ["wq"]),
            helper.make_node("DequantizeLinear", ["wq", "s", "wz"], ["wd"]),
            helper.make_node("Conv", ["xd", "wd"], ["c"]),
            helper.make_node("Conv", ["c", "v"], ["out"]),
        ]
        constants = {"w": weight(4, 3, 1, 1), "v": weight(2, 4, 1, 1), "wz": zero}
        return read_facts(model_of(nodes, IMAGE, STEP | constants, opset=21), SIZE).int8_macs_share

    assert share(np.int8(0)) == pytest.approx(12 / 20)
    assert share(np.int16(0)) == 0


def test_an_unknown_operator_hides_the_cost_rather_than_inventing_one() -> None:
    nodes = [
        helper.make_node("Shuffle", ["input"], ["y"], domain="com.example"),
        helper.make_node("Conv", ["y", "w"], ["out"]),
    ]
    facts = read_facts(model_of(nodes, IMAGE, {"w": weight(4, 3, 1, 1)}), SIZE)
    assert (facts.macs, facts.int8_macs_share) == (None, None)


@pytest.mark.parametrize("opset", [13, 21])
def test_sizes_that_the_graph_computes_are_followed(opset: int) -> None:
    """Windows of 2×2, as a Swin transformer cuts them: the sizes go through Shape, Gather, Div, Cast and Mul."""
    nodes = [
        helper.make_node("Shape", ["input"], ["shape"]),
        helper.make_node("Gather", ["shape", "axes"], ["sides"]),
        helper.make_node("Cast", ["sides"], ["float_sides"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float_sides", "two"], ["half"]),
        helper.make_node("Floor", ["half"], ["floor"]),
        helper.make_node("Cast", ["floor"], ["windows"], to=TensorProto.INT64),
        helper.make_node("ReduceProd", ["windows"], ["count"], keepdims=1),
        helper.make_node("Concat", ["count", "rest"], ["window_shape"], axis=0),
        helper.make_node("Reshape", ["input", "window_shape"], ["tokens"]),
        helper.make_node("MatMul", ["tokens", "w"], ["mixed"]),
        helper.make_node("Concat", ["one", "four", "sides"], ["image_shape"], axis=0),
        helper.make_node("Reshape", ["mixed", "image_shape"], ["image"]),
        helper.make_node("Conv", ["image", "v"], ["out"]),
    ]
    constants = {
        "axes": np.array([2, 3]),
        "two": np.float32(2),
        "rest": np.array([4, 3]),
        "one": np.array([1]),
        "four": np.array([4]),
        "w": weight(3, 4),
        "v": weight(2, 4, 1, 1),
    }
    facts = read_facts(model_of(nodes, IMAGE, constants, opset=opset), SIZE)
    assert [m.macs for m in facts.multiplications] == [15 * 4 * 3 * 4, 2 * 4 * 60]


def test_a_size_that_does_not_fit_is_rounded_up_to_one_that_does() -> None:
    """Half the size and back, beside the image itself: only even sides meet."""
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["half"], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["half", "t"], ["whole"], strides=[2, 2]),
        helper.make_node("Concat", ["input", "whole"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "v"], ["out"]),
    ]
    constants = {"w": weight(4, 3, 2, 2), "t": weight(4, 3, 2, 2), "v": weight(2, 6, 1, 1)}
    model = model_of(nodes, IMAGE, constants)
    assert (read_facts(model, (6, 10)).size, read_facts(model, (6, 10)).macs) == ((6, 10), (48 + 48) * 15 + 12 * 60)
    assert (read_facts(model, (65, 97)).size, read_facts(model, (65, 97)).macs) == (
        (96, 128),
        (48 + 48) * 48 * 64 + 12 * 96 * 128,
    )


@pytest.mark.parametrize("name", [name for name in NETWORKS if not name.startswith("half")])
def test_foreign_networks_cost_what_running_them_shows(name: str) -> None:
    foreign = NETWORKS[name]
    model = foreign.build(foreign.opset)
    height, width = (-(-side // foreign.multiple_of) * foreign.multiple_of for side in foreign.size)
    (image,) = [value for value in model.graph.input if len(value.type.tensor_type.shape.dim) == 4][:1]
    lengths = [dimension.dim_value for dimension in image.type.tensor_type.shape.dim]
    shape = (lengths[0] or 1, *((height, width, 3) if lengths[3] == 3 else (3, height, width)))
    counted = counting.macs(model, {image.name: np.zeros(shape, np.float32)})
    assert read_facts(model, foreign.size).macs == counted / shape[0]


def test_the_image_is_found_among_weights_that_are_listed_as_inputs() -> None:
    """IR version 3 lists every initializer, in any order."""
    model = model_of([helper.make_node("Conv", ["input", "w"], ["out"])], IMAGE, {"w": weight(2, 3, 1, 1)})
    listed = [helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3, 1, 1]), *model.graph.input]
    del model.graph.input[:]
    model.graph.input.extend(listed)
    facts = read_facts(model, SIZE)
    assert (facts.size, facts.macs) == (SIZE, 6 * 60)
