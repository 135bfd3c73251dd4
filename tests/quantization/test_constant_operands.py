"""Networks with a constant operand in an activation: GELU, hardswish, x + c."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from toys import photograph, save

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.model.graph import Graph
from fcn_onnx.model.intake import take_in
from fcn_onnx.quantization.islands import float_islands
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

OPS = ("Conv", "Relu", "Clip", "HardSigmoid", "Add", "Mul", "MaxPool", "Concat")
SIZE = 48


def network(middle: Sequence[tuple[str, list[str], str]], **scalars: float) -> onnx.ModelProto:
    """`one` (a convolution) → middle, from x to y → `two` → `logits`, scalars in Constant nodes; no node has a name."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (16, 3, 3, 3), "w2": (16, 16, 3, 3), "w3": (5, 16, 1, 1)}
    weights = {n: (rng.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype(np.float32) for n, s in shapes.items()}
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.float32(value).reshape(())))
        for name, value in scalars.items()
    ]
    nodes = [
        *constants,
        helper.make_node("Conv", ["input", "w1"], ["x"], pads=[1] * 4),
        *(helper.make_node(op, inputs, [output]) for op, inputs, output in middle),
        helper.make_node("Conv", ["y", "w2"], ["z"], pads=[1] * 4),
        helper.make_node("Relu", ["z"], ["r"]),
        helper.make_node("Conv", ["r", "w3"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "activated",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 5, SIZE, SIZE])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


GELU = (
    [
        ("Div", ["x", "root"], "scaled"),
        ("Erf", ["scaled"], "erf"),
        ("Add", ["erf", "one"], "raised"),
        ("Mul", ["x", "raised"], "product"),
        ("Mul", ["product", "half"], "y"),
    ],
    {"root": 2**0.5, "one": 1.0, "half": 0.5},
)
HARDSWISH = (
    [
        ("Add", ["x", "three"], "moved"),
        ("Clip", ["moved", "zero", "six"], "gate"),
        ("Mul", ["x", "gate"], "product"),
        ("Div", ["product", "six"], "y"),
    ],
    {"three": 3.0, "zero": 0.0, "six": 6.0},
)
SHIFTED = ([("Relu", ["x"], "positive"), ("Add", ["positive", "c"], "y")], {"c": 0.75})


@pytest.mark.parametrize(
    ("middle", "scalars", "expected"),
    [(*GELU, ("raised", "product", "y")), (*HARDSWISH, ()), (*SHIFTED, ())],
    ids=["gelu", "hardswish", "shifted"],
)
def test_constants_are_added_in_int8_between_int8_only(
    middle: list[tuple[str, list[str], str]], scalars: dict[str, float], expected: tuple[str, ...]
) -> None:
    model = take_in(network(middle, **scalars), "m")
    assert float_islands(Graph(model), OPS, ["out"]) == expected


@pytest.mark.parametrize("quant_format", ["qoperator", "qdq"])
@pytest.mark.parametrize(("middle", "scalars"), [GELU, HARDSWISH, SHIFTED], ids=["gelu", "hardswish", "shifted"])
def test_networks_with_constant_operands_are_quantized_well(
    tmp_path: Path, middle: list[tuple[str, list[str], str]], scalars: dict[str, float], quant_format: str
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index in range(6):
        photograph(SIZE, SIZE, index).save(images / f"{index}.png")
    model = save(network(middle, **scalars), tmp_path / "m.onnx")
    output = tmp_path / "int8.onnx"
    result = quantize(
        QuantizeOptions(model=model, choice=ImageChoice(images), target="vnni", format=quant_format, output=output)
    )
    assert [conv.int8 for conv in result.facts.convs] == [True, True, False]
    batch = Preprocessing(Resize(size=(SIZE, SIZE)))(photograph(SIZE, SIZE, 99))
    expected, found = (
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"input": batch})[0]
        for path in (model, output)
    )
    assert ((found - expected) ** 2).sum() < 1e-3 * (expected**2).sum()


def test_a_chain_of_nothing_but_fp32_stays_fp32() -> None:
    """Sigmoid → Add → Clip → Sigmoid → conv: the convolution's input is rounded once, not four times."""
    middle = [
        ("Sigmoid", ["x"], "s"),
        ("Add", ["s", "s"], "sum"),
        ("Clip", ["sum"], "clipped"),
        ("Sigmoid", ["clipped"], "y"),
    ]
    assert float_islands(Graph(take_in(network(middle), "m")), OPS, ["out"]) == ("sum", "clipped")
