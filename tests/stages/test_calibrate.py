"""The stage: against numpy on a hand-made network, in any order, interrupted, and read by onnxruntime."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnxruntime.quantization.calibrate import load_tensors_data
from PIL import Image
from toys import photograph, residual_network, save

from fcn_onnx.calibration import counting
from fcn_onnx.calibration.methods import get_method
from fcn_onnx.calibration.observed import observed_tensors
from fcn_onnx.calibration.observing import observe_images, tabulate
from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.folder import FolderDataset
from fcn_onnx.errors import CalibrationError, ImageError, ModelError, TableError, UsageError
from fcn_onnx.jobs.artifact import digest_json
from fcn_onnx.jobs.engines import Running
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.graph import Graph
from fcn_onnx.model.model import Model
from fcn_onnx.stages.calibrate import Calibration, calibrate
from fcn_onnx.stages.options import CalibrateOptions, QuantizeOptions
from fcn_onnx.stages.quantize import quantize

RULES = Preprocessing(Resize())


def calibrated(model: Path, samples: Sequence[Sample], method: str = "mse", **how: Any) -> RangeTable:
    """What the stage makes of a choice of just these images, shown as they are."""
    return tabulate(observe_images(Model.open(model), samples, RULES, **how).observation, get_method(method))


def carded(folder: Path) -> Path:
    """A model whose card says that it is shown images as they are."""
    model = residual_network()
    ModelCard(preprocessing=RULES.to_json()).write_to(model)
    return save(model, folder / "m.onnx")


def run(folder: Path, output: str, *, limit: int = 6, **others: Any) -> Calibration:
    """The stage, on the model and the images of a folder."""
    choice = ImageChoice(folder / "images", limit=limit)
    return calibrate(CalibrateOptions(model=folder / "m.onnx", choice=choice, output=folder / output, **others))


def write_images(folder: Path, count: int = 6) -> FolderDataset:
    folder.mkdir()
    for index in range(count):
        photograph(40 + 8 * index, 64 - 4 * index, index).save(folder / f"{index}.png")
    return FolderDataset.open(folder)


def literal_extremes(model: onnx.ModelProto, images: list[Path]) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of every inner tensor, by running the model with all of them as outputs."""
    names = [o for n in model.graph.node if n.op_type in ("Conv", "Relu", "Add", "MaxPool") for o in n.output]
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    known = {o.name for o in model.graph.output}
    tapped.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    session = ort.InferenceSession(tapped.SerializeToString(), providers=["CPUExecutionProvider"])
    found: dict[str, tuple[float, float]] = {}
    for path in images:
        batch = RULES(Image.open(path).convert("RGB"))
        values = dict(zip(names, session.run(names, {"input": batch}), strict=True)) | {"input": batch}
        for name, value in values.items():
            low, high = found.get(name, (0.0, 0.0))
            found[name] = (min(low, float(value.min())), max(high, float(value.max())))
    return found


def test_ranges_equal_the_extremes_of_every_tensor(tmp_path: Path) -> None:
    model = save(residual_network(), tmp_path / "m.onnx")
    dataset = write_images(tmp_path / "images")
    table = calibrated(model, dataset.samples, "minmax")
    expected = literal_extremes(residual_network(), [s.path for s in dataset.samples])
    carried = {"stem": "stem_relu", "inner": "inner_relu", "sum": "body", "pool": "stem_relu"}
    assert set(table.ranges) == set(expected)
    for name, found in table.ranges.items():
        low, high = expected[carried.get(name, name)]
        assert (found.lowest, found.highest) == pytest.approx((low, high), rel=1e-6)


