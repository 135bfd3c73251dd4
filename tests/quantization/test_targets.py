"""Models for other machines: what TensorRT asks for, node by node; search, proof and Neural Compressor end to end."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from toys import foreign, residual_network, save, write_coco

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import MissingDependencyError, QuantizationError, TableError, UsageError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import Interface
from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import CalibrateOptions, QuantizeOptions
from fcn_onnx.stages.quantize import quantize


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def model_of(path: Path, opset: int = 13) -> Path:
    proto = residual_network(opset=opset)
    ModelCard(preprocessing=Preprocessing(Resize(size=(64, 64))).to_json()).write_to(proto)
    return save(proto, path)


def test_the_structure_that_tensorrt_asks_for(tmp_path: Path, data: Path) -> None:
    """Every int8 convolution reads Q/DQ pairs with zero point 0, its weight per channel and before its pair in
    float32, its bias in float32; nothing stands between a convolution and what it is fused with."""
    output = tmp_path / "trt.onnx"
    result = quantize(
        QuantizeOptions(
            model=model_of(tmp_path / "m.onnx"), choice=ImageChoice(data, limit=5), target="tensorrt", output=output
        )
    )
    # stem 216 at four times the pixels of inner 576 and branch 64, which are int8, and of the logits' 168, which is not
    assert result.facts.int8_macs_share == pytest.approx((4 * 216 + 640) / (4 * 216 + 640 + 168))
    graph = onnx.load(output).graph
    producer = {name: node for node in graph.node for name in node.output}
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}

    def require_pair(tensor: str) -> tuple[str, np.ndarray]:
        """The float tensor before a Q/DQ pair, and its scale."""
        dequantize = producer[tensor]
        quantize_node = producer[dequantize.input[0]]
        assert (quantize_node.op_type, dequantize.op_type) == ("QuantizeLinear", "DequantizeLinear")
        assert list(quantize_node.input[1:]) == list(dequantize.input[1:])
        zero = constants[dequantize.input[2]]
        assert zero.dtype == np.int8
        assert (zero == 0).all()
        return quantize_node.input[0], constants[dequantize.input[1]]

    convs = {node.name: node for node in graph.node if node.op_type == "Conv"}
    assert set(convs) == {"/stem", "/inner", "/branch", "/logits"}
    for name in ("/stem", "/inner", "/branch"):
        conv = convs[name]
        assert require_pair(conv.input[0])[1].size == 1
        weight, scale = require_pair(conv.input[1])
        assert constants[weight].dtype == np.float32
        assert scale.shape == (len(constants[weight]),)
        assert constants[conv.input[2]].dtype == np.float32
        assert (np.abs(constants[weight] / scale.reshape(-1, 1, 1, 1)) <= 127.5).all()
        (reader,) = [node for node in graph.node if conv.output[0] in node.input]
        assert reader.op_type in {"Relu", "Add"}
    logits = convs["/logits"]
    assert logits.input[1] in constants
    (add,) = [node for node in graph.node if node.op_type == "Add"]
    assert sorted(producer[name].op_type for name in add.input) == ["Conv", "DequantizeLinear"]
    assert not {"QLinearConv", "QLinearAdd"} & {node.op_type for node in graph.node}


def test_ranges_are_for_the_levels_of_the_target(tmp_path: Path, data: Path) -> None:
    """127 steps to the threshold; the same from images and from a table, and no table for other levels is taken."""
    model, choice = model_of(tmp_path / "m.onnx"), ImageChoice(data, limit=5)
    kept = tmp_path / "h.npz"
    tables = {}
    first = {"model": model, "choice": choice, "histograms": kept, "output": tmp_path / "h-mse.json"}
    for levels, source in (("u8", first), ("s8", {"source": kept})):
        tables[levels] = calibrate(CalibrateOptions(levels=levels, **source)).table
    assert (tmp_path / "h-mse-s8.json").is_file()
    made = {}
    for name, ranges in (("images", {"choice": choice}), ("table", {"ranges": tmp_path / "h-mse-s8.json"})):
        quantize(QuantizeOptions(model=model, target="tensorrt", output=tmp_path / name, **ranges))
        made[name] = onnx.load(tmp_path / name)
    scales = {
        node.input[0]: numpy_helper.to_array(
            next(t for t in made["table"].graph.initializer if t.name == node.input[1])
        )
        for node in made["table"].graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in tables["s8"].ranges
    }
    assert len(scales) >= 3
    for name, scale in scales.items():
        chosen = tables["s8"].ranges[name]
        assert scale == pytest.approx(max(-chosen.lowest, chosen.highest) / 127, rel=1e-6)
    assert tables["u8"].ranges != tables["s8"].ranges
    for target, levels, other in (("tensorrt", "s8", "u8"), ("vnni", "u8", "s8")):
        path = tmp_path / "other.json"
        tables[other].save(path)
        with pytest.raises(TableError, match=f"chosen for the levels {other}, and the int8 model has {levels}"):
            quantize(QuantizeOptions(model=model, ranges=path, target=target, output=tmp_path / "no.onnx"))
    calibrate(CalibrateOptions(source=kept, method="minmax", output=tmp_path / "minmax.json"))
    quantize(
        QuantizeOptions(model=model, ranges=tmp_path / "minmax.json", target="tensorrt", output=tmp_path / "b.onnx")
    )


def test_an_openvino_model_is_qdq_and_pair_safe(tmp_path: Path, data: Path) -> None:
    result = quantize(
        QuantizeOptions(
            model=model_of(tmp_path / "m.onnx"),
            choice=ImageChoice(data, limit=5),
            target="openvino",
            output=tmp_path / "ov.onnx",
        )
    )
    assert (result.facts.quant_format, result.facts.per_channel, result.plan.pair_safe) == ("qdq", True, True)


def test_a_saturating_cpu_gets_the_proof(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """(On a machine whose kernels are exact, the numbers are 0 by nature; that they are taken is what is tested.)"""
    cpu = Cpu("old", 2, frozenset({"avx2"})).saturating()
    monkeypatch.setattr("fcn_onnx.stages.quantize.measured_cpu", lambda: cpu)
    model = model_of(tmp_path / "m.onnx")
    result = quantize(QuantizeOptions(model=model, choice=ImageChoice(data, limit=3), output=tmp_path / "a.onnx"))
    assert result.plan.target == "avx2"
    assert result.saturation is not None
    assert (result.saturation.inputs, result.saturation.labels_changed) == (4, 0)
    assert 0 <= result.saturation.flips_without <= 1
    table = tmp_path / "t.json"
    calibrate(CalibrateOptions(model=model, choice=ImageChoice(data, limit=3), output=table))
    from_table = quantize(QuantizeOptions(model=model, ranges=table, output=tmp_path / "b.onnx")).saturation
    assert from_table is not None
    assert from_table.inputs == 1
    assert (
        quantize(
            QuantizeOptions(model=model, choice=ImageChoice(data, limit=3), target="vnni", output=tmp_path / "c.onnx")
        ).saturation
        is None
    )


def test_kernels_that_disagree_are_an_error(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Cpu("old", 2, frozenset({"avx2"})).saturating()
    monkeypatch.setattr("fcn_onnx.stages.quantize.measured_cpu", lambda: cpu)
    monkeypatch.setattr("fcn_onnx.quantization.saturation.changed_labels", lambda *_: np.array([0, 5]))
    with pytest.raises(QuantizationError, match=r"5 labels of .* differ between the fast and the exact"):
        quantize(
            QuantizeOptions(
                model=model_of(tmp_path / "m.onnx"), choice=ImageChoice(data, limit=1), output=tmp_path / "a.onnx"
            )
        )


def test_max_drop_keeps_convolutions_in_fp32(tmp_path: Path, data: Path) -> None:
    """Without labels fp32's stand in for them: a bound of 2 allows few flips, one of 0 no int8 at all."""
    (tmp_path / "coco" / "annotations" / "instances_val2017.json").unlink()
    model = model_of(tmp_path / "m.onnx")
    loose = quantize(
        QuantizeOptions(
            model=model, choice=ImageChoice(data, limit=5), max_drop=100, target="vnni", output=tmp_path / "loose.onnx"
        )
    )
    assert [trial.float_convs for trial in loose.trials] == [0]
    assert loose.speed_kept is None
    tight = quantize(
        QuantizeOptions(
            model=model, choice=ImageChoice(data, limit=5), max_drop=2, target="vnni", output=tmp_path / "tight.onnx"
        )
    )
    floats = [conv.name for conv in tight.facts.convs if not conv.int8]
    assert len(floats) > 1
    assert tight.trials[0].drop_percent > 0
    assert tight.speed_kept is not None
    assert {name.removesuffix("_quant") for name in floats} <= set(tight.plan.float_nodes)
    assert not list(tmp_path.glob(".*journal*"))
    with pytest.raises(QuantizationError, match="nothing in it would compute in int8"):
        quantize(
            QuantizeOptions(
                model=model, choice=ImageChoice(data, limit=5), max_drop=0, target="vnni", output=tmp_path / "none.onnx"
            )
        )
    assert not (tmp_path / "none.onnx").exists()


