"""The search for the smallest set of fp32 convolutions, and the judge it goes by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
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
from fcn_onnx.errors import DatasetError, QuantizationError, UsageError
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import SILENT
from fcn_onnx.model.interface import Interface
from fcn_onnx.quantization.judge import Judge
from fcn_onnx.quantization.saturation import changed_labels
from fcn_onnx.quantization.search import search

T = TypeVar("T")


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=20), st.floats(0.0, 5.0))
def test_the_smallest_prefix_of_the_ranking_is_found(costs: list[float], max_drop: float) -> None:
    """Losses that add up: what is left in int8 costs its share, and the best set is the costliest ones."""
    cost = {f"conv{i}": c for i, c in enumerate(costs)}
    asked: list[int] = []

    def drop(kept: Sequence[str]) -> float:
        asked.append(len(kept))
        return sum(c for name, c in cost.items() if name not in kept)

    found = search(
        list(cost), lambda name: sum(costs) - cost[name], drop, max_drop, Journal(None, ""), SILENT
    ).float_convs
    literal = next(
        k for k in range(len(costs) + 1) if sum(sorted(costs)[: len(costs) - k]) <= max_drop + 1e-12 or k == len(costs)
    )
    assert abs(len(found) - literal) <= (1 if np.isclose(sum(sorted(costs)[: len(costs) - literal]), max_drop) else 0)
    assert drop(found) <= max_drop or len(found) == len(costs)
    assert len(asked) <= 4 + np.log2(len(costs) + 1)
    kept = {cost[name] for name in found}
    assert all(cost[name] <= min(kept) for name in cost if name not in found) if kept else True


def test_a_bound_that_nothing_meets_is_said() -> None:
    with pytest.raises(QuantizationError, match=r"7\.000 % of the mIoU is lost even with every layer in fp32"):
        search(["a", "b"], lambda name: 0.5, lambda kept: 7.0, 1.0, Journal(None, ""), SILENT)


def test_an_interrupted_search_does_not_try_anything_twice(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    names = [f"conv{i}" for i in range(6)]
    ranked: list[str] = []

    def flips(name: str) -> float:
        if len(ranked) == 3:
            raise KeyboardInterrupt
        ranked.append(name)
        return float(name[-1])

    def drop(kept: Sequence[str]) -> float:
        return 6.0 - len(kept)

    with pytest.raises(KeyboardInterrupt), closing(Journal(path, "j", interval_s=0)) as journal:
        search(names, flips, drop, 2.0, journal, SILENT)
    again: list[str] = []
    with closing(Journal(path, "j", interval_s=0)) as journal:
        found = search(names, lambda name: again.append(name) or float(name[-1]), drop, 2.0, journal, SILENT)
    assert again == names[3:]
    assert found.float_convs == tuple(names[:4])


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
    judge = Judge(first, dataset, dataset.samples, Preprocessing(Resize(size=(32, 40))))
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
    assert judge.flipped_share(second, 2) == pytest.approx(flipped)
    assert flipped > 0


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
        first,
        dataset,
        dataset.samples,
        Preprocessing(Resize(size=(32, 40))),
        interface=Interface(classes=NAMES),
        progress=said,
    )
    assert judge.drop_percent(first) == 0
    assert judge.drop_percent(second) == pytest.approx(100 * (1 - literal_miou(before, after, 30)))
    assert any("no labels" in note and "fp32's own" in note for note in said.notes)


def test_a_data_set_of_other_classes_than_the_models_is_refused_before_anything_runs(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path / "coco"))
    said = Said()
    for names in (NAMES, ("sky", *VOC_CLASSES[1:])):
        model = save(pixel_classifier(0, classes=len(names)), tmp_path / "a.onnx")
        with pytest.raises(DatasetError, match=r"has 21 classes .*, and .*a\.onnx has"):
            Judge(
                model,
                dataset,
                dataset.samples,
                Preprocessing(Resize(size=(32, 40))),
                interface=Interface(classes=names),
                progress=said,
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
        Judge(save(model, tmp_path / "m.onnx"), dataset, dataset.samples, Preprocessing(Resize(size=(32, 40))))


def test_float_models_run_the_same_on_either_kernel(tmp_path: Path) -> None:
    batch = np.random.default_rng(0).standard_normal((1, 3, 20, 30)).astype(np.float32)
    assert changed_labels(save(pixel_classifier(0), tmp_path / "m.onnx"), [batch, batch]).tolist() == [0, 0]
