"""Matrix products in int8: what onnxruntime executes against numpy, and which products stay fp32."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from foreign.drawing import Drawing
from foreign.pictures import write_pictures
from numpy.typing import NDArray
from quantization.test_operators import executed, sqnr

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.model.files import load_model
from fcn_onnx.model.products import stored_products
from fcn_onnx.quantization import search
from fcn_onnx.quantization.regions import Prices, State, Step
from fcn_onnx.quantization.saturation import read_pairs
from fcn_onnx.quantization.trials import Trials
from fcn_onnx.quantization.writing import Quantized
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

Array = NDArray[Any]
Draw = Callable[[Drawing, str], str]
WIDTH = 16
FORMS = [(12, "qoperator"), (13, "qdq"), (12, "qdq")]
EXECUTED = {"MatMulIntegerToFloat": (0, 2, 4, 1, 3, 5), "QGemm": (0, 1, 2, 3, 4, 5)}
"""Where a kernel has its data, the data's scale and zero point, and the same of the weight."""


def linear(d: Drawing, x: str) -> str:
    """MatMul and Add over the last axis, the next MatMul without a bias, with the same weight."""
    weight = d.constant(d.he(WIDTH, WIDTH).T)
    shifted = d.op("Add", d.constant(0.3 * d.rng.standard_normal(WIDTH)), d.op("MatMul", x, weight))
    return d.op("MatMul", d.op("Tanh", shifted), weight)


def gemm(d: Drawing, x: str) -> str:
    rows = d.op("Reshape", x, d.integers(-1, WIDTH))
    bias = d.constant(0.3 * d.rng.standard_normal(WIDTH))
    made = d.op("Gemm", rows, d.constant(d.he(WIDTH, WIDTH)), bias, transB=1)
    half = d.op("Gemm", made, d.constant(d.he(WIDTH, WIDTH)), alpha=0.5)
    return d.op("Reshape", half, d.integers(-1, 32, 32, WIDTH))


@pytest.mark.parametrize(("opset", "form"), FORMS)
def test_linear_layers_are_executed_as_numpy_computes_them(tmp_path: Path, opset: int, form: str) -> None:
    model, result = quantized(tmp_path, linear, opset, format=form)
    nodes, values = executed(result.path)
    assert sum(node.op_type in EXECUTED for node in nodes) == 2 == require_exact(nodes, values)
    assert sqnr(model, result.path) > 25
    assert {"Gemm", "MatMul"}.isdisjoint(node.op_type for node in nodes)
    assert result.facts.int8_macs_share is not None
    assert result.facts.int8_macs_share > 0.8


