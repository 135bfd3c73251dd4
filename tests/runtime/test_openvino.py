"""OpenVINO beside onnxruntime: the same models, the same images, rows of one table."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from toys import pixel_classifier, residual_network, save, write_coco

from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.errors import MissingDependencyError, ModelError, UsageError
from fcn_onnx.evaluation.runtimes import Run, runtime_notes
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import RUNTIMES, SessionConfig, Value, get_runtime
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.stages.benchmark import benchmark
from fcn_onnx.stages.inspect import inspect
from fcn_onnx.stages.options import BenchmarkOptions, InspectOptions, PredictOptions, QuantizeOptions, ValidateOptions
from fcn_onnx.stages.predict import predict
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.validate import validate

try:
    from fcn_onnx.runtime import openvino
except ImportError:
    openvino = None  # type: ignore[assignment]

installed = pytest.mark.skipif(openvino is None, reason="OpenVINO is not installed in this environment")


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("data") / "coco")


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(residual_network(opset=13), tmp_path_factory.mktemp("model") / "fp32.onnx")


@pytest.fixture(scope="module")
def int8(fp32: Path, coco: Path) -> Path:
    """What `--target auto` makes for OpenVINO."""
    options = QuantizeOptions(
        model=fp32, choice=ImageChoice(coco, limit=2), runtime="openvino", output=fp32.with_name("i.onnx")
    )
    result = quantize(options)
    assert (result.plan.target, result.plan.quant_format, result.plan.pair_safe) == ("openvino", "qdq", True)
    assert "target openvino: what openvino reads" in result.plan.reasons
    return result.path


def batch(*size: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((1, 3, *size), np.float32)


def test_a_runtime_that_is_not_installed_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fcn_onnx.runtime.openvino", "openvino"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match="openvino cannot be loaded") as caught:
        get_runtime("openvino")
    assert "pip install 'fcn-onnx[openvino]'" in caught.value.fix
    assert caught.value.exit_code == 2


@installed
def test_outputs_are_onnxruntimes_at_every_size_without_compiling_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(residual_network(), tmp_path / "m.onnx")
    network, expected = Network(path, runtime="openvino"), Network(path)
    monkeypatch.setattr(openvino.OpenVino, "_compiled", None)  # never again
    for size in ((40, 56), (33, 47), (64, 64), (40, 56)):
        image = batch(*size, seed=size[0])
        image.flags.writeable = False
        np.testing.assert_allclose(network.run(image)["out"], expected.run(image)["out"], rtol=1e-4, atol=1e-4)
    first = network.run(batch(40, 56))["out"]
    kept = first.copy()
    network.run(batch(40, 56, seed=1))
    assert (first == kept).all()  # what was returned is not written over by the next run


@installed
def test_inputs_outputs_and_threads_are_as_declared(tmp_path: Path) -> None:
    path = save(pixel_classifier(), tmp_path / "m.onnx")
    session = get_runtime("openvino").open(str(path), SessionConfig(threads=1), name="m", fix="")
    assert list(session.inputs) == [Value("input", "float32", (None, 3, None, None))]
    assert [(value.name, value.fixed[1]) for value in session.outputs] == [("out", 21)]
    compiled = openvino.F32._compiled(str(path), SessionConfig(threads=1))
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert "told to compute floats in f32" in openvino.F32.remark
    whole = get_runtime("openvino").open(path.read_bytes(), SessionConfig(), name="m", fix="")
    image = batch(8, 8)
    (expected,), (found,) = session.run(None, {"input": image}), whole.run(["out"], {"input": image})
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@installed
def test_int8_labels_are_onnxruntimes_but_near_ties(fp32: Path, int8: Path) -> None:
    """Both add the same products exactly; they round sums at a scale's halves their own ways, so logits differ by some
    steps of the last activations. Where onnxruntime's best class leads by more than that, OpenVINO's is the same."""
    ours, other = Segmenter(int8), Segmenter(int8, runtime="openvino")
    image = batch(48, 64)
    a, b = (s.run(image)[0] for s in (ours, other))
    apart = np.abs(a - b).max()
    assert apart < 0.05 * np.abs(a).max()
    second, best = np.sort(a, axis=0)[-2:]
    clear = best - second > 2 * apart
    assert clear.mean() > 0.5
    assert (ours.labels(a[None], "") == other.labels(b[None], ""))[clear].all()


@installed
def test_coverage_is_of_what_openvino_executes(fp32: Path, int8: Path) -> None:
    found = read_coverage(int8, (64, 64), "openvino")
    assert (found.int8_convs, found.convs) == (read_coverage(int8, (64, 64)).int8_convs, 4)
    assert set(found.float_nodes) <= {"/logits", "/branch", "/inner", "/stem"}
    assert read_coverage(fp32, (64, 64), "openvino").int8_convs == 0
    shown = inspect(InspectOptions(model=int8, size=(64, 64), runtime="openvino")).to_json()
    assert (shown["runtime"], shown["executed"]["int8_convs"]) == ("openvino", found.int8_convs)


@installed
def test_the_form_that_openvino_gets_wrong_is_refused(tmp_path: Path, coco: Path) -> None:
    model = save(residual_network(), tmp_path / "m.onnx")
    options = QuantizeOptions(
        model=model, choice=ImageChoice(coco, limit=1), target="vnni", output=tmp_path / "qoperator.onnx"
    )
    path = quantize(options).path
    for ask in (lambda: Network(path, runtime="openvino"), lambda: read_coverage(path, runtime="openvino")):
        with pytest.raises(ModelError, match="QOperator form with a scale for each channel") as caught:
            ask()
        assert "--target openvino" in caught.value.fix


@installed
def test_what_openvino_raises_is_said_in_its_own_words(tmp_path: Path) -> None:
    custom = pixel_classifier()
    custom.graph.node[0].domain, custom.graph.node[0].op_type = "own", "Strange"
    custom.opset_import.extend([onnx.helper.make_opsetid("own", 1)])
    with pytest.raises(
        ModelError, match=r"OpenVINO cannot load .*No conversion rule found for operations: own\.Strange"
    ):
        Network(save(custom, tmp_path / "custom.onnx"), runtime="openvino")
    network = Network(save(residual_network(), tmp_path / "m.onnx"), runtime="openvino")
    with pytest.raises(ModelError, match="does not run in OpenVINO on an image of 4×4: "):
        network._session.run(None, {"input": np.zeros((1, 5, 4, 4), np.float32)}, of="an image of 4×4")


@installed
def test_two_runtimes_are_rows_of_one_report(tmp_path: Path, coco: Path, fp32: Path, int8: Path) -> None:
    notes: list[str] = []

    class Notes:
        def track(self, items, *, total, label, done=0):  # type: ignore[no-untyped-def]
            return iter(items)

        def note(self, message: str) -> None:
            notes.append(message)

    options = ValidateOptions(
        fp32=fp32,
        int8=(int8,),
        choice=ImageSource(coco),
        runtime=("onnxruntime", "openvino"),
        include_calibration_images=True,
        report=tmp_path / "r",
    )
    result = validate(options, progress=Notes())
    assert list(result.candidates) == ["int8@onnxruntime", "int8@openvino"]
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    rows = {name: candidate["int8"] for name, candidate in report["candidates"].items()}
    assert [row["runtime"] for row in rows.values()] == ["onnxruntime", "openvino"]
    assert report["fp32"]["runtime"] == "onnxruntime"
    assert len({row["digest"] for row in rows.values()}) == 1
    assert report["versions"]["openvino"].startswith(openvino.OpenVino.version)
    assert any("told to compute floats in f32" in note for note in report["notes"])
    assert set(report["notes"]) <= set(notes)
    apart = result.candidates["int8@onnxruntime"].agreement - result.candidates["int8@openvino"].agreement
    assert np.abs(apart[:, 0]).max() < 0.05 * result.candidates["int8@openvino"].agreement[:, 1].max()
    alone = validate(replace(options, runtime=("openvino",), limit=2, report=None))
    assert (alone.document.fp32.runtime, alone.only.int8.runtime) == ("openvino", "openvino")
    assert (alone.only.int8.counts == result.candidates["int8@openvino"].int8.counts[:2]).all()


@installed
def test_benchmark_and_predict_run_it(tmp_path: Path, coco: Path, fp32: Path, int8: Path) -> None:
    result = benchmark(
        BenchmarkOptions(models=(fp32, int8), size=((32, 32),), runs=1, runtime=("onnxruntime", "openvino"))
    )
    assert [(Path(row.model), row.runtime) for row in result.rows] == [
        (model, runtime) for model in (fp32, int8) for runtime in ("onnxruntime", "openvino")
    ]
    assert any("OpenVINO" in note for note in result.to_json()["notes"])
    image = sorted(coco.iterdir())[0]
    seen = {
        runtime: predict(PredictOptions(model=fp32, images=(image,), output=tmp_path / runtime, runtime=runtime))[
            0
        ].shares
        for runtime in ("onnxruntime", "openvino")
    }
    assert seen["openvino"] == pytest.approx(seen["onnxruntime"], abs=0.01)


@installed
def test_searches_measure_in_it(tmp_path: Path, coco: Path, fp32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    load = openvino.OpenVino.open
    monkeypatch.setattr(
        openvino.OpenVino, "open", lambda self, *a, **k: opened.append(self.name) or load(self, *a, **k)
    )
    monkeypatch.setattr("fcn_onnx.quantization.refining.REFINED_GROUPS", 1)
    choice = ImageChoice(coco, limit=2)
    options = QuantizeOptions(
        model=fp32, choice=choice, runtime="openvino", max_drop=100.0, refine=True, output=tmp_path / "s.onnx"
    )
    result = quantize(options)
    assert result.refinement is not None
    assert len(opened) >= result.refinement.trials + len(result.trials) + 2  # fp32 twice, once for each search


@installed
def test_bf16_is_a_row_of_its_own(tmp_path: Path) -> None:
    path, image = save(residual_network(), tmp_path / "m.onnx"), batch(32, 32)
    exact = Network(path, runtime="openvino").run(image)["out"]
    try:
        rounded = Network(path, runtime="openvino-bf16").run(image)["out"]
    except UsageError as error:
        assert "does not compute in bf16" in error.what  # noqa: PT017  # this CPU has none, and it is said
        return
    assert 0 < np.abs(rounded - exact).max() < 0.05 * np.abs(exact).max()


@installed
def test_its_telemetry_is_not_loaded() -> None:
    code = """