def test_contradictions_are_refused(tmp_path: Path, data: Path) -> None:
    model, output = model_of(tmp_path / "m.onnx"), tmp_path / "o.onnx"
    for match, options in (
        ("judged on calibration images", {"ranges": Path("t.json"), "max_drop": 1}),
        ("takes no table", {"ranges": Path("t.json"), "backend": "neural-compressor"}),
        ("no method 'mse'", {"choice": ImageChoice(data), "backend": "neural-compressor", "method": "mse"}),
        ("--ranges brings them", {"ranges": Path("t.json"), "method": "kl"}),
    ):
        with pytest.raises(UsageError, match=match):
            quantize(QuantizeOptions(model=model, output=output, **options))
    assert not output.exists()


def has_neural_compressor() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import neural_compressor.quantization  # noqa: F401
        except Exception:
            return False
    return True


needs_neural_compressor = pytest.mark.skipif(
    not has_neural_compressor(), reason="Neural Compressor is in the other environment (constraints/everything.txt)"
)


@needs_neural_compressor
@pytest.mark.parametrize("method", ["minmax", "kl", "percentile"])
@pytest.mark.parametrize(("opset", "quant_format"), [(12, "qoperator"), (13, "qdq")])
def test_neural_compressor_writes_either_form(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, method: str, opset: int, quant_format: str
) -> None:
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "nc.onnx"
    result = quantize(
        QuantizeOptions(
            model=model_of(tmp_path / "m.onnx", opset),
            choice=ImageChoice(data, limit=3),
            backend="neural-compressor",
            method=method,
            format=quant_format,
            target="vnni",
            output=output,
        )
    )
    assert result.facts.quant_format == quant_format
    assert [conv.name.removesuffix("_quant") for conv in result.facts.convs if not conv.int8] == ["/logits"]
    card = ModelCard.read_from(onnx.load(output), "nc")
    assert card.quantization is not None
    assert (card.quantization["backend"], card.quantization["method"]) == ("neural-compressor", method)
    assert "INFO" in output.with_suffix(".log").read_text()
    assert not (tmp_path / "nc_workspace").exists()


