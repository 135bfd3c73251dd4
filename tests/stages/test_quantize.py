"""Written models: every legal form runs, is recorded, and computes what int8 arithmetic says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image
from toys import photograph, residual_network, save

from fcn_onnx.calibration.table import Range, RangeTable
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import QuantizationError, TableError, UsageError
from fcn_onnx.jobs.artifact import digest_file
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.model import Model
from fcn_onnx.quantization.making import Calibrated, Maker
from fcn_onnx.quantization.plan import make_plan
from fcn_onnx.quantization.writing import write_int8
from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import options_of
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import CalibrateOptions, QuantizeOptions
from fcn_onnx.stages.quantize import quantize

CPU = Cpu("test", 2, frozenset({"avx512_vnni"}))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(8):
        photograph(64 + index, 48 + 2 * index, index).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "fcn-toy-12.onnx", 12)


def write_model(path: Path, opset: int) -> Path:
    proto = residual_network(opset=opset)
    ModelCard(arch="toy", preprocessing=Preprocessing(Resize(size=(64, 64))).to_json()).write_to(proto)
    return save(proto, path)


def run(path: Path, batch: np.ndarray) -> np.ndarray:
    config = SessionConfig(exact_int8=True)  # models for VNNI are also made on machines without
    session = ort.InferenceSession(str(path), options_of(config), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["out"], {"input": batch})[0])


@pytest.mark.parametrize("opset", [11, 12, 13, 17])
@pytest.mark.parametrize("quant_format", ["qoperator", "qdq"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_every_form_is_written_and_runs_or_is_refused_up_front(
    tmp_path: Path, data: Path, opset: int, quant_format: str, per_channel: bool
) -> None:
    model = write_model(tmp_path / f"fcn-toy-{opset}.onnx", opset)
    output = tmp_path / "int8.onnx"
    options = {"format": quant_format, "per_channel": per_channel, "output": output}
    if quant_format == "qdq" and per_channel and opset < 13:
        with pytest.raises(UsageError, match="per-channel"):
            quantize(QuantizeOptions(model=model, choice=ImageChoice(data), **options))
        assert not output.exists()
        return
    result = quantize(QuantizeOptions(model=model, choice=ImageChoice(data), target="vnni", **options))
    written = onnx.load(output)
    onnx.checker.check_model(written, full_check=True)
    opsets = {entry.domain: entry.version for entry in written.opset_import}
    assert opsets.pop("") == opset
    assert opsets in ({}, {"com.microsoft": 1})
    assert (result.facts.quant_format, result.facts.per_channel) == (quant_format, per_channel)
    floats = [conv.name for conv in result.facts.convs if not conv.int8]
    assert [name.rstrip("_quant").split("/")[-1] for name in floats] == ["logits"]
    batch = Preprocessing(Resize(size=(64, 64)))(photograph(64, 64, 99))
    expected, actual = run(model, batch), run(output, batch)
    noise = ((actual - expected) ** 2).mean() / (expected**2).mean()
    assert noise < (2e-3 if per_channel else 2e-2)
    assert (expected.argmax(1) == actual.argmax(1)).mean() > (0.95 if per_channel else 0.85)


def test_weights_are_the_nearest_int8_per_channel(tmp_path: Path, data: Path, model: Path) -> None:
    quantize(QuantizeOptions(model=model, choice=ImageChoice(data), target="vnni", output=tmp_path / "int8.onnx"))
    before = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(model).graph.initializer}
    after_model = onnx.load(tmp_path / "int8.onnx")
    after = {t.name: onnx.numpy_helper.to_array(t) for t in after_model.graph.initializer}
    checked = 0
    for node in after_model.graph.node:
        if node.op_type != "QLinearConv":
            continue
        weight, scale = after[node.input[3]], after[node.input[4]]
        original = before[node.input[3].removesuffix("_quantized")]
        usual = (np.abs(original).reshape(len(original), -1).max(1) / 127).reshape(-1, 1, 1, 1)
        scale = scale.reshape(-1, 1, 1, 1)
        assert (np.abs(weight * scale - original) <= 0.5001 * scale).all()
        ours, theirs = ((q * s - original) ** 2 for q, s in ((weight, scale), (np.round(original / usual), usual)))
        assert (ours.sum((1, 2, 3)) <= theirs.sum((1, 2, 3)) * 1.0001).all()
        checked += 1
    assert checked == 3


@pytest.mark.parametrize("opset", [12, 13])
@pytest.mark.parametrize("per_channel", [True, False])
def test_no_pair_of_weights_saturates_on_avx2(tmp_path: Path, data: Path, opset: int, per_channel: bool) -> None:
    """255 · |w₀ + w₁| fits int16 for every two channels that `vpmaddubsw` adds, and more than 7 bits are in use."""
    model = write_model(tmp_path / "fcn-toy.onnx", opset)
    output = tmp_path / "int8.onnx"
    result = quantize(
        QuantizeOptions(
            model=model,
            choice=ImageChoice(data),
            target="avx2",
            format="qoperator",
            per_channel=per_channel,
            output=output,
        )
    )
    assert result.plan.pair_safe
    weights = [
        onnx.numpy_helper.to_array(t).astype(int)
        for t in onnx.load(output).graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4
    ]
    assert len(weights) == 3
    for weight in weights:
        outputs, inputs, height, width = weight.shape
        for o in range(outputs):
            order = [weight[o, i, y, x] for y in range(height) for x in range(width) for i in range(inputs)]
            assert all(abs(a + b) * 255 <= 32767 for a, b in zip(order[0::2], order[1::2], strict=False))
    assert max(int(np.abs(w).max()) for w in weights) > (100 if per_channel else 64)


def test_the_card_says_where_it_came_from(tmp_path: Path, data: Path, model: Path) -> None:
    output = tmp_path / "int8.onnx"
    quantize(QuantizeOptions(model=model, choice=ImageChoice(data, limit=3, seed=5), output=output, target="vnni"))
    card = ModelCard.read_from(onnx.load(output), "int8")
    assert (card.arch, card.source) == ("toy", digest_file(model))
    assert card.quantization is not None
    assert {k: card.quantization[k] for k in ("quant_format", "target", "method", "backend")} == {
        "quant_format": "qoperator",
        "target": "vnni",
        "method": "mse",
        "backend": "onnxruntime",
    }
    assert len(card.calibration_images) == 3
    for name, digest in card.calibration_images.items():
        assert digest == digest_file(data / name)


def test_default_limit_is_half_of_a_small_set(tmp_path: Path, data: Path, model: Path) -> None:
    quantize(QuantizeOptions(model=model, choice=ImageChoice(data), output=tmp_path / "int8.onnx"))
    assert len(ModelCard.read_from(onnx.load(tmp_path / "int8.onnx"), "int8").calibration_images) == 4


def test_what_is_up_to_date_is_not_made_again(tmp_path: Path, data: Path, model: Path) -> None:
    output = tmp_path / "int8.onnx"
    assert not quantize(QuantizeOptions(model=model, choice=ImageChoice(data), output=output)).skipped
    before = output.stat().st_mtime_ns
    assert quantize(QuantizeOptions(model=model, choice=ImageChoice(data), output=output)).skipped
    assert output.stat().st_mtime_ns == before
    assert not quantize(QuantizeOptions(model=model, choice=ImageChoice(data), output=output, force=True)).skipped
    assert not quantize(QuantizeOptions(model=model, choice=ImageChoice(data), output=output, method="kl")).skipped
    photograph(50, 50, 77).save(data / "0.png")  # another image under the same name
    assert not quantize(
        QuantizeOptions(model=model, choice=ImageChoice(data, limit=8), output=output, method="kl")
    ).skipped


def test_a_table_stands_in_for_images(tmp_path: Path, data: Path, model: Path) -> None:
    table = tmp_path / "ranges.json"
    calibrate(CalibrateOptions(model=model, choice=ImageChoice(data, limit=4), output=table))
    quantize(QuantizeOptions(model=model, choice=ImageChoice(data, limit=4), output=tmp_path / "direct.onnx"))
    quantize(QuantizeOptions(model=model, ranges=table, output=tmp_path / "from-table.onnx"))
    nodes = [onnx.load(tmp_path / name).graph.SerializeToString() for name in ("direct.onnx", "from-table.onnx")]
    assert nodes[0] == nodes[1]
    card = ModelCard.read_from(onnx.load(tmp_path / "from-table.onnx"), "x")
    assert len(card.calibration_images) == 4


def test_contradictions_are_refused(tmp_path: Path, data: Path, model: Path) -> None:
    with pytest.raises(UsageError, match="--data"):
        quantize(QuantizeOptions(model=model))
    table = tmp_path / "ranges.json"
    calibrate(CalibrateOptions(model=model, choice=ImageChoice(data, limit=2), output=table))
    with pytest.raises(UsageError, match="--ranges"):
        quantize(QuantizeOptions(model=model, choice=ImageChoice(data), ranges=table))
    other = save(residual_network(seed=9), tmp_path / "other.onnx")
    with pytest.raises(TableError, match="was made for"):
        quantize(QuantizeOptions(model=other, ranges=table))
    names = tmp_path / "names.txt"
    names.write_text("0.png\n")
    with pytest.raises(UsageError, match="--limit"):
        quantize(QuantizeOptions(model=model, choice=ImageChoice(data, images=names, limit=2)))


def test_a_missing_range_is_our_error_and_leaves_nothing(tmp_path: Path, model: Path) -> None:
    fp32 = Model.open(model)
    table = RangeTable({"input": Range(-1, 1)}, "minmax", digest_file(model), {}, {})
    output = tmp_path / "int8.onnx"
    with pytest.raises(QuantizationError, match="onnxruntime cannot quantize"):
        write_int8(Maker(fp32, Calibrated((), Preprocessing(), {})).make(make_plan(fp32.taken, CPU), table), output)
    assert not output.exists()


def test_facts_of_the_written_file(tmp_path: Path, data: Path, model: Path) -> None:
    quantize(QuantizeOptions(model=model, choice=ImageChoice(data), output=tmp_path / "int8.onnx"))
    facts, before = read_facts(onnx.load(tmp_path / "int8.onnx")), read_facts(onnx.load(model))
    assert (facts.macs, facts.parameters) == (before.macs, before.parameters)


@pytest.mark.parametrize(
    "damage", ["truncated", "emptied", "of text", "without a card", "with a broken card", "edited"]
)
def test_an_output_that_is_broken_or_edited_is_made_again(tmp_path: Path, data: Path, model: Path, damage: str) -> None:
    output = tmp_path / "int8.onnx"
    quantize(QuantizeOptions(model=model, choice=ImageChoice(data), output=output))
    whole = output.read_bytes()
    proto = onnx.load(output)
    if damage == "edited":  # one weight, under an intact card
        weight = next(t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4)
        weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]
    elif damage == "without a card":
        del proto.metadata_props[:]
    for entry in proto.metadata_props if damage == "with a broken card" else ():
        entry.value = entry.value.replace("qoperator", "qop").replace('"op_types"', '"types"')
    changed = {"truncated": whole[: len(whole) // 2], "emptied": b"", "of text": b"no model\n"}
    output.write_bytes(changed.get(damage, proto.SerializeToString()))
    assert not quantize(QuantizeOptions(model=model, choice=ImageChoice(data), output=output)).skipped
    assert output.read_bytes() == whole
    assert quantize(QuantizeOptions(model=model, choice=ImageChoice(data), output=output)).skipped


def test_what_is_skipped_is_what_its_card_says(tmp_path: Path, data: Path, model: Path) -> None:
    """The plan with what a search found, not the one that it began with."""
    options = {"max_drop": 2.0, "target": "vnni", "output": tmp_path / "int8.onnx"}
    made = quantize(QuantizeOptions(model=model, choice=ImageChoice(data, limit=4), **options))
    assert made.plan.kept
    again = quantize(QuantizeOptions(model=model, choice=ImageChoice(data, limit=4), **options))
    assert again.skipped
    assert (again.plan, again.kept_macs_share) == (made.plan, made.kept_macs_share)


@pytest.mark.parametrize("form", [(11, "qoperator"), (13, "qdq"), (17, "qoperator"), (21, "qdq")])
def test_min_agreement_is_reached_by_what_the_plan_says(tmp_path: Path, form: tuple[int, str]) -> None:
    """Labels, speed and what runs: of the file, by onnxruntime alone."""
    opset, quant_format = form
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for index in range(4):
        photograph(48, 40, index).save(photographs / f"{index}.png")
    proto = residual_network(opset=opset)
    ModelCard(preprocessing=Preprocessing(Resize(size=(40, 48))).to_json()).write_to(proto)
    fp32 = save(proto, tmp_path / "m.onnx")
    options: dict[str, Any] = {"target": "vnni", "format": quant_format, "choice": ImageChoice(photographs)}
    whole = quantize(QuantizeOptions(model=fp32, output=tmp_path / "a.onnx", **options))

    def agreement(path: Path) -> float:
        same = []
        for name in sorted(ModelCard.read_from(onnx.load(path), str(path)).calibration_images):
            pixels = (np.asarray(Image.open(photographs / name)) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
            batch = pixels.transpose(2, 0, 1)[None].astype(np.float32)
            labels = [
                ort.InferenceSession(str(each), providers=["CPUExecutionProvider"]).run(["out"], {"input": batch})[0]
                for each in (fp32, path)
            ]
            same.append((labels[0].argmax(1) == labels[1].argmax(1)).mean())
        return float(np.mean(same))

    before = agreement(whole.path)
    assert 0.5 < before < 1
    bound = (1 + 19 * before) / 20
    found = quantize(QuantizeOptions(model=fp32, output=tmp_path / "b.onnx", min_agreement=bound, **options))
    assert agreement(found.path) >= bound
    own = [t for t in found.trials if (t.float_convs, t.unrounded) == (len(found.plan.kept), len(found.plan.unrounded))]
    assert pytest.approx(agreement(found.path)) in [trial.agreement for trial in own]
    assert found.trials[0].agreement == pytest.approx(before)
    assert found.plan.kept or found.plan.unrounded
    assert found.speed_kept is not None
    assert found.speed_kept > 0
    convs = {node.name: node for node in found.facts.multiplications}
    assert not any(convs[name].int8 for name in found.plan.kept)
    assert all(convs[name].int8 for name in found.plan.unrounded)
    assert len(found.to_json()["trials"]) == len(found.trials)
    assert quantize(QuantizeOptions(model=fp32, output=tmp_path / "b.onnx", min_agreement=bound, **options)).skipped
    loose = quantize(QuantizeOptions(model=fp32, output=tmp_path / "c.onnx", min_agreement=0.5, **options))
    assert (loose.plan.kept, loose.speed_kept, len(loose.trials)) == ((), None, 1)


def test_min_agreement_is_refused_where_nothing_is_judged(tmp_path: Path, model: Path, data: Path) -> None:
    output = tmp_path / "int8.onnx"
    with pytest.raises(UsageError, match="--min-agreement is judged on calibration images"):
        quantize(QuantizeOptions(model=model, ranges=tmp_path / "t.json", min_agreement=0.9, output=output))
    with pytest.raises(UsageError, match="tunes by --max-drop"):
        quantize(
            QuantizeOptions(
                model=model, choice=ImageChoice(data), backend="neural-compressor", min_agreement=0.9, output=output
            )
        )
    with pytest.raises(UsageError, match=r"min.agreement"):
        quantize(QuantizeOptions(model=model, choice=ImageChoice(data), min_agreement=1.5, output=output))
