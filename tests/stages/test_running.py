"""What a worker is taken to need, against what onnxruntime returns; and that unlike machines are recorded."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from toys import photograph, residual_network, save

from fcn_onnx.calibration.observing import observe_images
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.folder import FolderDataset
from fcn_onnx.jobs.executor import Here
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.memory import COPIES, PROCESS
from fcn_onnx.stages.running import footprint_of, largest

SIZES = [(40, 30), (64, 48), (30, 60), (50, 50)]


def images(folder: Path) -> tuple[Sample, ...]:
    folder.mkdir()
    for index, (width, height) in enumerate(SIZES):
        photograph(width, height, index).save(folder / f"{index}.png")
    (folder / "9.png").write_bytes(b"none")
    return FolderDataset.open(folder).samples


def test_the_largest_input(tmp_path: Path) -> None:
    samples = images(tmp_path / "images")
    assert largest(samples, Preprocessing(Resize())) == (48, 64)
    assert largest(samples, Preprocessing(Resize(short_side=60))) == (120, 60)
    assert largest(samples, Preprocessing(Resize(), pad=(96, 96))) == (96, 96)
    assert largest([samples[-1]], Preprocessing(Resize())) is None


def test_calibration_takes_all_that_it_observes(tmp_path: Path) -> None:
    samples = images(tmp_path / "images")
    path = save(residual_network(), tmp_path / "m.onnx")
    model = Model.open(path)
    needs = footprint_of([path], samples, Preprocessing(Resize()), tapped=model)
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model.proto)
    counted = ("Conv", "Relu", "Add", "MaxPool")
    names = [name for node in tapped.graph.node if node.op_type in counted for name in node.output]
    del tapped.graph.output[:]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(tapped.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run(None, {"input": np.zeros((1, 3, 48, 64), np.float32)})
    kept = sum(value.nbytes for value in values)
    beside = needs.memory_bytes() - PROCESS - COPIES * path.stat().st_size
    assert 0.5 * kept < beside < 2 * kept
    scored = footprint_of([path, path], samples, Preprocessing(Resize()))
    assert scored.memory_bytes() > PROCESS + 2 * COPIES * path.stat().st_size
    assert scored.files() == [path]


class Unlike(Here):
    """An executor whose machines turn out to differ."""

    def map(self, task: Any, items: Any) -> Generator[tuple[tuple[str, ...], Any], None, None]:
        yield from super().map(task, items)
        self.remarks = ("the machines differ",)  # type: ignore[assignment]


def test_unlike_machines_are_in_what_was_observed(tmp_path: Path) -> None:
    samples = images(tmp_path / "images")[:2]
    model = Model.open(save(residual_network(), tmp_path / "m.onnx"))
    found = observe_images(model, samples, Preprocessing(Resize()), executor=Unlike()).observation
    assert found.versions["workers"] == "the machines differ"
    assert "workers" not in observe_images(model, samples, Preprocessing(Resize())).observation.versions