@needs_neural_compressor
def test_neural_compressor_tunes_with_our_judge(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"backend": "neural-compressor", "target": "vnni", "output": tmp_path / "nc.onnx"}
    model = model_of(tmp_path / "m.onnx")
    assert (
        quantize(
            QuantizeOptions(model=model, choice=ImageChoice(data, limit=3), max_drop=50, **options)
        ).facts.quant_format
        == "qdq"
    )
    assert "Tune" in (tmp_path / "nc.log").read_text()


@needs_neural_compressor
def test_neural_compressor_is_fed_in_the_models_layout(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    proto = foreign(size=(20, 24))
    last = proto.graph.node.pop()
    proto.graph.node.append(onnx.helper.make_node("Relu", ["out"], ["positive"]))
    proto.graph.node.append(onnx.helper.make_node("Conv", ["positive", "second"], ["logits"], name="logits"))
    proto.graph.node.append(onnx.helper.make_node(last.op_type, ["logits"], last.output, perm=[0, 2, 3, 1]))
    second = np.random.default_rng(0).standard_normal((21, 21, 1, 1)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(second, "second"))
    result = quantize(
        QuantizeOptions(
            model=save(proto, tmp_path / "m.onnx"),
            choice=ImageChoice(data, limit=2),
            backend="neural-compressor",
            interface=Interface((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            target="vnni",
            output=tmp_path / "nc.onnx",
        )
    )
    assert [conv.int8 for conv in result.facts.convs] == [True, False]


@needs_neural_compressor
def test_more_images_than_memory_are_refused_for_its_kl(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:     900 kB\n")
    monkeypatch.setattr("fcn_onnx.jobs.limits.ROOT", tmp_path)
    with pytest.raises(UsageError, match=r"kl keeps every activation of every image: .* 5 images, and memory for \d"):
        quantize(
            QuantizeOptions(
                model=model_of(tmp_path / "m.onnx"),
                choice=ImageChoice(data, limit=5),
                backend="neural-compressor",
                method="kl",
                output=tmp_path / "nc.onnx",
            )
        )
    assert not (tmp_path / "nc.onnx").exists()


def test_without_neural_compressor_the_pip_command_is_shown(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "neural_compressor", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fcn-onnx\[neural-compressor\]'"):
        quantize(
            QuantizeOptions(
                model=model_of(tmp_path / "m.onnx"),
                choice=ImageChoice(data, limit=1),
                backend="neural-compressor",
                output=tmp_path / "nc.onnx",
            )
        )
