"""Scenes as a COCO data set: JPEG files and one `instances_*.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from fcn_onnx.demo.categories import COCO_CATEGORIES
from fcn_onnx.demo.geometry import Polygon
from fcn_onnx.demo.layout import Instance, Scene, compose
from fcn_onnx.errors import OutputError, UsageError
from fcn_onnx.jobs.artifact import atomic_folder
from fcn_onnx.jobs.progress import SILENT, Progress

JPEG_QUALITY = 90
DESCRIPTION = "fcn-onnx synthetic street scenes"
HEAD_BYTES = 200
"""Of the annotations, which begin with the description."""

Record = dict[str, Any]


def write_scenes(
    folder: Path,
    *,
    images: int,
    seed: int = 0,
    split: str = "val2017",
    size: tuple[int, int] = (240, 320),
    progress: Progress = SILENT,
) -> None:
    """Write `<folder>/<split>/000000000001.jpg …` and `<folder>/annotations/instances_<split>.json`.

    The scenes are streets with things of all 20 VOC classes, some other COCO categories and some emptiness;
    there are polygons in one and more parts, crowds, overlaps, grey images and images of many sizes.
    Image k depends on `seed`, `size` and k only (and, in its last bits, on Pillow's JPEG encoder). Nothing is
    written before all is drawn; files of other names that are in the folder stay.

    Args:
        folder: where to write; made if need be.
        images: how many, at least 1; 20 or more hold every class.
        seed: names a family of scenes; two seeds have no scene in common.
        split: the name of the image folder, as COCO's `val2017`.
        size: typical (height, width) in pixels, each at least 64.
        progress: told of each image.

    Raises:
        UsageError: `images` or `size` is too small.
        OutputError: `folder` cannot be written, or holds annotations that are not of such scenes.
    """
    if images < 1 or min(size) < 64:
        raise UsageError(f"cannot make {images} scenes of {size[0]}x{size[1]}", fix="ask for at least 1 image of 64x64")
    instances = folder / "annotations" / f"instances_{split}.json"
    _require_own(instances)
    with atomic_folder(folder) as temporary:
        for name in (split, "annotations"):
            (temporary / name).mkdir()
        scenes = (compose(seed, index, size) for index in range(images))
        drawn = progress.track(scenes, total=images, label="drawing scenes")
        table = _table(seed, *_written(drawn, temporary / split))
        text = json.dumps(table, separators=(",", ":"))
        (temporary / "annotations" / instances.name).write_text(text, encoding="utf-8")


def _require_own(instances: Path) -> None:
    """Raise OutputError if there are annotations, and not of such scenes."""
    if instances.is_file():
        with instances.open("rb") as stream:
            if DESCRIPTION.encode() not in stream.read(HEAD_BYTES):
                raise OutputError(f"{instances} is there, and not of our scenes", fix="name an empty or a new folder")


def _written(scenes: Iterable[Scene], folder: Path) -> tuple[list[Record], list[Record]]:
    """Every scene as a file, and COCO's records of the images and of what is on them."""
    images: list[Record] = []
    annotations: list[Record] = []
    for image_id, scene in enumerate(scenes, start=1):
        width, height = scene.image.size
        file_name = f"{image_id:012d}.jpg"
        scene.image.save(folder / file_name, quality=JPEG_QUALITY)
        images.append({"id": image_id, "file_name": file_name, "height": height, "width": width, "license": 1})
        for instance in scene.instances:
            annotations.append(_annotation(instance, len(annotations) + 1, image_id, height, width))
    return images, annotations


def _table(seed: int, images: list[Record], annotations: list[Record]) -> Record:
    """What the file of annotations holds; it begins with the description."""
    return {
        "info": {"description": DESCRIPTION, "version": "1", "seed": seed},
        "licenses": [{"id": 1, "name": "MIT License", "url": "https://opensource.org/license/mit"}],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"supercategory": above, "id": number, "name": name}
            for above, members in COCO_CATEGORIES.items()
            for number, name in members
        ],
    }


def _annotation(instance: Instance, annotation_id: int, image_id: int, height: int, width: int) -> Record:
    """COCO's record of an instance; area is that of its mask, the box that of its polygons or mask."""
    segmentation: Any
    if instance.crowd:
        mask = _rasterise(instance.polygons, height, width)
        segmentation = {"counts": run_lengths(mask), "size": [height, width]}
        area = float(mask.sum())
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        corners = [(float(columns[0]), float(rows[0])), (float(columns[-1] + 1), float(rows[-1] + 1))]
    else:
        segmentation = [[round(v, 2) for point in polygon for v in point] for polygon in instance.polygons]
        runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        area = float(coco_mask.area(runs))
        corners = [(flat[k], flat[k + 1]) for flat in segmentation for k in range(0, len(flat), 2)]
    (left, right), (top, bottom) = ((min(side), max(side)) for side in zip(*corners, strict=True))
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": instance.category_id,
        "iscrowd": int(instance.crowd),
        "area": area,
        "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
        "segmentation": segmentation,
    }


def _rasterise(polygons: tuple[Polygon, ...], height: int, width: int) -> NDArray[np.bool_]:
    mask = Image.new("1", (width, height))
    draw = ImageDraw.Draw(mask)
    for polygon in polygons:
        draw.polygon([(x - 0.5, y - 0.5) for x, y in polygon], fill=1)
    return np.array(mask, dtype=np.bool_)


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run-length code of a (H, W) mask: down the columns, first a run of zeros."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff([0, *changes, pixels.size])
    return [int(run) for run in ([0, *runs] if pixels[0] else runs)]