def test_each_tensor_is_observed_once() -> None:
    observed = observed_tensors(Graph(residual_network()))
    assert observed.tensors == ("input", "stem_relu", "inner_relu", "branch", "body", "logits")
    assert observed.carried["pool"] == "stem_relu"


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "kl"])
def test_any_order_of_the_images_gives_the_same_bytes(tmp_path: Path, method: str) -> None:
    model = save(residual_network(), tmp_path / "m.onnx")
    samples = write_images(tmp_path / "images").samples
    for name, order in (("a", samples), ("b", samples[::-1])):
        calibrated(model, order, method).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_pass_that_goes_on_by_numba_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    model = save(residual_network(), tmp_path / "m.onnx")
    samples = write_images(tmp_path / "images").samples
    for name, worth in (("numpy", 1 << 62), ("both", 1), ("numba", 0)):
        monkeypatch.setattr(counting, "WORTH", worth)
        calibrated(model, samples).save(tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in ("numpy", "both", "numba")}) == 1


def test_onnxruntime_reads_the_table(tmp_path: Path) -> None:
    carded(tmp_path)
    write_images(tmp_path / "images")
    table = run(tmp_path, "t.json").table
    read = load_tensors_data(tmp_path / "t.json")
    for name, expected in table.ranges.items():
        low, high = read[name].range_value
        assert (float(low[0]), float(high[0])) == (expected.lowest, expected.highest)
    assert RangeTable.load(tmp_path / "t.json") == table


KILLED = """
import sys, time
from pathlib import Path
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import CalibrateOptions
Journal.__init__.__kwdefaults__["interval_s"] = 0.0
class Slow:
    def track(self, items, *, total, label, done=0):
        for item in items:
            time.sleep(0.3)
            yield item
    def note(self, message):
        print(message, flush=True)
folder = Path(sys.argv[1])
choice = ImageChoice(folder / "images", limit=6)
calibrate(
    CalibrateOptions(model=folder / "m.onnx", choice=choice, method="kl", output=folder / "out.json"), progress=Slow()
)
"""


def test_a_killed_run_continues_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    carded(tmp_path)
    write_images(tmp_path / "images")
    run(tmp_path, "whole.json", method="kl")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    while not list(tmp_path.glob(".out.json.*.journal")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out.json").exists()
    again = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "continuing after" in again.stdout
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_nan_names_the_tensor_and_the_image(tmp_path: Path) -> None:
    broken = residual_network()
    weight = next(t for t in broken.graph.initializer if t.name == "inner.b")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(8, np.nan, np.float32), "inner.b"))
    model = save(broken, tmp_path / "m.onnx")
    samples = write_images(tmp_path / "images", 2).samples
    with pytest.raises(CalibrationError, match=r"inner_relu .*0\.png"):
        calibrated(model, samples)


def test_a_corrupt_image_is_an_error_that_names_it(tmp_path: Path) -> None:
    carded(tmp_path)
    write_images(tmp_path / "images").samples[3].path.write_bytes(b"junk")
    with pytest.raises(ImageError, match=r"3\.png"):
        run(tmp_path, "t.json")
    assert not (tmp_path / "t.json").exists()


def test_bad_requests(tmp_path: Path) -> None:
    model = carded(tmp_path)
    write_images(tmp_path / "images")
    with pytest.raises(UsageError, match="no image"):
        calibrated(model, [])
    with pytest.raises(UsageError, match="choose one of: minmax"):
        run(tmp_path, "t.json", method="entropy")
    for source in ({}, {"choice": ImageChoice(tmp_path / "images"), "source": tmp_path / "h.npz"}):
        with pytest.raises(UsageError, match=r"images \(--data\) or histograms \(--from\)"):
            calibrate(CalibrateOptions(model=model, **source))
    model.unlink()
    with pytest.raises(ModelError, match="no such model"):
        run(tmp_path, "t.json")


@pytest.mark.parametrize("text", ["", "{}", '{"data": {}}', '{"data": {"a": {"lowest": 1}}}'])
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(TableError):
        RangeTable.load(path)


def test_a_table_of_another_model_is_refused_with_both_digests(tmp_path: Path) -> None:
    model = save(residual_network(), tmp_path / "m.onnx")
    table = calibrated(model, write_images(tmp_path / "images").samples)
    with pytest.raises(TableError) as caught:
        table.require_made_for("sha256:other", RULES.to_json())
    assert "sha256:other" in str(caught.value)
    assert table.model in str(caught.value)


