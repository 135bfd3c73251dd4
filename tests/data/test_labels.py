"""What labels mean, and everything that follows from which of them is background, if any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import compare, pixel_classifier, save, write_coco

from fcn_onnx.data import labelmaps
from fcn_onnx.data.labels import VOC, LabelSpace, read_classes
from fcn_onnx.data.palette import draw_legend, label_image, overlay, palette_of, voc_palette
from fcn_onnx.data.selection import spread_over_classes
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.data.sets.memory import MemoryDataset
from fcn_onnx.errors import DatasetError, UsageError
from fcn_onnx.evaluation.protocols import get_protocol


@pytest.mark.parametrize("classes", [1, 2, 21, 256])
@pytest.mark.parametrize("layout", ["planes", "pixels"])
def test_the_likeliest_class_is_the_lowest_of_those_that_tie(
    classes: int, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelmaps, "BAND", 40)  # several bands, the last one short
    levels = np.float32([-np.finfo(np.float32).max, -1.5, -0.0, 0.0, 1e-45, 3e38])
    scores = np.random.default_rng(classes).choice(levels, (classes, 13, 11)).astype(np.float32)
    expected = scores.argmax(0)
    if layout == "pixels":
        scores = np.ascontiguousarray(scores.transpose(1, 2, 0)).transpose(2, 0, 1)
    found = labelmaps.likeliest(scores)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(labelmaps.likeliest(scores[:, 2:, :7]), expected[2:, :7])


STREET = ("road", "sidewalk", "sky")


@pytest.mark.parametrize(
    ("first", "background"),
    [
        *((name, 0) for name in ("background", "_background_", "__background__", "Background", "unlabelled", "other")),
        *((name, None) for name in ("road", "backgrounds", "sky background", "void")),
    ],
)
def test_a_first_class_is_background_where_it_is_called_so(tmp_path: Path, first: str, background: int | None) -> None:
    (tmp_path / "classes.txt").write_text(f"{first}\nbackground 2\ncar\n")
    space = LabelSpace.of(read_classes(tmp_path / "classes.txt"))
    assert space.background == background
    assert space.things == ((1, 2) if background == 0 else (0, 1, 2))
    assert VOC.background == 0


@pytest.mark.parametrize(
    ("names", "background", "colours"),
    [((), None, ()), (("a", "a"), None, ()), (("a", "b"), 2, ()), (("a", "b"), -1, ()), (("a", "b"), 0, ((1, 2, 3),))],
)
def test_labels_that_contradict_themselves_are_refused(
    names: tuple[str, ...], background: int | None, colours: tuple[tuple[int, int, int], ...]
) -> None:
    with pytest.raises(UsageError):
        LabelSpace(names, background, colours)


def test_colours() -> None:
    own = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert palette_of(LabelSpace(STREET, None, own))[:3].tolist() == [list(colour) for colour in own]
    assert (palette_of(VOC) == voc_palette()).all()
    assert palette_of(LabelSpace(STREET))[:3].tolist() == voc_palette()[1:4].tolist()  # black is background's alone
    for space in (VOC, LabelSpace(STREET), LabelSpace(tuple(map(str, range(255))))):
        assert palette_of(space)[255].tolist() == [224, 224, 192]


def test_only_background_is_not_drawn() -> None:
    picture = Image.new("RGB", (60, 40))
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 2
    plain, background_last = LabelSpace(STREET), LabelSpace(STREET, 2)
    assert np.asarray(overlay(picture, labels, plain))[0, 0].tolist() == [64, 0, 0]
    assert np.asarray(overlay(picture, labels, VOC))[0, 0].tolist() == [0, 0, 0]
    assert not np.asarray(overlay(picture, labels, background_last))[:, 30:].any()
    assert draw_legend(picture, [2], background_last) is picture
    assert draw_legend(picture, [0], plain) is not picture
    assert np.array_equal(label_image(labels, plain), labels)


def painted(space: LabelSpace) -> MemoryDataset:
    """Three images: all of label 0, all of 1, and half of each with a stripe of void."""
    rng = np.random.default_rng(0)
    half = np.repeat([[0] * 5 + [1] * 5], 8, axis=0)
    half[0] = 255
    truths = [np.zeros((8, 10), np.uint8), np.ones((8, 10), np.uint8), half.astype(np.uint8)]
    return MemoryDataset.of(
        [(f"{i}", rng.integers(0, 256, (8, 10, 3), np.uint8), truth) for i, truth in enumerate(truths)], space
    )


def test_what_a_data_set_counts_as_a_find() -> None:
    plain, first = painted(LabelSpace(STREET)), painted(LabelSpace(STREET, 0))
    assert [plain.classes_in(s) for s in plain.samples] == [{0}, {1}, {0, 1}]
    assert [first.classes_in(s) for s in first.samples] == [set(), {1}, {1}]
    assert [plain.labelled_area(s) for s in plain.samples] == [80, 80, 70]
    assert [first.labelled_area(s) for s in first.samples] == [0, 80, 35]
    for dataset, rarest in ((plain, 0), (first, 1)):
        assert rarest in dataset.classes_in(spread_over_classes(dataset, 1)[0])
    zoo = get_protocol("zoo", LabelSpace(STREET))
    assert [zoo.selects(plain, s) for s in plain.samples] == [True, True, True]
    assert [zoo.selects(first, s) for s in first.samples] == [False, True, True]


def test_coco_without_background_is_void_where_nothing_is_annotated(tmp_path: Path) -> None:
    """Image 4 holds a chair, and a traffic light that is no class here; image 1 a person twice, overlapping itself."""
    data = write_coco(tmp_path)
    plain = open_dataset(data, classes=("category 62", "category 1"))
    with_background = open_dataset(data, classes=("background", "category 62", "category 1"))
    for sample in plain.samples:
        ours, theirs = plain.label_map(sample).astype(int), with_background.label_map(sample).astype(int)
        expected = np.where(theirs == 255, 255, np.where(theirs == 0, 255, theirs - 1))
        assert np.array_equal(ours, expected)
        assert np.array_equal(plain.multilabel(sample), with_background.multilabel(sample)[1:])
    assert (plain.label_map(plain.samples[3]) == 0).sum() == 50 * 30
    with pytest.raises(DatasetError, match=r"(?s)no category called 'sky'.*first line\s+`background`"):
        open_dataset(data, classes=("sky", "category 62"))


@pytest.mark.parametrize("protocol", ["voc-native", "zoo"])
def test_a_network_of_19_classes_without_background_from_end_to_end(tmp_path: Path, protocol: str) -> None:
    rng = np.random.default_rng(1)
    names = tuple(f"thing {i}" for i in range(19))
    images = [
        (f"{i}", rng.integers(0, 256, (20, 30, 3), np.uint8), rng.integers(0, 19, (20, 30)).astype(np.uint8))
        for i in range(3)
    ]
    fp32, int8 = (
        save(pixel_classifier(0, shift=s, classes=19), tmp_path / f"{name}.onnx")
        for s, name in ((0.0, "fp32"), (0.02, "int8"))
    )
    result = compare(fp32, int8, MemoryDataset.of(images, names), protocol=protocol)
    report = result.report
    assert report["images"] == 3
    if protocol == "zoo":
        dataset = MemoryDataset.of(images, names)
        confusion = compare(fp32, int8, dataset, protocol="voc-native").per_image["counts_fp32"]
        right = confusion.reshape(3, 19, 19).trace(axis1=1, axis2=2)
        assert result.per_image["counts_fp32"].tolist() == [
            [r, 2 * 600 - r, 19 * 600 - 2 * (600 - r), 19 * 600] for r in right.tolist()
        ]  # every pixel is one class in truth and one in prediction, label 0 like any
    else:
        assert set(report["fp32"]["per_class_iou"]) == set(names)
        assert np.array(report["confusion"]["fp32"]).sum() == 3 * 600
