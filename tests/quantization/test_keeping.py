"""What is kept in fp32, in the graph that onnxruntime really runs: its operators, and its weights bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from toys import photograph, residual_network, save

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import QuantizationError, UsageError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.quantization.keeping import require_kept, shield
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

FORMS = [(11, "qoperator"), (12, "qoperator"), (12, "qdq"), (13, "qdq"), (13, "qoperator"), (17, "qdq")]
ROUNDING = ["WeightBiasQuantization"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(3):
        photograph(64, 48, index).save(folder / f"{index}.png")
    return folder


def write_model(path: Path, opset: int) -> Path:
    proto = residual_network(opset=opset)
    ModelCard(preprocessing=Preprocessing(Resize(size=(64, 64))).to_json()).write_to(proto)
    return save(proto, path)


def executed(path: Path, tmp_path: Path, level: str = "EXTENDED") -> onnx.ModelProto:
    """What onnxruntime makes of a file (EXTENDED: before it lays weights out anew)."""
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(tmp_path / "executed.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(tmp_path / "executed.onnx")


def weights_of(model: onnx.ModelProto, *ops: str) -> dict[str, list[bytes]]:
    """Constant weight and bias by node name."""
    stored = {t.name: numpy_helper.to_array(t).tobytes() for t in model.graph.initializer}
    return {n.name: [stored[name] for name in n.input[1:3]] for n in model.graph.node if n.op_type in ops}


def run(model: Path | onnx.ModelProto, batch: np.ndarray, disabled: list[str] | None = None) -> np.ndarray:
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


@pytest.mark.parametrize(("opset", "quant_format"), FORMS)
def test_kept_convolutions_run_in_fp32_with_their_own_weights(
    tmp_path: Path, data: Path, opset: int, quant_format: str
) -> None:
    model, output = write_model(tmp_path / "m.onnx", opset), tmp_path / "int8.onnx"
    result = quantize(
        QuantizeOptions(
            model=model,
            choice=ImageChoice(data, limit=3),
            target="vnni",
            format=quant_format,
            keep_float=["inner", "^/branch$"],
            output=output,
        )
    )
    assert result.plan.kept == ("/inner", "/branch")
    original = weights_of(onnx.load(model), "Conv")
    found = weights_of(executed(output, tmp_path), "Conv", "FusedConv")
    assert found == {name: original[name] for name in ("/inner", "/branch", "/logits")}
    graph = executed(output, tmp_path, "ALL").graph
    assert [
        node.name.split("_token")[0].removesuffix("_quant") for node in graph.node if "QLinearConv" in node.op_type
    ] == ["/stem"]
    coverage = read_coverage(output, (64, 64))
    assert (coverage.int8_convs, coverage.rounded_nodes) == (1, {})
    assert ModelCard.read_from(onnx.load(output), "x").quantization["kept"] == ["/inner", "/branch"]  # type: ignore[index]
    # 8·8·9 and 8·8 at 16² are kept; 3·8·9 at 32² and the logits' 8·21 at 16² are the rest
    kept, rest = (576 + 64) * 16**2, 216 * 32**2 + 168 * 16**2
    assert result.kept_macs_share == pytest.approx(kept / (kept + rest), rel=1e-3)


def test_what_the_optimiser_would_round_is_refused_and_nothing_is_written(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcn_onnx.quantization.making.shield", lambda model, kept: model)
    output = tmp_path / "int8.onnx"
    with pytest.raises(QuantizationError, match="onnxruntime changes 1 of 2 layers that are to stay fp32: /inner"):
        quantize(
            QuantizeOptions(
                model=write_model(tmp_path / "m.onnx", 13),
                choice=ImageChoice(data, limit=3),
                target="vnni",
                keep_float=["inner"],
                output=output,
            )
        )
    assert not list(tmp_path.glob("*int8.onnx*")) + list(tmp_path.glob(".*int8.onnx*"))


def test_coverage_names_a_kept_convolution_that_runs_in_int8(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcn_onnx.quantization.making.shield", lambda model, kept: model)
    monkeypatch.setattr("fcn_onnx.quantization.proving.require_kept", lambda *_: None)
    output = tmp_path / "int8.onnx"
    choice = ImageChoice(data, limit=3)
    quantize(
        QuantizeOptions(
            model=write_model(tmp_path / "m.onnx", 12),
            choice=choice,
            target="vnni",
            keep_float=["inner"],
            output=output,
        )
    )
    found = read_coverage(output)
    assert found.rounded_nodes == {"/inner": "the plan keeps it in fp32, but onnxruntime runs it in int8"}
    assert found.int8_convs == 3


def test_a_pattern_without_a_convolution_is_refused_with_names_to_choose_from(tmp_path: Path, data: Path) -> None:
    model, output = write_model(tmp_path / "m.onnx", 12), tmp_path / "int8.onnx"
    with pytest.raises(UsageError, match="'relu' is found in the name of none of 4 layers") as caught:
        quantize(QuantizeOptions(model=model, choice=ImageChoice(data), keep_float=["stem", "relu"], output=output))
    assert "/stem, /inner, /branch, /logits" in caught.value.fix
    with pytest.raises(UsageError, match=r"'\(' is not a regular expression"):
        quantize(QuantizeOptions(model=model, choice=ImageChoice(data), keep_float=["("], output=output))
    assert not output.exists()


def test_another_choice_is_made_again(tmp_path: Path, data: Path) -> None:
    model, output = write_model(tmp_path / "m.onnx", 12), tmp_path / "int8.onnx"
    options: dict[str, Any] = {"target": "vnni", "output": output}
    assert not quantize(
        QuantizeOptions(model=model, choice=ImageChoice(data), keep_float=["branch"], **options)
    ).skipped
    assert quantize(QuantizeOptions(model=model, choice=ImageChoice(data), keep_float=["branch"], **options)).skipped
    assert not quantize(QuantizeOptions(model=model, choice=ImageChoice(data), keep_float=["inner"], **options)).skipped


def test_a_search_keeps_what_it_finds_and_what_the_user_named(tmp_path: Path, data: Path) -> None:
    options: dict[str, Any] = {"target": "vnni", "max_drop": 2, "keep_float": ["stem"]}
    result = quantize(
        QuantizeOptions(
            model=write_model(tmp_path / "m.onnx", 12), choice=ImageChoice(data), output=tmp_path / "a.onnx", **options
        )
    )
    assert result.plan.kept[0] == "/stem"
    assert {name.removesuffix("_quant") for name in result.plan.kept} >= {"/stem"}
    floats = {node.name for node in result.facts.convs if not node.int8}
    assert floats == {*result.plan.kept, "/logits"}
    assert set(weights_of(executed(tmp_path / "a.onnx", tmp_path), "Conv", "FusedConv")) == floats


# Graphs by hand: `x` of 4 channels, quantized and dequantized, then a layer in fp32, then quantized again.


def between_pairs(*nodes: onnx.NodeProto, zero: int = 0, opset: int = 13, **constants: np.ndarray) -> onnx.ModelProto:
    """`x` → Q → DQ (`d`) → nodes (the last makes `y`) → Q → DQ → `out`."""
    rng = np.random.default_rng(0)
    values: dict[str, np.ndarray] = {
        "w": rng.standard_normal((4, 4, 1, 1)).astype(np.float32),
        "b": rng.standard_normal(4).astype(np.float32),
        "s": np.array(0.02, np.float32),
        "z": np.array(zero, np.uint8),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
            *nodes,
            helper.make_node("QuantizeLinear", ["y", "s", "z"], ["yq"], name="yq"),
            helper.make_node("DequantizeLinear", ["yq", "s", "z"], ["out"], name="out"),
        ],
        "pairs",
        [value("x", TensorProto.FLOAT, [1, 4, 6, 6])],
        [value("out", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(array, name) for name, array in (values | constants).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def conv(source: str = "d", target: str = "y", name: str = "conv", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, "w", "b"], [target], name=name, **attributes)


def leaky(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "LeakyRelu" for node in model.graph.node)


LAYERS = {
    "conv": [conv()],
    "transposed": [helper.make_node("ConvTranspose", ["d", "w", "b"], ["y"], name="transposed")],
    "behind a transpose": [helper.make_node("Transpose", ["d"], ["t"], perm=[0, 1, 3, 2]), conv("t")],
    "behind a pooling": [helper.make_node("MaxPool", ["d"], ["t"], kernel_shape=[2, 2]), conv("t")],
    "rectified": [conv(target="r"), helper.make_node("Relu", ["r"], ["y"])],
}


@pytest.mark.parametrize("zero", [0, 100])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_shield_changes_no_value_and_keeps_every_weight(tmp_path: Path, kind: str, zero: int) -> None:
    model = between_pairs(*LAYERS[kind], zero=zero)
    name = "transposed" if kind == "transposed" else "conv"
    with pytest.raises(QuantizationError, match=f"1 of 1 layers that are to stay fp32: {name}"):
        require_kept(model, save(model, tmp_path / "bare.onnx"), [name])
    shielded = shield(model, [name])
    onnx.checker.check_model(shielded, full_check=True)
    assert leaky(shielded) == 1
    path = save(shielded, tmp_path / "shielded.onnx")
    require_kept(model, path, [name])
    batch = np.random.default_rng(1).standard_normal((1, 4, 6, 6)).astype(np.float32) * 3
    assert (run(path, batch) == run(model, batch, ROUNDING)).all()
    assert leaky(shield(model, [])) == 0


def test_gemm_is_kept_too(tmp_path: Path) -> None:
    flat = helper.make_node("Reshape", ["d", "rows"], ["t"], name="rows_of_four")
    gemm = helper.make_node("Gemm", ["t", "gw", "b"], ["y"], name="gemm")
    weight = np.random.default_rng(2).standard_normal((4, 4)).astype(np.float32)
    model = between_pairs(flat, gemm, rows=np.array([36, 4]), gw=weight)
    with pytest.raises(QuantizationError, match="1 of 1 layers that are to stay fp32: gemm"):
        require_kept(model, save(model, tmp_path / "bare.onnx"), ["gemm"])
    path = save(shield(model, ["gemm"]), tmp_path / "m.onnx")
    require_kept(model, path, ["gemm"])
    batch = np.random.default_rng(1).standard_normal((1, 4, 6, 6)).astype(np.float32)
    assert (run(path, batch) == run(model, batch, ROUNDING)).all()


def test_nothing_is_inserted_where_nothing_is_needed_and_one_serves_several_readers() -> None:
    behind_relu = between_pairs(helper.make_node("Relu", ["d"], ["r"]), conv("r"))
    assert leaky(shield(behind_relu, ["conv"])) == 0
    two = between_pairs(
        conv(target="a", name="one"), conv(target="c", name="two"), helper.make_node("Add", ["a", "c"], ["y"])
    )
    assert leaky(shield(two, ["one", "two"])) == 1
    first = shield(two, ["two"])
    assert {n.name: n.input[0] for n in first.graph.node if n.op_type == "Conv"} == {"one": "d", "two": "d_kept"}
    assert first.SerializeToString() == shield(first, ["two"]).SerializeToString()


def test_constants_that_onnxruntime_folds_into_a_kept_layer_are_no_change_of_it(tmp_path: Path) -> None:
    """A Mul behind a convolution is folded into its weights, in the fp32 model as in the int8 one."""
    scaled = helper.make_node("Mul", ["m", "k"], ["y"], name="scaled")
    int8 = between_pairs(conv(target="m"), scaled, k=np.full((1, 4, 1, 1), 0.3, np.float32))
    fp32 = onnx.ModelProto()
    fp32.CopyFrom(int8)
    layer, last = (next(node for node in fp32.graph.node if node.name == name) for name in ("conv", "scaled"))
    layer.input[0], last.output[0] = "x", "out"
    nodes = [layer, last]
    del fp32.graph.node[:]
    fp32.graph.node.extend(nodes)
    path = save(shield(int8, ["conv"]), tmp_path / "m.onnx")
    assert weights_of(executed(path, tmp_path), "Conv")["conv"] != weights_of(fp32, "Conv")["conv"]
    require_kept(fp32, path, ["conv"])
    weight = next(t for t in fp32.graph.initializer if t.name == "w")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1 + 1e-6), "w"))
    with pytest.raises(QuantizationError, match="1 of 1 layers"):
        require_kept(fp32, path, ["conv"])
