"""`sensitivity`: against models that are quantized by hand, and run by onnxruntime alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime as ort
import photograph
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from toys import photograph as noise
from toys import residual_network, save

from fcn_onnx.cli import main
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import ReportError, UsageError
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.model import Model
from fcn_onnx.quantization.keeping import kept_layers
from fcn_onnx.quantization.making import Calibrated, Maker
from fcn_onnx.quantization.plan import keep_float, make_plan
from fcn_onnx.quantization.reference import Reference
from fcn_onnx.quantization.regions import State, Step
from fcn_onnx.quantization.rounded import ActivationStep, activation_steps, with_rounded
from fcn_onnx.quantization.sensitivity import front_steps
from fcn_onnx.report.sensitivity import Point, Sensitivity
from fcn_onnx.report.sensitivity_page import to_page, unbeaten
from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import CalibrateOptions, QuantizeOptions, SensitivityOptions
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.sensitivity import Found, sensitivity

T = TypeVar("T")
LAYERS = ["/stem", "/inner", "/branch"]
CPU = Cpu("any", 2, frozenset({"avx512_vnni"}))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(6):
        noise(64, 48, index).save(folder / f"{index}.png")
    return folder


def write_model(path: Path, opset: int = 12, outlier: str | None = None) -> Path:
    """The residual network; the `outlier`'s first channel writes large values that its range holds and nobody reads."""
    proto = residual_network(opset=opset)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    if outlier:
        for name, index in ((f"{outlier}.w", 0), (f"{outlier}.b", 0)):
            values = numpy_helper.to_array(stored[name]).copy()
            values[index] *= 300
            stored[name].CopyFrom(numpy_helper.from_array(values, name))
        following = numpy_helper.to_array(stored["branch.w"]).copy()
        following[:, 0] = 0
        stored["branch.w"].CopyFrom(numpy_helper.from_array(following, "branch.w"))
    ModelCard(preprocessing=Preprocessing(Resize(size=(64, 64))).to_json()).write_to(proto)
    return save(proto, path)


def options_of(data: Path, model: Path, **said: Any) -> SensitivityOptions:
    given: dict[str, Any] = {"target": "vnni", "method": "minmax", "trial_images": 2}
    return SensitivityOptions(model=model, choice=ImageChoice(data, limit=3), **(given | said))