@pytest.mark.parametrize(("opset", "form"), FORMS)
def test_a_gemm_that_scales_its_product_stays_fp32(tmp_path: Path, opset: int, form: str) -> None:
    model, result = quantized(tmp_path, gemm, opset, format=form)
    nodes, values = executed(result.path)
    assert require_exact(nodes, values) == 1
    (scaled,) = (node.name for node in load_model(model).graph.node if any(a.name == "alpha" for a in node.attribute))
    assert scaled in result.plan.float_nodes
    assert [node.name for node in result.facts.in_fp32 if node.op_type == "Gemm"] == [scaled]
    assert sqnr(model, result.path) > 25


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_no_pair_of_a_product_can_saturate(tmp_path: Path, form: str) -> None:
    _, result = quantized(tmp_path, linear, 13, format=form, target="avx2")
    pairs = read_pairs(load_model(result.path))
    assert pairs.unsafe_count == 0
    convolutions = 8 * (27 // 2) + WIDTH * (72 // 2)
    assert pairs.count == convolutions + 2 * WIDTH * (WIDTH // 2)


def test_what_is_a_stored_product() -> None:
    d = Drawing(0, 13)
    x = d.op("Transpose", d.conv(d.input, WIDTH), perm=[0, 2, 3, 1])
    two = d.op("MatMul", x, d.op("Transpose", x, perm=[0, 1, 3, 2]))
    stack = d.op("MatMul", x, d.constant(np.ones((1, WIDTH, WIDTH))))
    one = d.op("MatMul", x, d.constant(np.ones((WIDTH, 4))))
    first = d.op("MatMul", d.constant(np.ones((64, 64))), x)
    found = stored_products(d.model([two, stack, one, first]).graph)
    assert [product.node.output[0] for product in found.values()] == [one]


@pytest.mark.parametrize(("opset", "form"), FORMS)
@pytest.mark.parametrize("draw", [linear, gemm])
def test_one_is_kept_in_fp32_by_name(tmp_path: Path, opset: int, form: str, draw: Draw) -> None:
    folders = tmp_path / "whole", tmp_path / "kept"
    for folder in folders:
        folder.mkdir()
    model, whole = quantized(folders[0], draw, opset, format=form)
    name = next(iter(stored_products(load_model(model).graph)))
    _, result = quantized(folders[1], draw, opset, format=form, keep_float=(f"^{re.escape(name)}$",))
    assert result.plan.kept == (name,)
    assert require_exact(*executed(result.path)) == require_exact(*executed(whole.path)) - 1


@pytest.mark.parametrize(("opset", "form"), FORMS[:2])
def test_a_bounded_loss_may_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opset: int, form: str) -> None:
    """The search ranks them with the convolutions, under the names that the fp32 model has for them."""
    ranked: list[str] = []

    def all_products(prices: Prices, trials: Trials) -> list[Step]:
        ranked.extend(prices.flow.convs)
        return [Step(State(), None, 1, 0), Step(State(frozenset(products)), "products", 0, 0)]

    products: tuple[str, ...] = ()
    folders = tmp_path / "first", tmp_path / "bounded"
    for folder in folders:
        folder.mkdir()
    model, _ = quantized(folders[0], linear, opset, format=form)
    products = tuple(stored_products(load_model(model).graph))
    monkeypatch.setattr(search, "way", all_products)
    monkeypatch.setattr(search, "between", lambda prices, low, high: [low, high])
    monkeypatch.setattr(search.Bound, "holds", lambda self, score: bool(ranked))
    _, result = quantized(folders[1], linear, opset, format=form, max_drop=1.0)
    assert len(products) == 2
    assert set(products) < set(ranked)
    assert result.plan.kept == products
    assert not {node.op_type for node in executed(result.path)[0]} & EXECUTED.keys()


def require_exact(nodes: list[onnx.NodeProto], values: dict[str, Array]) -> int:
    """How many products there are, each of which returns what its 8-bit factors say."""
    count = 0
    for node in nodes:
        if node.op_type not in EXECUTED:
            continue
        data, scale, zero, weight, steps, zeros = (values[node.input[index]] for index in EXECUTED[node.op_type])
        assert data.dtype == np.uint8
        assert weight.dtype == np.int8
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        of_columns = weight.T.astype(np.float64) if transposed else weight.astype(np.float64)
        exact = ((data.astype(np.float64) - zero) @ (of_columns - zeros)) * scale * steps
        if len(node.input) > 6 and node.input[6]:
            bias = values[node.input[6]]
            exact = exact + (bias * scale * steps if bias.dtype == np.int32 else bias)
        np.testing.assert_allclose(values[node.output[0]], exact, rtol=1e-5, atol=1e-4)
        count += 1
    return count


def quantized(folder: Path, middle: Any, opset: int, **options: Any) -> tuple[Path, Quantized]:
    """stem, `middle` over the channels, classifier: the fp32 model, and its int8 one."""
    d = Drawing(0, opset)
    x = d.relu(d.conv(d.relu(d.conv(d.input, 8, stride=2)), WIDTH))
    last = middle(d, d.op("Transpose", x, perm=[0, 2, 3, 1]))
    drawn = d.model([d.classify(d.op("Transpose", last, perm=[0, 3, 1, 2]))])
    model = folder / "fp32.onnx"
    onnx.save(drawn, model)
    images = write_pictures(folder / "pictures", range(6))
    output = folder / "int8.onnx"
    return model, quantize(QuantizeOptions(model=model, choice=ImageChoice(images), output=output, **options))
