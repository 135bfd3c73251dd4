"""1×1 convolutions in int8 whose sums stay float32: against numpy's integers, and in the graph that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from toys import save

from fcn_onnx.calibration.table import Range, RangeTable
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.errors import QuantizationError
from fcn_onnx.model.model import Model
from fcn_onnx.quantization.keeping import kept_layers, require_kept
from fcn_onnx.quantization.making import Calibrated, Made, Maker
from fcn_onnx.quantization.plan import keep_float, make_plan
from fcn_onnx.quantization.unrounded import pointwise_convs
from fcn_onnx.runtime.cpu import Cpu

CPU = Cpu("any", 2, frozenset({"avx512_vnni"}))
FORMS = [(11, "qoperator"), (12, "qoperator"), (12, "qdq"), (13, "qdq"), (17, "qoperator"), (21, "qdq")]
SIDE = 10


def network(opset: int, *, stride: int = 1, bias: bool = True) -> onnx.ModelProto:
    """image → a (3×3) → b (1×1) → + what c (1×1) makes of a → d (3×3) → e, the logits, and twice what is added."""
    rng = np.random.default_rng(0)
    stored: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def conv(source: str, name: str, inputs: int, outputs: int, kernel: int, **said: Any) -> None:
        weight = rng.standard_normal((outputs, inputs, kernel, kernel)).astype(np.float32) / np.float32(np.sqrt(inputs))
        stored.append(numpy_helper.from_array(weight, f"{name}.w"))
        own = [f"{name}.b"] if bias else []
        if bias:
            stored.append(numpy_helper.from_array(rng.standard_normal(outputs).astype(np.float32), f"{name}.b"))
        pads = {"pads": [kernel // 2] * 4}
        nodes.append(helper.make_node("Conv", [source, f"{name}.w", *own], [name], name, **pads, **said))

    conv("image", "a", 3, 16, 3)
    nodes.append(helper.make_node("Relu", ["a"], ["ar"], "ar"))
    conv("ar", "b", 16, 8, 1, strides=[stride, stride])
    conv("ar", "c", 16, 8, 1, strides=[stride, stride])
    nodes.append(helper.make_node("Add", ["b", "c"], ["s"], "s"))
    conv("s", "d", 8, 8, 3)
    conv("d", "f", 8, 8, 1)
    nodes.append(helper.make_node("Add", ["f", "s"], ["t"], "t"))
    conv("t", "g", 8, 8, 1)
    conv("g", "e", 8, 3, 1)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "sums",
        [value("image", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [value("e", TensorProto.FLOAT, [1, 3, "p", "q"])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7 if opset < 21 else 10)
    onnx.checker.check_model(model, full_check=True)
    return model


RANGES = {name: Range(-4.0, 6.0) for name in ("image", "b", "c", "s", "d", "f", "t", "g", "e")} | {
    "ar": Range(0.0, 5.0),
    "a": Range(0.0, 5.0),
}


def made(tmp_path: Path, opset: int, quant_format: str, kept: list[str], unrounded: list[str], **said: Any) -> Made:
    fp32 = Model.open(save(network(opset, **said), tmp_path / "m.onnx"))
    plan = make_plan(fp32.taken, CPU, quant_format=quant_format)
    table = RangeTable(ranges=RANGES, method="minmax", model="", preprocessing={}, images={}, versions={})
    maker = Maker(fp32, Calibrated((), Preprocessing(), {}))
    return maker.make(keep_float(plan, fp32.taken, kept, unrounded), table)


def run(model: onnx.ModelProto, image: np.ndarray, *outputs: str) -> list[np.ndarray]:
    """With what is asked for made outputs, on onnxruntime as it is."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    known = {value.name for value in seen.graph.output}
    for name, kind in ((name, TensorProto.FLOAT) for name in outputs if name not in known):
        seen.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(seen.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(list(outputs), {"image": image})


def executed(path: Path, tmp_path: Path) -> dict[str, str]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "executed.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return {node.name: node.op_type for node in onnx.load(tmp_path / "executed.onnx").graph.node}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stride", [1, 2])
def test_they_multiply_in_int8_and_the_adds_take_float32(tmp_path: Path, form: tuple[int, str], stride: int) -> None:
    opset, quant_format = form
    result = made(tmp_path, opset, quant_format, [], ["b", "c", "f"], stride=stride)
    onnx.checker.check_model(result.int8)
    path = save(result.int8, tmp_path / "int8.onnx")
    ops = executed(path, tmp_path)
    assert {name: ops[name] for name in ("b", "c", "f", "s", "t")} == {
        **dict.fromkeys(("b", "c", "f"), "MatMulIntegerToFloat"),
        **dict.fromkeys(("s", "t"), "Add"),
    }
    fp32 = result.fp32.taken.model
    require_kept(fp32, path, kept_layers(fp32, result.plan), result.plan.unrounded)
    assert result.plan.kept == ()
    # the Adds add floats as they are: what the second reads of the first is not rounded
    makers = {name: node for node in result.int8.graph.node for name in node.output}
    second = next(node for node in result.int8.graph.node if node.name == "t")
    assert "s" in second.input
    assert all(makers[name].op_type not in ("DequantizeLinear", "QLinearConv") for name in second.input)
    read = {name for node in result.int8.graph.node for name in node.input}
    assert all({*node.output} & (read | {"e"}) for node in result.int8.graph.node), "no node for nothing"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_their_sums_are_those_of_integers(tmp_path: Path, form: tuple[int, str], bias: bool) -> None:
    opset, quant_format = form
    result = made(tmp_path, opset, quant_format, [], ["b"], bias=bias, stride=2)
    image = np.random.default_rng(1).uniform(-4, 6, (1, 3, SIDE, SIDE)).astype(np.float32)
    fp32 = result.fp32.taken.model
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.int8.graph.initializer}
    names = {node.name: node for node in result.int8.graph.node}
    taken = next(n for n in result.int8.graph.node if n.op_type == "Slice")
    kinds = {TensorProto.UINT8: np.uint8}
    seen = onnx.ModelProto()
    seen.CopyFrom(result.int8)
    seen.graph.output.append(helper.make_tensor_value_info(taken.input[0], TensorProto.UINT8, None))
    seen.graph.output.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, None))
    session = ort.InferenceSession(seen.SerializeToString(), providers=["CPUExecutionProvider"])
    q, sums = session.run([taken.input[0], "b"], {"image": image})
    assert q.dtype == kinds[TensorProto.UINT8]
    weight = stored["b.w_matrix"]
    scale = np.float64(stored["b.w_matrix_scale"])
    # ranges of 0 … 5
    step = 5.0 / 255
    exact = np.einsum("nchw,ck->nkhw", q[:, :, ::2, ::2].astype(np.int64), weight.astype(np.int64))
    own = {tensor.name: numpy_helper.to_array(tensor) for tensor in fp32.graph.initializer}
    expected = exact * step * np.broadcast_to(scale, weight.shape[1:]).reshape(1, -1, 1, 1)
    if bias:
        expected = expected + own["b.b"].reshape(1, -1, 1, 1)
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-5)
    # the weight itself, to half a step of each channel
    error = np.abs(weight.T * np.broadcast_to(scale, weight.shape[1:])[:, None] - own["b.w"][:, :, 0, 0])
    assert (error <= 0.501 * scale.max()).all()
    assert names["b"].op_type in ("MatMulIntegerToFloat", "MatMul")


