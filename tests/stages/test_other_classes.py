"""Networks of other classes than VOC's 21."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from toys import coarse_classifier, compare, residual_network, save, write_coco, write_voc

from fcn_onnx.cli import main
from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.data.labels import read_classes
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import DatasetError, UsageError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import Interface
from fcn_onnx.stages.options import QuantizeOptions, ValidateOptions
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.validate import validate

NAMES = ("nothing", "category 62", "category 1")


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(NAMES) + "\n\n")
    return path


def test_coco_categories_are_found_by_name(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path), classes=NAMES)
    assert [sorted(dataset.classes_in(sample)) for sample in dataset.samples] == [[2], [], [], [1], []]
    labels = dataset.label_map(dataset.samples[3])
    assert (labels == 1).sum() == 50 * 30  # the chair; the traffic light that covers it is no class here
    assert dataset.multilabel(dataset.samples[3]).shape == (3, 40, 70)
    with pytest.raises(DatasetError, match="no category called 'sofa'; it has category 5"):
        open_dataset(tmp_path / "val2017", classes=("nothing", "sofa"))


def test_masks_hold_no_more_labels_than_there_are_classes(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    assert open_dataset(root, classes=NAMES).classes_in(open_dataset(root).samples[1]) == {2}
    dataset = open_dataset(root, classes=NAMES[:2])
    with pytest.raises(DatasetError, match=r"holds the labels \[2\]; 2 classes have 0…1 and 255"):
        dataset.label_map(dataset.samples[1])


def test_scores_equal_loops_over_pixels(tmp_path: Path) -> None:
    model = save(coarse_classifier(classes=3), tmp_path / "three.onnx")
    root = write_voc(tmp_path)
    interface = Interface((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), channels="BGR")
    report = compare(model, model, open_dataset(root, classes=NAMES), protocol="voc-native", interface=interface).report
    matrix = np.zeros((3, 3), int)
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for sample in open_dataset(root).samples:
        pixels = np.asarray(Image.open(sample.path), np.float32)[:, :, ::-1] / np.float32(255)
        (logits,) = session.run(None, {"input": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})
        coarse = logits[0].argmax(0)
        truth = np.asarray(Image.open(root / "SegmentationClass" / f"{sample.id}.png"))
        for y in range(truth.shape[0]):
            for x in range(truth.shape[1]):
                if truth[y, x] != 255:
                    matrix[truth[y, x], coarse[y // 4, x // 4]] += 1
    assert report["confusion"]["fp32"] == matrix.tolist()
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    ious = matrix.diagonal() / union
    assert report["fp32"]["per_class_iou"] == pytest.approx(dict(zip(NAMES, ious, strict=True)))
    assert report["fp32"]["mean_accuracy"] == pytest.approx((matrix.diagonal() / matrix.sum(1)).mean())
    assert report["classes"] == list(NAMES)


def test_an_int8_model_says_the_classes_that_it_was_made_with(
    tmp_path: Path, names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_coco(tmp_path / "coco")
    save(residual_network(classes=3), tmp_path / "three.onnx")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    run("quantize", "--model", "three.onnx", "--data", data, "--limit", 2, "--classes", names, "--output", "int8.onnx")
    pair = ("--fp32", "three.onnx", "--int8", "int8.onnx", "--data", data)
    run("validate", *pair, "--json", "known.json")
    run("validate", *pair, "--json", "named.json", "--classes", names)
    known, named = (json.loads(Path(f"{name}.json").read_text()) for name in ("known", "named"))
    assert known["confusion"] == named["confusion"]
    assert set(known["fp32"]["per_class_iou"]) == set(NAMES)
    wrong = CliRunner().invoke(main, ["validate", "--fp32", "three.onnx", "--int8", "three.onnx", "--data", str(data)])
    assert wrong.exit_code == 2
    assert "declared as (?, 3, ?, ?)" in wrong.output
    assert "--classes" in wrong.output


@pytest.mark.parametrize("command", ["calibrate", "quantize"])
def test_calibrating_needs_no_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """COCO annotations that know none of 150 classes: images are all that is wanted of them."""
    data = write_coco(tmp_path / "coco")
    save(residual_network(classes=150), tmp_path / "many.onnx")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing {c}" for c in range(150)))
    monkeypatch.chdir(tmp_path)
    arguments = [command, "--model", "many.onnx", "--data", data, "--limit", 2, "--output", "made", "--classes", names]

    def run(*more: str) -> Result:
        return CliRunner().invoke(main, [str(a) for a in [*arguments, *more]])

    done = run()
    assert done.exit_code == 0, done.output
    for wanted in ["--spread"] + ["--max-drop=1"] * (command == "quantize"):
        refused = run(wanted)
        assert refused.exit_code == 2
        assert "has no category called 'thing 0'" in refused.output


def test_max_drop_without_truth_goes_by_fp32s_labels_and_the_model_says_so(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "coco")
    (tmp_path / "coco" / "annotations" / "instances_val2017.json").unlink()
    model = save(residual_network(classes=40), tmp_path / "many.onnx")
    interface = Interface(classes=tuple(f"thing {c}" for c in range(40)))
    choice = ImageChoice(data, limit=2)
    made = quantize(
        QuantizeOptions(model=model, choice=choice, max_drop=100.0, interface=interface, output=tmp_path / "int8.onnx")
    )
    assert [trial.drop_percent >= 0 for trial in made.trials] == [True]  # nothing agrees with fp32 better than fp32
    card = ModelCard.read_from(onnx.load(made.path), "int8")
    assert card.quantization is not None
    said = [reason for reason in card.quantization["reasons"] if "no labels" in reason]
    assert len(said) == 1
    assert "40 classes, against fp32's own labels" in said[0]


@pytest.mark.parametrize("text", ["", "one\n", "a\nb\na\n", "\n".join(map(str, range(256)))])
def test_unusable_class_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match="classes"):
        read_classes(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_classes(tmp_path / "missing.txt")


def test_annotations_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have 450 MB: one reading is parsed, digested, and chosen and scored from."""
    data = write_coco(tmp_path / "coco")
    annotations = data.parent / "annotations" / "instances_val2017.json"
    opened: list[Path] = []
    original = os.open

    def counting(path: Any, *arguments: Any, **others: Any) -> int:
        opened.append(Path(path))
        return original(path, *arguments, **others)

    monkeypatch.setattr(os, "open", counting)
    choice, int8 = ImageChoice(data, limit=2, spread=True), tmp_path / "int8.onnx"
    model = save(residual_network(), tmp_path / "fp32.onnx")
    quantize(QuantizeOptions(model=model, choice=choice, max_drop=50.0, output=int8))
    assert opened.count(annotations) == 1
    validate(ValidateOptions(fp32=model, int8=(int8,), choice=ImageSource(data), report=tmp_path / "report"))
    assert opened.count(annotations) == 2
