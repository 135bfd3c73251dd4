"""Synthetic scenes: are they valid COCO, is their truth what was drawn, do they hold every hard case."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from fcn_onnx.demo.backdrop import paint_parts
from fcn_onnx.demo.figures import OTHER_FIGURES, VOC_FIGURES
from fcn_onnx.demo.geometry import Box, behind, clip, clip_to_image, place, shoelace
from fcn_onnx.demo.layout import compose
from fcn_onnx.demo.writer import run_lengths, write_scenes
from fcn_onnx.errors import OutputError, UsageError

COCO_NAMES = {
    5: "airplane", 2: "bicycle", 16: "bird", 9: "boat", 44: "bottle", 6: "bus", 3: "car", 17: "cat",
    62: "chair", 21: "cow", 67: "dining table", 18: "dog", 19: "horse", 4: "motorcycle", 1: "person",
    64: "potted plant", 20: "sheep", 63: "couch", 7: "train", 72: "tv",
}  # fmt: skip
"""The 20 VOC classes in VOC order, by the ids and names that COCO gives them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes")
    write_scenes(path, images=40)
    return path


@pytest.fixture(scope="module")
def coco(folder: Path) -> COCO:
    return COCO(folder / "annotations" / "instances_val2017.json")


def annotations_of(coco: COCO, image_id: int) -> list[dict[str, Any]]:
    return list(coco.loadAnns(coco.getAnnIds(image_id)))


def test_images_are_what_the_table_says(folder: Path, coco: COCO) -> None:
    records = coco.loadImgs(coco.getImgIds())
    assert [record["id"] for record in records] == list(range(1, 41))
    assert [record["file_name"] for record in records] == [f"{k:012d}.jpg" for k in range(1, 41)]
    assert sorted(p.name for p in (folder / "val2017").iterdir()) == [r["file_name"] for r in records]
    modes = set()
    for record in records:
        with Image.open(folder / "val2017" / record["file_name"]) as image:
            assert image.format == "JPEG"
            assert image.size == (record["width"], record["height"])
            modes.add(image.mode)
    assert modes == {"RGB", "L"}
    assert len({(r["width"], r["height"]) for r in records}) > 10
    assert {r["width"] > r["height"] for r in records} == {True, False}


def test_categories_are_cocos(coco: COCO) -> None:
    names = {category["id"]: category["name"] for category in coco.dataset["categories"]}
    assert len(names) == 80
    assert names.items() >= COCO_NAMES.items()
    assert [figure.category_id for figure in VOC_FIGURES.values()] == list(COCO_NAMES)
    assert all(names[figure.category_id] == name for name, figure in OTHER_FIGURES.items())


def test_each_annotation_agrees_with_its_mask(coco: COCO) -> None:
    assert coco.anns
    for number, annotation in coco.anns.items():
        mask = coco.annToMask(annotation)
        assert annotation["area"] == mask.sum() > 0, number
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y, w, h = annotation["bbox"]
        edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        # polygons have fractions of pixels that the mask rounds away, and slim tips that it misses
        np.testing.assert_allclose((x, y, x + w, y + h), edges, atol=0 if annotation["iscrowd"] else 5)
        record = coco.imgs[annotation["image_id"]]
        assert 0 <= x <= x + w <= record["width"] + 0.01
        assert 0 <= y <= y + h <= record["height"] + 0.01


def test_crowds_are_runs_down_the_columns(coco: COCO) -> None:
    crowds = [annotation for annotation in coco.anns.values() if annotation["iscrowd"]]
    assert crowds
    for crowd in crowds:
        height, width = crowd["segmentation"]["size"]
        pixels: list[int] = []
        for k, run in enumerate(crowd["segmentation"]["counts"]):
            pixels += [k % 2] * run
        literal = np.array(pixels).reshape(width, height).T
        np.testing.assert_array_equal(literal, coco.annToMask(crowd))


def test_the_hard_cases_are_there(coco: COCO) -> None:
    parts = [len(a["segmentation"]) for a in coco.anns.values() if not a["iscrowd"]]
    assert 1 in parts
    assert max(parts) > 1
    overlaps: set[bool] = set()  # by whether the two are of one class
    shares = []
    for image_id in coco.imgs:
        present = annotations_of(coco, image_id)
        masks = [coco.annToMask(annotation) for annotation in present]
        for i, first in enumerate(present):
            for j in range(i):
                if (masks[i] & masks[j]).any():
                    overlaps.add(first["category_id"] == present[j]["category_id"])
        if masks:
            covered = np.sum(masks, axis=0)
            shares.append((covered > 1).sum() / (covered > 0).sum())
    assert overlaps == {True, False}
    assert np.mean(shares) < 0.15
    in_image = [{a["category_id"] for a in annotations_of(coco, k)} for k in coco.imgs]
    assert set() in in_image
    assert any(ids and not ids & set(COCO_NAMES) for ids in in_image)
    assert any(ids - set(COCO_NAMES) and ids & set(COCO_NAMES) for ids in in_image)