def test_which_convolutions_are_products() -> None:
    model = network(13)
    assert pointwise_convs(model.graph) == ("b", "c", "f", "g", "e")
    for node in model.graph.node:
        if node.name == "b":
            next(a for a in node.attribute if a.name == "pads").ints[:] = [1, 1, 1, 1]
        if node.name == "f":
            node.attribute.append(helper.make_attribute("group", 2))
        if node.name == "g":
            node.attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
    assert pointwise_convs(model.graph) == ("c", "e")


def test_a_file_that_does_not_run_them_so_is_refused(tmp_path: Path) -> None:
    result = made(tmp_path, 13, "qdq", [], ["b"])
    path = save(result.int8, tmp_path / "int8.onnx")
    with pytest.raises(QuantizationError, match="1 of 2 convolutions in int8 with float32 sums: c"):
        require_kept(result.fp32.taken.model, path, (), ["b", "c"])


@pytest.mark.parametrize("form", FORMS)
def test_what_is_kept_reads_what_is_kept_as_it_is(tmp_path: Path, form: tuple[int, str]) -> None:
    """`d` is int8 and reads `s` in 8 bits; the Add that is kept behind `f` reads the float."""
    result = made(tmp_path, *form, ["b", "c", "f"], [])
    image = np.random.default_rng(1).uniform(-4, 6, (1, 3, SIDE, SIDE)).astype(np.float32)
    s, f, t = run(result.int8, image, "s", "f", "t")
    np.testing.assert_allclose(t, f + s, rtol=1e-6, atol=1e-6)
    ops = executed(save(result.int8, tmp_path / "int8.onnx"), tmp_path)
    assert sum(op == "QLinearConv" for op in ops.values()) == 3  # a, d and g
