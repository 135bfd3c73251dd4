"""COCO truth against pycocotools and loops, and annotations that are refused."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from toys import COCO_OF_VOC, photograph, rectangle, run_lengths, write_coco

from fcn_onnx.data.sets.coco import CocoDataset
from fcn_onnx.demo.writer import write_scenes
from fcn_onnx.errors import DatasetError


def open_toy(folder: Path) -> CocoDataset:
    return CocoDataset.open(folder / "val2017", folder / "annotations" / "instances_val2017.json")


def literal_truth(coco: COCO, image_id: int) -> tuple[np.ndarray, np.ndarray]:
    """torchvision's label map and the zoo's planes, pixel by pixel from pycocotools' masks."""
    info = coco.loadImgs(image_id)[0]
    height, width = info["height"], info["width"]
    labels = np.zeros((height, width), int)
    planes = np.zeros((21, height, width), bool)
    annotations = [a for a in coco.loadAnns(coco.getAnnIds(image_id)) if a["category_id"] in COCO_OF_VOC]
    masks = [(COCO_OF_VOC.index(a["category_id"]), coco.annToMask(a)) for a in annotations]
    for y in range(height):
        for x in range(width):
            here = [label for label, mask in masks if mask[y, x]]
            labels[y, x] = 255 if len(here) > 1 else max(here, default=0)
            for label in here:
                planes[label, y, x] = True
            planes[0, y, x] = not here
    return labels, planes


@pytest.mark.parametrize("source", ["toy", "scenes"])
def test_truth_equals_a_loop_over_pycocotools_masks(tmp_path: Path, source: str) -> None:
    if source == "toy":
        write_coco(tmp_path)
    else:
        write_scenes(tmp_path, images=12, seed=3, size=(64, 80))
    dataset = open_toy(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(dataset.source))
    seen = set()
    for sample in dataset.samples:
        labels, planes = literal_truth(coco, int(sample.id))
        assert np.array_equal(dataset.label_map(sample), labels)
        assert np.array_equal(dataset.multilabel(sample), planes)
        assert dataset.classes_in(sample) >= set(np.unique(labels)) - {0, 255}
        seen |= set(np.unique(labels))
    assert 255 in seen
    assert 0 in seen


def test_compressed_run_lengths_are_read_too(tmp_path: Path) -> None:
    write_coco(tmp_path)
    source = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(source.read_text())
    mask = np.zeros((60, 48), bool)
    mask[10:30, 5:40] = True
    compressed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    for annotation in content["annotations"]:
        if annotation["iscrowd"]:
            annotation["segmentation"] = {"counts": compressed["counts"].decode(), "size": [60, 48]}
    before = open_toy(tmp_path)
    expected = before.label_map(before.samples[1])
    source.write_text(json.dumps(content))
    after = open_toy(tmp_path)
    assert np.array_equal(after.label_map(after.samples[1]), expected)


def _first(content: dict[str, Any]) -> dict[str, Any]:
    annotation: dict[str, Any] = content["annotations"][0]
    return annotation


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "odd polygon": (lambda c: _first(c).update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "three points"),
    "short polygon": (lambda c: _first(c).update(segmentation=[[1, 2, 3, 4]]), "three points"),
    "text in polygon": (lambda c: _first(c).update(segmentation=[[1, 2, 3, 4, 5, "6"]]), "finite numbers"),
    "empty polygon": (lambda c: _first(c).update(segmentation=[]), "empty"),
    "no segmentation": (lambda c: _first(c).pop("segmentation"), "neither polygons nor run lengths"),
    "short rle": (lambda c: _first(c).update(segmentation={"counts": [1, 2], "size": [48, 64]}), "add up"),
    "negative rle": (lambda c: _first(c).update(segmentation={"counts": [-1, 3073], "size": [48, 64]}), "add up"),
    "rle of another size": (
        lambda c: _first(c).update(segmentation=run_lengths(np.zeros((3, 3), bool))),
        "its size is [3, 3]",
    ),
    "bad compressed rle": (
        lambda c: _first(c).update(segmentation={"counts": "ooooooooooo", "size": [48, 64]}),
        "add up",
    ),
    "unknown image": (lambda c: _first(c).update(image_id=99), "image 99, which is not listed"),
    "unknown category": (lambda c: _first(c).update(category_id=1234), "unknown category 1234"),
    "missing image": (lambda c: c["images"][0].update(file_name="gone.jpg"), "gone.jpg"),
    "path outside": (lambda c: c["images"][0].update(file_name="../../secret.jpg"), "leaves"),
    "absolute path": (lambda c: c["images"][0].update(file_name="/etc/passwd"), "leaves"),
    "twice": (lambda c: c["images"].append(dict(c["images"][0])), "twice"),
    "no size": (lambda c: c["images"][0].pop("height"), "without id, file_name or size"),
    "no categories": (lambda c: c.pop("categories"), "'categories'"),
    "another size": (lambda c: c["images"][0].update(width=63), "63×48"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_annotations_are_refused_and_say_where(tmp_path: Path, damage: str) -> None:
    write_coco(tmp_path)
    source = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(source.read_text())
    change, words = DAMAGES[damage]
    change(content)
    source.write_text(json.dumps(content))
    with pytest.raises(DatasetError) as caught:
        dataset = open_toy(tmp_path)
        dataset.label_map(dataset.samples[0])
    assert words in str(caught.value)
    assert str(source) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": 3}', "\x00"])
def test_what_is_not_coco_is_refused(tmp_path: Path, text: str) -> None:
    write_coco(tmp_path)
    (tmp_path / "annotations" / "instances_val2017.json").write_text(text)
    with pytest.raises(DatasetError):
        open_toy(tmp_path)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    images = write_coco(tmp_path / "coco")
    outside = tmp_path / "outside.jpg"
    photograph(64, 48, 1).save(outside)
    (images / "000000000001.jpg").unlink()
    (images / "000000000001.jpg").symlink_to(outside)
    with pytest.raises(DatasetError, match="leaves"):
        open_toy(tmp_path / "coco")


def test_an_image_turned_by_exif_tools_is_named(tmp_path: Path) -> None:
    images = write_coco(tmp_path)
    path = images / "000000000001.jpg"
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    dataset = open_toy(tmp_path)
    with pytest.raises(DatasetError, match="EXIF orientation"):
        dataset.label_map(dataset.samples[0])


def test_other_files_in_the_folder_are_said(tmp_path: Path) -> None:
    images = write_coco(tmp_path)
    photograph(9, 9, 0).save(images / "extra.jpg")
    dataset = open_toy(tmp_path)
    assert "1 files in the folder have no annotation entry" in dataset.description
    assert len(dataset.samples) == 5


def test_rectangles_cover_what_they_say(tmp_path: Path) -> None:
    """A sanity check of the toy itself: a 25 × 35 rectangle, known without any library."""
    write_coco(tmp_path)
    dataset = open_toy(tmp_path)
    person = dataset.multilabel(dataset.samples[0])[15]
    assert person[5:40, 5:30].all()
    assert not person[:, :5].any()
    assert rectangle(0, 0, 2, 3) == [[0, 0, 2, 0, 2, 3, 0, 3]]