def test_a_table_of_another_preprocessing_is_refused_with_both_digests(tmp_path: Path) -> None:
    model = save(residual_network(), tmp_path / "m.onnx")  # without a card: short side 520
    path = tmp_path / "t.json"
    table = calibrated(model, write_images(tmp_path / "images").samples)
    table.save(path)
    with pytest.raises(TableError) as caught:
        quantize(QuantizeOptions(model=model, ranges=path, output=tmp_path / "int8.onnx"))
    for rules in (table.preprocessing, Preprocessing().to_json()):
        assert digest_json(rules) in str(caught.value)
    assert not (tmp_path / "int8.onnx").exists()


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    carded(tmp_path)
    write_images(tmp_path / "images")
    for workers in (1, 2, 3):
        run(
            tmp_path,
            f"{workers}.json",
            method="kl",
            running=Running(workers=workers),
            histograms=tmp_path / f"{workers}.npz",
        )
    assert (
        (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes() == (tmp_path / "3.json").read_bytes()
    )
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes() == (tmp_path / "3.npz").read_bytes()


@pytest.mark.parametrize(
    ("method", "percentile"), [("minmax", None), ("mse", None), ("kl", None), ("percentile", 99.0)]
)
def test_histograms_give_any_methods_table_without_images(
    tmp_path: Path, method: str, percentile: float | None
) -> None:
    carded(tmp_path)
    samples = write_images(tmp_path / "images").samples
    run(tmp_path, "first.json", histograms=tmp_path / "h.npz")
    options: dict[str, Any] = {"method": method, "percentile": percentile}
    run(tmp_path, "direct.json", **options)
    for sample in samples:
        sample.path.unlink()
    calibrate(CalibrateOptions(source=tmp_path / "h.npz", output=tmp_path / "derived.json", **options))
    assert (tmp_path / "derived.json").read_bytes() == (tmp_path / "direct.json").read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_images_can_be_skipped_counted_and_listed(tmp_path: Path, workers: int) -> None:
    model = carded(tmp_path)
    samples = write_images(tmp_path / "images").samples
    good = calibrated(model, [s for s in samples if s.name != "3.png"])
    samples[3].path.write_bytes(b"junk")
    result = run(tmp_path, "t.json", skip_bad_images=True, running=Running(workers=workers))
    assert list(result.skipped) == ["3.png"]
    assert "not an image" in result.skipped["3.png"]
    assert result.table == good
    with pytest.raises(ImageError, match=r"3\.png"):
        run(tmp_path, "t.json", running=Running(workers=workers))
    for sample in samples:
        sample.path.write_bytes(b"junk")
    with pytest.raises(ImageError, match="none of the 6 images"):
        run(tmp_path, "t.json", skip_bad_images=True, running=Running(workers=workers))


@pytest.mark.parametrize("damage", ["missing", "text", "truncated", "other arrays"])
def test_what_are_no_histograms_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "h.npz"
    match damage:
        case "text":
            path.write_text("hello")
        case "truncated":
            carded(tmp_path)
            write_images(tmp_path / "images", 2)
            run(tmp_path, "t.json", limit=2, histograms=path)
            path.write_bytes(path.read_bytes()[:-100])
        case "other arrays":
            np.savez(path, a=np.zeros(3))
    with pytest.raises(TableError):
        calibrate(CalibrateOptions(source=path))


def test_a_percentile_goes_with_its_method_only(tmp_path: Path) -> None:
    carded(tmp_path)
    write_images(tmp_path / "images", 2)
    for method, percentile in (("kl", 99.0), ("percentile", 0.0), ("percentile", 101.0)):
        with pytest.raises(UsageError, match="--percentile"):
            run(tmp_path, "t.json", limit=2, method=method, percentile=percentile)
    table = run(tmp_path, "t.json", limit=2, method="percentile", percentile=99.0).table
    assert table.method == "percentile 99"


def test_percentiles_that_differ_have_different_names() -> None:
    names = [get_method("percentile", percent).name for percent in (99.99999, 99.999999, 100, 100.0, 99)]
    assert names == ["percentile 99.99999", "percentile 99.999999", "percentile 100", "percentile 100", "percentile 99"]