def batches(data: Path, names: Iterable[str]) -> list[np.ndarray]:
    found = []
    for name in names:
        picture = Image.open(data / name).resize((64, 64), Image.Resampling.BILINEAR)
        pixels = (np.asarray(picture) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        found.append(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    return found


def outputs(model: Path, images: list[np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return [session.run(["out"], {"input": image})[0][0] for image in images]


def literal(expected: list[np.ndarray], found: list[np.ndarray]) -> tuple[float, float]:
    """(share of labels that differ, squared error of the logits over their square, mean over images)."""
    flips = [(a.argmax(0) != b.argmax(0)).mean() for a, b in zip(expected, found, strict=True)]
    errors = [((a - b) ** 2).sum() / (a**2).sum() for a, b in zip(expected, found, strict=True)]
    return float(np.mean(flips)), float(np.mean(errors))


@pytest.mark.parametrize("opset", [12, 13])
def test_numbers_are_those_of_models_made_one_by_one(tmp_path: Path, data: Path, opset: int) -> None:
    """`quantize --keep-float` of every other layer, and of it alone; run by onnxruntime alone."""
    model = write_model(tmp_path / "m.onnx", opset)
    found = sensitivity(options_of(data, model)).sensitivity
    assert sorted(layer.name for layer in found.layers) == sorted(LAYERS)
    images = batches(data, found.ranked_on)
    expected = outputs(model, images)
    choice = ImageChoice(data, limit=3)

    def made(kept: list[str]) -> tuple[float, float]:
        path = tmp_path / "int8.onnx"
        patterns = tuple(f"^{name}$" for name in kept)
        quantize(
            QuantizeOptions(
                model=model, choice=choice, target="vnni", method="minmax", keep_float=patterns, output=path
            )
        )
        return literal(expected, outputs(path, images))

    assert (found.whole.flipped, found.whole.logits_error) == pytest.approx(made([]), rel=1e-4)
    for layer in found.layers:
        alone, without = made([n for n in LAYERS if n != layer.name]), made([layer.name])
        assert (layer.alone.flipped, layer.alone.logits_error) == pytest.approx(alone, rel=1e-4)
        assert (layer.without.flipped, layer.without.logits_error) == pytest.approx(without, rel=1e-4)
    # 3·8·9 at 32², 8·8·9 and 8·8 at 16², the logits' 8·21 at 16²
    total = 216 * 32**2 + (576 + 64 + 168) * 16**2
    macs = {"/stem": 216 * 32**2, "/inner": 576 * 16**2, "/branch": 64 * 16**2}
    shares = {layer.name: layer.macs_share for layer in found.layers}
    assert shares == pytest.approx({name: count / total for name, count in macs.items()})
    flips = [layer.alone.flipped for layer in found.layers]
    assert flips == sorted(flips, reverse=True)


@pytest.mark.parametrize("form", [(11, "qoperator"), (12, "qdq"), (13, "qdq"), (17, "qoperator")])
def test_of_a_layer_that_is_tried_alone_only_it_runs_in_int8(tmp_path: Path, data: Path, form: tuple[int, str]) -> None:
    """In the graph that onnxruntime executes."""
    opset, quant_format = form
    model = write_model(tmp_path / "m.onnx", opset)
    table = calibrate(CalibrateOptions(model=model, choice=ImageChoice(data), output=tmp_path / "t.json")).table
    fp32 = Model.open(model)
    plan = make_plan(fp32.taken, CPU, quant_format=quant_format)
    maker = Maker(fp32, Calibrated((), Preprocessing(), {}))
    for name in LAYERS:
        made = maker.make(keep_float(plan, fp32.taken, [n for n in LAYERS if n != name]), table)
        path = save(made.int8, tmp_path / "alone.onnx")
        graph = executed(path, tmp_path)
        int8 = [node.name for node in graph.node if node.op_type.startswith("QLinear") or "Integer" in node.op_type]
        assert [found.split("_token")[0].removesuffix("_quant") for found in int8] == [name]
        assert set(kept_layers(fp32.taken.model, made.plan)) == {"/stem", "/inner", "/branch", "/logits"} - {name}


def executed(path: Path, tmp_path: Path) -> onnx.GraphProto:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "executed.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(tmp_path / "executed.onnx").graph


def test_a_layer_with_an_outlier_comes_first(tmp_path: Path, data: Path) -> None:
    """One channel 300 times as large takes the 8 bits of the others; what reads them has no use for it."""
    model = write_model(tmp_path / "m.onnx", outlier="inner")
    plain = sensitivity(options_of(data, write_model(tmp_path / "p.onnx"), report=tmp_path / "p")).sensitivity
    found = sensitivity(options_of(data, model)).sensitivity
    first = found.layers[0]
    assert first.name in ("/inner", "/branch")  # which writes the activation, and which reads it
    error = {layer.name: layer.alone.logits_error or 0 for layer in found.layers}
    before = {layer.name: layer.alone.logits_error or 0 for layer in plain.layers}
    assert error["/inner"] > 20 * before["/inner"]
    assert error["/stem"] < 3 * before["/stem"]
    assert found.tensors[0].name == "inner_relu"


def test_an_activation_alone_is_rounded_as_in_the_int8_model_and_nothing_else(tmp_path: Path, data: Path) -> None:
    model = write_model(tmp_path / "m.onnx", 13)
    found = sensitivity(options_of(data, model)).sensitivity
    images = batches(data, found.ranked_on)
    names = {tensor.name for tensor in found.tensors}
    assert {"input", "stem_relu", "inner_relu", "branch"} <= names
    proto = onnx.load(model)
    tensor = next(t for t in found.tensors if t.name == "inner_relu")
    # the network cut in two at the activation; numpy rounds it in between
    save(proto, tmp_path / "whole.onnx")
    onnx.utils.extract_model(str(tmp_path / "whole.onnx"), str(tmp_path / "front.onnx"), ["input"], ["inner_relu"])
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            if name == "inner_relu":
                node.input[index] = "given"
    proto.graph.input.append(helper.make_tensor_value_info("given", TensorProto.FLOAT, [1, 8, 16, 16]))
    whole = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    first = ort.InferenceSession(str(tmp_path / "front.onnx"), providers=["CPUExecutionProvider"])
    results = []
    for image in images:
        x = first.run(None, {"input": image})[0]
        scale = np.float32(tensor.scale)
        q = np.clip(np.rint(x / scale) + tensor.zero_point, 0, 255)
        rounded = ((q - tensor.zero_point) * scale).astype(np.float32)
        results.append(whole.run(["out"], {"input": image, "given": rounded})[0][0])
    expected = literal(outputs(model, images), results)
    assert (tensor.alone.flipped, tensor.alone.logits_error) == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_a_rounded_activation_leaves_every_layer_in_fp32(tmp_path: Path) -> None:
    fp32 = residual_network(opset=13)
    for name in ("input", "pool", "body"):
        model = with_rounded(fp32, ActivationStep(name, np.float32(0.05), np.uint8(100)))
        onnx.checker.check_model(model, full_check=True)
        graph = executed(save(model, tmp_path / "r.onnx"), tmp_path)
        assert not [n.op_type for n in graph.node if n.op_type.startswith("QLinear") or "Integer" in n.op_type]
        assert sum(n.op_type == "QuantizeLinear" for n in graph.node) == 1


def test_every_activation_of_both_forms_is_found(tmp_path: Path, data: Path) -> None:
    for opset in (12, 13):
        model = write_model(tmp_path / "m.onnx", opset)
        table = calibrate(CalibrateOptions(model=model, choice=ImageChoice(data), output=tmp_path / "t.json")).table
        fp32 = Model.open(model)
        plan = make_plan(fp32.taken, CPU, quant_format="qdq" if opset == 13 else "qoperator")
        made = Maker(fp32, Calibrated((), Preprocessing(), {})).make(plan, table)
        steps = {step.name: step for step in activation_steps(fp32.taken.model, made.int8)}
        assert {"input", "stem_relu", "inner_relu", "branch"} <= steps.keys()
        for name in ("input", "inner_relu"):
            width = table.ranges[name].highest - table.ranges[name].lowest
            assert steps[name].scale == pytest.approx(width / 255, rel=1e-5)


class Stopping:
    """Progress that is interrupted after some layers."""

    def __init__(self, stop_after: int) -> None:
        self.stop_after = stop_after

    def track(self, items: Iterable[T], *, total: int, label: str, done: int = 0) -> Iterator[T]:
        for index, item in enumerate(items):
            if label == "ranking layers" and index == self.stop_after:
                raise KeyboardInterrupt
            yield item

    def note(self, message: str) -> None: ...


def test_an_interrupted_run_measures_nothing_twice(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    asked = options_of(data, write_model(tmp_path / "m.onnx"))
    measured: list[int] = []
    of = Reference.of
    monkeypatch.setattr(
        Reference, "of", lambda self, model, images=None: (measured.append(1), of(self, model, images))[1]
    )
    with pytest.raises(KeyboardInterrupt):
        sensitivity(asked, progress=Stopping(2))
    assert len(measured) == 1 + 2 * 2
    assert not (tmp_path / "sensitivity" / "sensitivity.json").exists()
    measured.clear()
    again = sensitivity(asked)
    tensors, points = len(again.sensitivity.tensors), len(again.sensitivity.front) - 1
    assert len(measured) == 2 + tensors + len(LAYERS) + points  # a weight of each layer
    assert sorted(p.name for p in (tmp_path / "sensitivity").iterdir()) == ["sensitivity.html", "sensitivity.json"]
    whole = sensitivity(replace(asked, report=tmp_path / "other"))
    assert untimed(whole) == untimed(again)
    measured.clear()
    assert sensitivity(asked).skipped
    assert measured == []


def untimed(found: Found) -> dict[str, Any]:
    value = found.to_json()
    del value["front"]  # times choose its models
    return value


def test_the_front_begins_with_all_in_int8_and_ends_with_fp32_on_images_that_ranked_nothing(
    tmp_path: Path, data: Path
) -> None:
    found = sensitivity(options_of(data, write_model(tmp_path / "m.onnx"))).sensitivity
    assert [(p.kept, p.unrounded) for p in (found.front[0], found.front[-1])] == [(0, 0), (3, 0)]
    assert set(found.front_on).isdisjoint(found.ranked_on)
    assert (len(found.front_on), len(found.ranked_on)) == (1, 2)
    assert (found.front[-1].agreement, found.front[-1].speedup) == (1.0, 1.0)
    assert found.front[0].kept_macs_share == 0
    assert all(point.speedup > 0 and 0 <= point.agreement <= 1 for point in found.front)


def test_the_front_takes_the_steps_by_which_another_share_of_the_error_has_gone() -> None:
    errors = [1.0, 0.99, 0.8, 0.6, 0.3, 0.04, 0.0]
    steps = [Step(State(frozenset(map(str, range(i)))), None, error, 0.0) for i, error in enumerate(errors)]
    assert [len(step.state.kept) for step in front_steps(steps)] == [0, 2, 3, 4, 5]
    assert [len(step.state.kept) for step in front_steps([steps[0], steps[-1]])] == [0]


def test_points_that_another_beats_are_told_apart() -> None:
    points = [Point(k, 0, None, a, s) for k, a, s in ((0, 0.98, 2.0), (1, 0.97, 1.8), (2, 0.99, 1.8), (4, 1.0, 1.0))]
    assert [point.kept for point in unbeaten(points)] == [4, 2, 0]


def test_json_is_read_back_and_holds_what_the_command_writes(tmp_path: Path, data: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    said = ["--model", str(model), "--data", str(data), "--limit", "3", "--trial-images", "2", "--json", "s.json"]
    done = CliRunner().invoke(main, ["sensitivity", *said], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "worst layers" in done.output
    value = json.loads(Path("s.json").read_text())
    assert value == json.loads((tmp_path / "sensitivity/sensitivity.json").read_text())
    found = Sensitivity.from_json(value, "s.json")
    assert found.to_json() == value
    assert set(value) == {
        *("schema", "job", "model", "digest", "plan", "method", "ranked_on", "front_on", "size", "cpu", "threads"),
        *("whole", "layers", "tensors", "front"),
    }
    assert set(value["layers"][0]) == {"name", "op_type", "macs_share", "alone", "without"}
    with pytest.raises(ReportError, match="whole"):
        Sensitivity.from_json({**value, "whole": 3}, "s.json")
    assert "up to date" in CliRunner().invoke(main, ["sensitivity", *said]).output
    (tmp_path / "sensitivity/sensitivity.json").write_text("[]")
    assert "up to date" not in CliRunner().invoke(main, ["sensitivity", *said]).output


def test_wrong_input_is_refused(tmp_path: Path, data: Path) -> None:
    model = write_model(tmp_path / "m.onnx")

    def exit_code(*said: str) -> int:
        return CliRunner().invoke(main, ["sensitivity", *said]).exit_code

    assert exit_code("--model", str(model)) == 2
    assert exit_code("--model", "none.onnx", "--data", str(data)) == 2
    assert exit_code("--model", str(model), "--data", str(data), "--trial-images", "0") == 2
    assert exit_code("--model", str(model), "--data", str(data), "--ranges", str(model)) == 2
    assert exit_code("--model", str(model), "--data", str(data), "--report", str(model)) == 2
    with pytest.raises(UsageError, match="percentile"):
        sensitivity(options_of(data, model, method="kl", percentile=99.0))
    assert not (tmp_path / "sensitivity").exists() or not list((tmp_path / "sensitivity").iterdir())


def test_layer_names_are_the_fp32_models_own(tmp_path: Path, data: Path) -> None:
    model = write_model(tmp_path / "m.onnx")
    found = sensitivity(options_of(data, model, per_channel=False)).sensitivity
    known = {node.name for node in onnx.load(model).graph.node}
    assert {layer.name for layer in found.layers} <= known


@pytest.mark.skipif(photograph.CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_opens(tmp_path: Path, data: Path) -> None:
    page = sensitivity(options_of(data, write_model(tmp_path / "m.onnx"))).folder / "sensitivity.html"
    for width, found in photograph.measure_at(page, [photograph.DESKTOP, photograph.PHONE]).items():
        assert found["sticking_out"] == []
        assert found["width"] <= width
        assert found["figures"] == 3
        assert found["title"] == "Sensitivity of m.onnx"


def test_names_in_the_page_are_text(tmp_path: Path, data: Path) -> None:
    found = sensitivity(options_of(data, write_model(tmp_path / "m.onnx"))).sensitivity
    evil = "<script>alert(1)</script>"
    named = replace(found, layers=(replace(found.layers[0], name=evil), *found.layers[1:]), model=f"/{evil}.onnx")
    assert "<script" not in to_page(named)
    assert "default-src 'none'" in to_page(named)
