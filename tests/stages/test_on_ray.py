"""Every stage with many images, on a cluster: the same bytes as in one process, but for times."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import needs_ray
from toys import residual_network, save, write_coco

from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.jobs.engines import Running
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import CalibrateOptions, PredictOptions, QuantizeOptions, ValidateOptions
from fcn_onnx.stages.predict import predict
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.validate import validate

pytestmark = needs_ray


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, another one, and images; relative paths are relative to it."""
    monkeypatch.chdir(tmp_path)
    save(residual_network(), Path("m.onnx"))
    save(residual_network(1), Path("other.onnx"))
    return write_coco(Path("coco"))


def both(address: str) -> dict[str, Running]:
    return {"here": Running(), "ray": Running(engine="ray", address=address)}


def test_calibrate(data: Path, address: str) -> None:
    shutil.copytree(data, "images")
    Path("images/broken.jpg").write_bytes(b"no image")
    for name, running in both(address).items():
        calibrate(
            CalibrateOptions(
                model=Path("m.onnx"),
                choice=ImageChoice(Path("images"), limit=6),
                output=Path(f"{name}.json"),
                histograms=Path(f"{name}.npz"),
                skip_bad_images=True,
                running=running,
            )
        )
    assert Path("here.json").read_bytes() == Path("ray.json").read_bytes()
    assert Path("here.npz").read_bytes() == Path("ray.npz").read_bytes()


def test_quantize(data: Path, address: str) -> None:
    for name, running in both(address).items():
        choice = ImageChoice(data, limit=4)
        quantize(QuantizeOptions(model=Path("m.onnx"), choice=choice, output=Path(f"{name}.onnx"), running=running))
    assert Path("here.onnx").read_bytes() == Path("ray.onnx").read_bytes()


def test_validate(data: Path, address: str) -> None:
    found: dict[str, Any] = {}
    for name, running in both(address).items():
        options = ValidateOptions(
            fp32=Path("m.onnx"),
            int8=(Path("other.onnx"),),
            choice=ImageSource(data),
            report=Path(name),
            running=running,
        )
        found[name] = validate(options).report
        with np.load(f"{name}/images.npz") as arrays:
            found[f"{name} counts"] = {key: arrays[key].tolist() for key in arrays if key.startswith(("counts", "agr"))}
    here, ray = found["here"], found["ray"]
    assert found["here counts"] == found["ray counts"]
    for key in ("images", "confusion", "dataset", "preprocessing", "worst_images", "gallery", "machine", "versions"):
        assert here[key] == ray[key]
    for row in ("fp32", "int8"):
        times = ("latency_ms", "latency_samples_ms")
        assert {k: v for k, v in here[row].items() if k not in times} == {
            k: v for k, v in ray[row].items() if k not in times
        }
    assert [note for note in ray["notes"] if note not in here["notes"]] == [
        "latencies and the speed-up are those of a cluster's busy machines: time models with 1 worker"
    ]


def test_gates_on_times_are_not_for_a_cluster() -> None:
    for gates in (Gates(min_speedup=1.2), Gates(max_latency=9)):
        with pytest.raises(UsageError, match="busy"):
            ValidateOptions(choice=ImageSource(Path("d")), gates=gates, running=Running(engine="ray"))


def test_predict(data: Path, address: str) -> None:
    for name, running in both(address).items():
        predict(PredictOptions(model=Path("m.onnx"), images=(data,), output=Path(name), running=running))
    pictures = {path.name: path.read_bytes() for path in Path("here").iterdir()}
    assert len(pictures) == 15
    assert pictures == {path.name: path.read_bytes() for path in Path("ray").iterdir()}