import sys
from fcn_onnx.runtime.seam import get_runtime
get_runtime("openvino")
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__, *[name for name in sys.modules if name.startswith("openvino_telemetry")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub"]


def test_a_runtime_that_is_much_faster_is_said() -> None:
    slow, fast = np.full(20, 100.0), np.full(20, 50.0)
    runs = [Run("m", 1, "onnxruntime", slow), Run("m", 2, "onnxruntime", slow)]
    assert runtime_notes(runs) == ()
    if openvino is not None:
        said = runtime_notes([*runs, Run("m", 1, "openvino", fast), Run("n", 3, "openvino", fast)])
        assert said[1:] == ("openvino runs m 2.00× as fast as onnxruntime (2.00 … 2.00×)",)
        assert len(runtime_notes([*runs, Run("m", 1, "openvino", fast * 1.8)])) == 1
        unsure = np.where(np.arange(20) % 20 < 11, 50.0, 500.0)
        assert len(runtime_notes([*runs, Run("m", 1, "openvino", unsure)])) == 1


def test_int8_targets_of_runtimes_are_targets() -> None:
    from fcn_onnx.quantization.targets import KERNELS, TARGETS

    assert {entry.target for entry in RUNTIMES.values()} - {None} <= TARGETS.keys()
    assert set(KERNELS.values()) <= TARGETS.keys()
