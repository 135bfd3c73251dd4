"""Annotations that crash pycocotools, or whose fields are of other types."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import refused
from pycocotools import mask as coco_mask
from toys import pixel_classifier, save, write_coco

from fcn_onnx.data.sets.coco import CocoDataset
from fcn_onnx.data.sets.coco_masks import decode_mask
from fcn_onnx.errors import DatasetError

SOURCE = Path("instances.json")
Content = dict[str, Any]


def with_polygon(folder: Path, polygon: list[float]) -> Path:
    images = write_coco(folder)
    source = folder / "annotations" / "instances_val2017.json"
    content = json.loads(source.read_text())
    content["annotations"][0] |= {"segmentation": [polygon], "id": 4711}
    source.write_text(json.dumps(content))
    return images


@pytest.mark.parametrize("far", [1e9, 1e7, 1e300, -1e5])
def test_a_polygon_far_outside_of_its_image_is_refused_by_its_id(tmp_path: Path, far: float) -> None:
    images = with_polygon(tmp_path, [0, 0, far, 0, far, far])
    model = save(pixel_classifier(), tmp_path / "model.onnx")
    said = refused(
        "validate", "--fp32", model, "--int8", model, "--data", images, "--report", tmp_path / "r", memory=4 << 30
    )
    assert "annotation 4711" in said
    assert "outside" in said


@settings(deadline=None, max_examples=300)
@given(
    st.integers(1, 24),
    st.integers(1, 24),
    st.lists(st.lists(st.floats(-1, 2), min_size=6, max_size=16), min_size=1, max_size=2),
)
def test_polygons_near_their_image_are_cut_at_its_edge(height: int, width: int, shapes: list[list[float]]) -> None:
    """The mask is that of the same polygons on a canvas of three by three images, where they lie inside.

    pycocotools rounds coordinates to a grid of fifths of a pixel, those below 0 towards 0; so they are rounded here,
    and moved by whole pixels.
    """
    polygons = [[v * (height if i % 2 else width) for i, v in enumerate(s[: len(s) // 2 * 2])] for s in shapes]
    found = decode_mask({"segmentation": polygons}, height, width, SOURCE)
    moved = [[int(5 * v + 0.5) / 5 + (height if i % 2 else width) for i, v in enumerate(p)] for p in polygons]
    whole = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(moved, 3 * height, 3 * width)))
    assert np.array_equal(found, whole[height : 2 * height, width : 2 * width])


def test_an_outline_of_endless_turns_is_refused() -> None:
    polygon = [v for k in range(20_000) for v in (0, k % 480, 640, k % 480)]
    with pytest.raises(DatasetError, match="outline"):
        decode_mask({"segmentation": [polygon], "id": 7}, 480, 640, SOURCE)


WRONG: dict[str, Callable[[Content], object]] = {
    "id of a list": lambda c: c["images"][0].update(id=[1]),
    "ids of both kinds": lambda c: c["images"][0].update(id=1.5),
    "height of text": lambda c: c["images"][0].update(height="tall"),
    "height below 1": lambda c: c["images"][0].update(height=-48),
    "height of 10^18": lambda c: c["images"][0].update(height=10**18),
    "name of a number": lambda c: c["images"][0].update(file_name=7),
    "name with a NUL": lambda c: c["images"][0].update(file_name="a\0.jpg"),
    "name with half a character": lambda c: c["images"][0].update(file_name="\ud800.jpg"),
    "name of 10,000 characters": lambda c: c["images"][0].update(file_name="a" * 10_000),
    "name of the folder": lambda c: c["images"][0].update(file_name="."),
    "image id of a dictionary": lambda c: c["annotations"][0].update(image_id={}),
    "no image id": lambda c: c["annotations"][0].pop("image_id"),
    "category of a list": lambda c: c["annotations"][0].update(category_id=[3]),
    "category id of a list": lambda c: c["categories"][0].update(id=[3]),
    "category name of a list": lambda c: c["categories"][0].update(name=["cat"]),
    "area of text": lambda c: c["annotations"][0].update(area="large"),
    "area of NaN": lambda c: c["annotations"][0].update(area=float("nan")),
    "area of null": lambda c: c["annotations"][0].update(area=None),
    "coordinate of 10^400": lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, 10**400]]),
    "coordinate of NaN": lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, float("nan")]]),
    "coordinate of true": lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, True]]),
    "counts with half a character": lambda c: c["annotations"][0].update(
        segmentation={"size": [48, 64], "counts": "\ud800"}
    ),
    "counts of numbers and text": lambda c: c["annotations"][0].update(
        segmentation={"size": [48, 64], "counts": [3072, "0"]}
    ),
    "counts past 32 bits": lambda c: c["annotations"][0].update(
        segmentation={"size": [48, 64], "counts": [2**32, 3072 - 2**32]}
    ),
    "size of text": lambda c: c["annotations"][0].update(segmentation={"size": "48x64", "counts": [3072]}),
}


@pytest.mark.parametrize("what", WRONG)
def test_fields_of_another_type_are_refused(tmp_path: Path, what: str) -> None:
    images = write_coco(tmp_path)
    source = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(source.read_text())
    WRONG[what](content)
    source.write_text(json.dumps(content))
    with pytest.raises(DatasetError) as caught:
        dataset = CocoDataset.open(images, source)
        for sample in dataset.samples:
            dataset.labelled_area(sample)
            dataset.label_map(sample)
    assert str(source) in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": ' * 5_000, "1" * 5_000])
def test_deep_and_long_json_is_refused(tmp_path: Path, text: str) -> None:
    source = tmp_path / "annotations.json"
    source.write_text(text)
    with pytest.raises(DatasetError, match="is not JSON"):
        CocoDataset.open(tmp_path, source)


def test_a_value_nested_to_the_limit_can_be_named(tmp_path: Path) -> None:
    images = write_coco(tmp_path)
    source = tmp_path / "annotations" / "instances_val2017.json"
    content = source.read_text()
    for depth in range(900, 1000, 7):
        source.write_text(content.replace('"area": ', f'"area": {"[" * depth + "]" * depth}, "was": ', 1))
        with pytest.raises(DatasetError):
            CocoDataset.open(images, source)


def test_ids_of_numbers_and_text_are_in_one_order(tmp_path: Path) -> None:
    images = write_coco(tmp_path)
    source = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(source.read_text())
    first = content["images"][0]["id"]
    content["images"][0]["id"] = "zebra"
    for annotation in content["annotations"]:
        annotation["image_id"] = "zebra" if annotation["image_id"] == first else annotation["image_id"]
    source.write_text(json.dumps(content))
    assert CocoDataset.open(images, source).samples[-1].id == "zebra"


@pytest.mark.parametrize("kind", ["/dev/zero", "pipe", "folder"])
def test_annotations_that_are_no_file_are_refused(tmp_path: Path, kind: str) -> None:
    source = Path(kind)
    if kind != "/dev/zero":
        source = tmp_path / kind
        os.mkfifo(source) if kind == "pipe" else source.mkdir()
    with pytest.raises(DatasetError, match="not a file"):
        CocoDataset.open(tmp_path, source)