@pytest.mark.parametrize("seed", [0, 1, 1000])
def test_forty_scenes_hold_every_class(seed: int) -> None:
    found = [i.category_id for index in range(40) for i in compose(seed, index, (80, 107)).instances]
    assert min(found.count(number) for number in COCO_NAMES) >= 2


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name, images, seed in (("a", 6, 3), ("b", 6, 3), ("short", 4, 3), ("other", 6, 4)):
        write_scenes(tmp_path / name, images=images, seed=seed, split="train2017", size=(96, 128))

    def contents(name: str) -> dict[str, bytes]:
        root = tmp_path / name
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    first, table = contents("a"), "annotations/instances_train2017.json"
    assert first == contents("b")
    assert sorted(first) == [table, *(f"train2017/{k:012d}.jpg" for k in range(1, 7))]
    shorter = contents("short")
    few, many = json.loads(shorter.pop(table)), json.loads(first.pop(table))
    assert shorter.items() <= first.items()
    assert few["images"] == many["images"][:4]
    assert few["annotations"] == many["annotations"][: len(few["annotations"])]
    assert not set(first.values()) & set(contents("other").values())


@pytest.mark.parametrize("name", [*VOC_FIGURES, *OTHER_FIGURES])
def test_an_outline_is_what_was_drawn(name: str) -> None:
    figure = VOC_FIGURES.get(name) or OTHER_FIGURES[name]
    for seed in range(4):
        backgrounds = []
        parts = place(figure.draw(Random(seed)), Box(40, 40, 300, 300 * figure.aspect), mirrored=seed % 2 == 1)
        height = int(80 + 300 * figure.aspect)
        for colour in ((255, 0, 255), (0, 255, 0)):  # what differs on two grounds is ground
            image = Image.new("RGB", (380, height), colour)
            paint_parts(ImageDraw.Draw(image), parts)
            backgrounds.append(np.array(image))
        drawn = (backgrounds[0] == backgrounds[1]).all(axis=2)
        flat = [[v for point in part.points for v in point] for part in parts if part.outline]
        mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, height, 380))).astype(bool)
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.94


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=7))
def test_run_lengths_decode_to_the_mask(rows: list[list[bool]]) -> None:
    mask = np.array(rows)
    height, width = mask.shape
    runs = coco_mask.frPyObjects({"counts": run_lengths(mask), "size": [height, width]}, height, width)
    np.testing.assert_array_equal(coco_mask.decode(runs), mask)


def test_clipping_a_triangle() -> None:
    triangle = ((0.0, 0.0), (4.0, 0.0), (0.0, 4.0))
    assert shoelace(triangle) == 8
    assert set(clip(triangle, 0, 1.0, keep_below=True)) == {(0, 0), (1, 0), (1, 3), (0, 4)}
    assert set(clip(triangle, 1, 3.0, keep_below=False)) == {(0, 3), (1, 3), (0, 4)}
    assert clip(triangle, 0, 5.0, keep_below=False) == ()
    assert clip_to_image(triangle, 10, 10) == triangle
    assert shoelace(clip_to_image(triangle, 2, 2)) == 4
    assert clip_to_image((), 2, 2) == ()


def test_a_post_cuts_what_stands_behind_it_in_two() -> None:
    square = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))
    left, right = behind(square, Box(4, -5, 2, 20))
    assert (shoelace(left), shoelace(right)) == (40, 40)
    assert max(x for x, _ in left) == 4
    assert min(x for x, _ in right) == 6
    assert behind(square, Box(4, 10, 2, 5)) == (square,)


@pytest.mark.parametrize("wrong", [{"images": 0}, {"images": 3, "size": (63, 200)}])
def test_too_little_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        write_scenes(tmp_path / "scenes", **wrong)
    assert not (tmp_path / "scenes").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scenes").write_text("in the way")
    with pytest.raises(OutputError):
        write_scenes(tmp_path / "scenes", images=1)
