"""Images in memory are calibrated on, quantized with and scored as the same ones in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from toys import compare, pixel_classifier, residual_network, save, write_voc

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.data.sample import Dataset
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.data.sets.memory import MemoryDataset, OpenChoice
from fcn_onnx.errors import DatasetError, UsageError
from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.jobs.engines import Running
from fcn_onnx.model.card import ModelCard
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import CalibrateOptions, QuantizeOptions
from fcn_onnx.stages.quantize import quantize


@pytest.fixture
def folder(tmp_path: Path) -> Dataset:
    return open_dataset(write_voc(tmp_path))


def arrays(dataset: Dataset) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    for sample in dataset.samples:
        yield sample.name, np.asarray(sample.read()), dataset.label_map(sample).astype(np.int64)


@pytest.mark.parametrize("protocol", ["voc-native", "zoo", "ti"])
@pytest.mark.parametrize("workers", [1, 2])
def test_scores_are_those_of_the_folder(tmp_path: Path, folder: Dataset, protocol: str, workers: int) -> None:
    models = [save(pixel_classifier(0, shift=shift), tmp_path / f"{shift}.onnx") for shift in (0.0, 0.05)]
    from_disk, in_memory = (
        compare(*models, dataset, protocol=protocol, running=Running(workers=workers), threads=2)
        for dataset in (folder, MemoryDataset.of(arrays(folder)))
    )
    for key in ("images", "confusion", "worst_images", "absent_classes"):
        assert in_memory.report[key] == from_disk.report[key]
    for key in ("miou", "pixel_accuracy", "label_agreement"):
        assert in_memory.report["delta"][key] == from_disk.report["delta"][key]
    assert (in_memory.per_image["counts_int8"] == from_disk.per_image["counts_int8"]).all()
    assert in_memory.report["dataset"]["kind"] == "memory"
    assert "2 images in memory, with labels" in in_memory.report["dataset"]["description"]


def test_a_model_made_in_memory_is_that_of_the_folder_and_knows_its_images(tmp_path: Path, folder: Dataset) -> None:
    model = save(residual_network(), tmp_path / "m.onnx")
    memory = MemoryDataset.of(arrays(folder))
    tables = [
        calibrate(
            CalibrateOptions(
                model=model, choice=OpenChoice.of(dataset, limit=2), output=tmp_path / f"{dataset.kind}.json"
            )
        ).table.ranges
        for dataset in (folder, memory)
    ]
    assert tables[0] == tables[1]
    made = [
        quantize(QuantizeOptions(model=model, choice=choice, output=tmp_path / f"{name}.onnx", max_drop=100.0)).path
        for name, choice in (
            ("disk", ImageChoice(folder.root, limit=1)),
            ("memory", OpenChoice.of(memory, limit=1, spread=True)),
            ("again", OpenChoice.of(memory, limit=1)),
        )
    ]
    disk, _, again = (
        {tensor.name: tensor.SerializeToString() for tensor in onnx.load(path).graph.initializer} for path in made
    )
    assert disk == again
    card = ModelCard.read_from(onnx.load(made[2]), "again")
    (recorded,) = card.calibration_images
    report = compare(model, made[2], memory, protocol="voc-native").report
    assert (report["images"], report["dataset"]["excluded_calibration_images"]) == (1, 1)
    others = [(name, pixels // 2, labels) for name, pixels, labels in arrays(folder)]
    assert compare(model, made[2], MemoryDataset.of(others), protocol="voc-native").report["images"] == 2
    assert recorded in {sample.name for sample in memory.samples}


PIXELS, LABELS = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
REFUSED: dict[str, list[tuple[str, Any, Any]]] = {
    "no image was given": [],
    "the image a is float32": [("a", PIXELS.astype(np.float32), None)],
    r"the image a is uint8 \(4, 6\)": [("a", LABELS, None)],
    r"the labels of a are uint8 \(6, 4\)": [("a", PIXELS, LABELS.T)],
    "the labels of a are float64": [("a", PIXELS, LABELS.astype(float))],
    "the labels of a are int64": [("a", PIXELS, LABELS.astype(np.int64) - 1)],
    "1 of 2 images have labels": [("a", PIXELS, LABELS), ("b", PIXELS, None)],
    r"the truth of a holds the labels \[21\]": [("a", PIXELS, LABELS + 21)],
    "the image a is there twice": [("a", PIXELS, None), ("a", PIXELS, None)],
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_no_image_or_no_truth_is_refused(words: str) -> None:
    with pytest.raises((DatasetError, UsageError), match=words):
        MemoryDataset.of(REFUSED[words])


def test_without_labels_there_is_no_truth(tmp_path: Path) -> None:
    dataset = MemoryDataset.of([("a", PIXELS, None)], classes=VOC_CLASSES)
    model = save(pixel_classifier(0), tmp_path / "m.onnx")
    with pytest.raises(DatasetError, match="without labels"):
        compare(model, model, dataset, gates=Gates(max_drop=1.0))
    report = compare(model, model, dataset).report
    assert (report["fp32"]["miou"], report["delta"]["label_agreement"]) == (None, 1.0)
