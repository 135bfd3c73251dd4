"""The search for what must be kept, and the judge it goes by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toys import pixel_classifier, save, write_coco

from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import DatasetError, UsageError
from fcn_onnx.model.interface import Interface
from fcn_onnx.quantization.judge import Judge
from fcn_onnx.quantization.reference import Reference
from fcn_onnx.quantization.saturation import changed_labels
from fcn_onnx.quantization.search import smallest

T = TypeVar("T")
PREPROCESSING = Preprocessing(Resize(size=(32, 40)))


@given(st.lists(st.booleans(), max_size=40))
def test_the_smallest_that_serves_is_found_by_bisection(serves: list[bool]) -> None:
    """What serves goes on serving: then it is the first; where noise breaks that, one that serves all the same."""
    told = [False, *serves, True]
    asked: list[int] = []

    def holds(index: int) -> bool:
        asked.append(index)
        return told[index]

    found = smallest(len(told), holds)
    assert told[found]
    assert not told[found - 1]
    if told == sorted(told):
        assert found == told.index(True)
    assert len(asked) <= np.log2(len(told)) + 1
    assert len(set(asked)) == len(asked)


def labels_of(path: Path, images: list[Path]) -> list[np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found = []
    for image in images:
        pixels = (np.asarray(Image.open(image).resize((40, 32), Image.Resampling.BILINEAR)) / 255 - mean) / std
        batch = pixels.transpose(2, 0, 1)[None].astype(np.float32)
        found.append(session.run(["out"], {"input": batch})[0][0].argmax(0))
    return found


def literal_miou(truth: list[np.ndarray], labels: list[np.ndarray], classes: int = 21) -> float:
    flat_truth, flat = (np.concatenate([x.ravel() for x in arrays]) for arrays in (truth, labels))
    scored = flat_truth < classes
    ious = []
    for c in range(classes):
        a, b = flat_truth[scored] == c, flat[scored] == c
        if (a | b).any():
            ious.append((a & b).sum() / (a | b).sum())
    return float(np.mean(ious))


@pytest.mark.parametrize("labelled", [True, False])
def test_the_judge_says_what_the_literal_miou_says(tmp_path: Path, labelled: bool) -> None:
    images = write_coco(tmp_path / "coco")
    if not labelled:
        (tmp_path / "coco" / "annotations" / "instances_val2017.json").unlink()
    dataset = open_dataset(images)
    first = save(pixel_classifier(0), tmp_path / "a.onnx")
    second = save(pixel_classifier(0, shift=0.05), tmp_path / "b.onnx")
    reference = Reference(first, dataset.samples, PREPROCESSING)
    judge = Judge(reference, dataset)
    paths = [sample.path for sample in dataset.samples]
    before, after = labels_of(first, paths), labels_of(second, paths)
    truth = before
    if labelled:
        truth = [
            np.asarray(Image.fromarray(dataset.label_map(s)).resize((40, 32), Image.Resampling.NEAREST))
            for s in dataset.samples
        ]
    base = literal_miou(truth, before)
    assert judge.drop_percent(second) == pytest.approx(100 * (base - literal_miou(truth, after)) / base)
    assert judge.drop_percent(first) == 0
    flipped = np.mean(np.concatenate([(a != b).ravel() for a, b in zip(before[:2], after[:2], strict=True)]))
    assert reference.of(second, 2).flipped == pytest.approx(flipped)
    assert flipped > 0
    everywhere = np.mean(np.concatenate([(a != b).ravel() for a, b in zip(before, after, strict=True)]))
    assert judge.score(second).agreement == pytest.approx(1 - everywhere)
    assert Judge(reference, None).score(second).drop_percent == pytest.approx(100 * (1 - literal_miou(before, after)))


NAMES = tuple(f"thing {c}" for c in range(30))


def test_images_without_truth_are_judged_by_fp32s_labels_over_all_of_the_models_classes(tmp_path: Path) -> None:
    """Thirty classes: with a matrix of 21, labels from 21 on would be counted in other classes' rows."""
    images = write_coco(tmp_path / "coco")
    (tmp_path / "coco" / "annotations" / "instances_val2017.json").unlink()
    dataset = open_dataset(images)
    first = save(pixel_classifier(0, classes=30), tmp_path / "a.onnx")
    second = save(pixel_classifier(0, classes=30, shift=0.05), tmp_path / "b.onnx")
    paths = [sample.path for sample in dataset.samples]
    before, after = labels_of(first, paths), labels_of(second, paths)
    assert max(labels.max() for labels in before) >= 21
    said = Said()
    judge = Judge(
        Reference(first, dataset.samples, PREPROCESSING, interface=Interface(classes=NAMES), progress=said), dataset
    )
    assert judge.drop_percent(first) == 0
    assert judge.drop_percent(second) == pytest.approx(100 * (1 - literal_miou(before, after, 30)))
    assert "no labels" in judge.truth
    assert "fp32's own" in judge.truth
    assert said.tracked == ["labelling"]


def test_a_data_set_of_other_classes_than_the_models_is_refused_before_anything_runs(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path / "coco"))
    said = Said()
    for names in (NAMES, ("sky", *VOC_CLASSES[1:])):
        model = save(pixel_classifier(0, classes=len(names)), tmp_path / "a.onnx")
        with pytest.raises(DatasetError, match=r"has 21 classes .*, and .*a\.onnx has"):
            Judge(
                Reference(model, dataset.samples, PREPROCESSING, interface=Interface(classes=names), progress=said),
                dataset,
            )
    assert said.tracked == []


class Said:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.tracked: list[str] = []

    def track(self, items: Iterable[T], *, total: int, label: str, done: int = 0) -> Iterator[T]:
        self.tracked.append(label)
        yield from items

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_an_fp32_model_that_sees_nothing_has_nothing_to_lose(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path / "coco"))
    model = pixel_classifier(0)
    bias = np.zeros(21, np.float32)
    bias[11] = 1e6  # a class that is in no image
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(bias, "b"))
    with pytest.raises(UsageError, match="mIoU of 0"):
        Judge(Reference(save(model, tmp_path / "m.onnx"), dataset.samples, PREPROCESSING), dataset)


def test_float_models_run_the_same_on_either_kernel(tmp_path: Path) -> None:
    batch = np.random.default_rng(0).standard_normal((1, 3, 20, 30)).astype(np.float32)
    assert changed_labels(save(pixel_classifier(0), tmp_path / "m.onnx"), [batch, batch]).tolist() == [0, 0]
