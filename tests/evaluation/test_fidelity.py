"""Layer-by-layer comparison against onnxruntime run by hand, and coverage of the graph that is really run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from toys import MIXED_MACS, mixed_products, photograph, pixel_classifier, residual_network, save

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.evaluation.fidelity import compare_layers
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.taps import with_taps
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.network import Network
from fcn_onnx.stages.inspect import inspect
from fcn_onnx.stages.options import InspectOptions, QuantizeOptions
from fcn_onnx.stages.quantize import quantize


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(3):
        photograph(64, 60, index).save(folder / f"{index}.png")
    return folder


def pair(tmp_path: Path, images: Path, opset: int) -> tuple[Path, Path]:
    proto = residual_network(opset=opset)
    ModelCard(preprocessing=Preprocessing(Resize(size=(64, 64))).to_json()).write_to(proto)
    fp32, int8 = save(proto, tmp_path / "m.onnx"), tmp_path / "int8.onnx"
    quantize(QuantizeOptions(model=fp32, choice=ImageChoice(images, limit=3), target="vnni", output=int8))
    return fp32, int8


@pytest.mark.parametrize("opset", [12, 13])
def test_ratios_are_those_of_the_tensors_themselves(tmp_path: Path, images: Path, opset: int) -> None:
    fp32, int8 = pair(tmp_path, images, opset)
    samples = open_dataset(images).samples
    found = compare_layers(fp32, int8, samples)
    assert {"stem_relu", "inner_relu", "branch"} <= set(found.sqnr_db)
    assert list(found.sqnr_db.values()) == sorted(found.sqnr_db.values())
    assert all(20 < ratio < 60 for ratio in found.sqnr_db.values())
    # one of them by hand: what the block adds, from the dequantized tensor that its sum reads
    quantized = onnx.load(int8)
    (total,) = [node for node in quantized.graph.node if node.op_type == "Add"]
    exact = Network(with_taps(onnx.load(fp32), ["branch"]))
    rough = Network(with_taps(quantized, [total.input[0]]))
    signal = noise = 0.0
    for sample in samples:
        batch = Preprocessing(Resize(size=(64, 64)))(photograph(64, 60, int(sample.path.stem)))
        x, y = exact.run(batch)["branch"], rough.run(batch)[total.input[0]]
        signal += float((x.astype(np.float64) ** 2).sum())
        noise += float(((x.astype(np.float64) - y) ** 2).sum())
    assert found.sqnr_db["branch"] == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)
    assert set(found.flipped) == {sample.name for sample in samples}
    assert found.label_agreement == pytest.approx(1 - np.mean(list(found.flipped.values())))
    shown = found._repr_html_()
    for name, ratio in found.sqnr_db.items():
        assert f"<td>{name}</td><td>{ratio:.1f}</td>" in shown


def test_a_model_that_holds_nothing_of_the_other_is_refused(tmp_path: Path, images: Path) -> None:
    fp32, int8 = pair(tmp_path, images, 12)
    stranger = save(pixel_classifier(), tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=r"no activation of .* is in 8 bits"):
        compare_layers(fp32, stranger, open_dataset(images).samples)
    with pytest.raises(UsageError, match="no image"):
        compare_layers(fp32, int8, [])


@pytest.mark.parametrize("opset", [12, 13])
def test_coverage_is_of_the_graph_that_runs(tmp_path: Path, images: Path, opset: int) -> None:
    _, int8 = pair(tmp_path, images, opset)
    found = read_coverage(int8, (64, 64))
    assert (found.int8_convs, found.convs) == (3, 4)
    assert found.float_convs == {"/logits": "the plan keeps it in fp32"}
    assert inspect(InspectOptions(model=int8, size=(64, 64))).coverage == found
    # 3·8·9 at 32², 8·8·9 and 8·8 at 16² in int8, 8·21 at 16² not
    int8_macs = 216 * 32**2 + (576 + 64) * 16**2
    assert found.int8_macs_share == pytest.approx(int8_macs / (int8_macs + 168 * 16**2))


def test_a_pair_that_is_not_fused_is_said(tmp_path: Path) -> None:
    """Q/DQ on a convolution's input and weight but not on its output: onnxruntime leaves it in fp32."""
    model = pixel_classifier(opset=13)
    initializers = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    q = np.clip(np.rint(initializers["w"] / 0.02), -127, 127).astype(np.int8)
    constants = {"q": q, "ws": np.float32(0.02), "wz": np.int8(0), "xs": np.float32(0.02), "xz": np.uint8(128)}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())
    conv = model.graph.node[0]
    conv.input[0], conv.input[1] = "x", "wd"
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["x"]),
        helper.make_node("DequantizeLinear", ["q", "ws", "wz"], ["wd"]),
        conv,
    ]
    kept = [helper.make_node(n.op_type, list(n.input), list(n.output), name=n.name) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    found = read_coverage(save(model, tmp_path / "m.onnx"))
    assert (found.int8_convs, found.int8_macs_share) == (0, 0)
    assert found.float_convs == {"classify": "int8 in the file, but onnxruntime does not fuse its Q/DQ pairs"}


def test_fp32_models_have_no_coverage(tmp_path: Path) -> None:
    assert inspect(InspectOptions(model=save(pixel_classifier(), tmp_path / "m.onnx"))).coverage is None


@pytest.mark.parametrize(
    ("form", "transposed"),
    [
        ("qdq", "int8 in the file, but onnxruntime does not fuse its Q/DQ pairs"),
        ("qoperator", "fp32 in the file"),
        ("dynamic", "fp32 in the file"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_coverage_counts_all_that_multiplies(tmp_path: Path, form: str, transposed: str, named: bool) -> None:
    """Of onnxruntime's own three ways to quantize, none of which has a transposed convolution in int8."""
    fp32, int8 = save(mixed_products(), tmp_path / "m.onnx"), tmp_path / "int8.onnx"
    if form == "dynamic":
        quantize_dynamic(fp32, int8)
    else:
        reader = iter([{"input": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)}])
        kind = QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator
        quantize_static(fp32, int8, _Reader(reader), quant_format=kind, weight_type=QuantType.QInt8, per_channel=True)
    if not named:
        proto = onnx.load(int8)
        for node in proto.graph.node:
            node.name = ""
        save(proto, int8)
    found = read_coverage(int8, (8, 8))
    share = MIXED_MACS["transposed"] / sum(MIXED_MACS.values())
    ((name, node),) = found.float_nodes.items()
    assert name == ("transposed" if named else f"ConvTranspose({onnx_output(int8, 'ConvTranspose')})")
    assert (node.op_type, node.reason, node.macs_share) == ("ConvTranspose", transposed, pytest.approx(share))
    assert found.int8_macs_share == pytest.approx(1 - share)
    assert (found.int8_convs, found.convs, found.float_convs) == (2, 2, {})


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Iterator[dict[str, np.ndarray]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def onnx_output(path: Path, op_type: str) -> str:
    (node,) = [node for node in onnx.load(path).graph.node if node.op_type == op_type]
    return str(node.output[0])
