"""COCO instance annotations as semantic truth, in the two ways that published protocols make it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from fcn_onnx.data.sample import VOC_CLASSES, VOID, Sample
from fcn_onnx.errors import DatasetError
from fcn_onnx.jobs.artifact import digest_file

CATEGORIES: tuple[int, ...] = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
"""COCO category of each VOC label (pytorch/vision `references/segmentation/coco_utils.py`)."""

LABEL_OF_CATEGORY: Mapping[int, int] = {category: label for label, category in enumerate(CATEGORIES) if label}

Masks = list[tuple[int, NDArray[np.bool_]]]
"""Label and (H, W) bool mask of each instance."""


def label_map_of(masks: Masks, height: int, width: int) -> NDArray[np.uint8]:
    """(H, W) uint8: the largest label at each pixel; `VOID` wherever two instances overlap, even of one class.

    Source: pytorch/vision `ConvertCocoPolysToMask`.
    """
    labels = np.zeros((height, width), np.uint8)
    instances = np.zeros((height, width), np.uint16)
    for label, mask in masks:
        np.maximum(labels, np.where(mask, np.uint8(label), np.uint8(0)), out=labels)
        instances += mask
    labels[instances > 1] = VOID
    return labels


def multilabel_of(masks: Masks, height: int, width: int, classes: int = len(VOC_CLASSES)) -> NDArray[np.bool_]:
    """(classes, H, W) bool: the union of each class's masks, overlaps kept; channel 0 is where no class is.

    Source: the ONNX model zoo's `validation_accuracy.ipynb`.
    """
    planes = np.zeros((classes, height, width), bool)
    for label, mask in masks:
        planes[label] |= mask
    planes[0] = ~planes[1:].any(0)
    return planes


@dataclass(frozen=True)
class CocoDataset:
    """Images that an annotation file lists; those in the folder that it does not list are no part of it."""

    root: Path
    samples: tuple[Sample, ...]
    description: str
    sizes: Mapping[int | str, tuple[int, int]] = field(repr=False)
    annotations: Mapping[int | str, list[dict[str, Any]]] = field(repr=False)
    source: Path
    labels: Mapping[int, int] = field(repr=False)
    kind: str = "coco"
    labelled: bool = True
    classes: tuple[str, ...] = VOC_CLASSES

    @classmethod
    def open(cls, root: Path, source: Path, classes: tuple[str, ...] = VOC_CLASSES) -> CocoDataset:
        """Read and check an `instances_*.json` for the images in `root`.

        Categories that are none of `classes` are background. VOC's classes are found by their published category
        numbers, others by name.

        Raises:
            DatasetError: the file is not COCO, names what is not there, or has no category for a class.
        """
        content = _read_json(source)
        categories = {c["id"] for c in content["categories"]}
        labels = LABEL_OF_CATEGORY if classes == VOC_CLASSES else _labels_by_name(content, classes, source)
        sizes, samples = _images(content["images"], root, source)
        annotations: dict[int | str, list[dict[str, Any]]] = {sample.id: [] for sample in samples}
        for annotation in content["annotations"]:
            name = f"annotation {annotation.get('id', '?')} of {source}"
            if annotation.get("image_id") not in annotations:
                raise DatasetError(
                    f"{name} is of image {annotation.get('image_id')}, which is not listed",
                    fix="correct the file",
                )
            if annotation.get("category_id") not in categories:
                raise DatasetError(
                    f"{name} has the unknown category {annotation.get('category_id')}",
                    fix="list it under `categories`, or correct the annotation",
                )
            if annotation["category_id"] in labels:
                annotations[annotation["image_id"]].append(annotation)
        surplus = sum(1 for p in root.iterdir() if p.suffix.lower() in (".jpg", ".png")) - len(samples)
        ignored = f"; {surplus} files in the folder have no annotation entry" if surplus > 0 else ""
        text = f"{root}: {len(samples)} images with COCO annotations from {source}{ignored}"
        return cls(root, samples, text, sizes, annotations, source, labels, classes=classes)

    def fingerprint(self) -> str:
        """Digest of the annotation file."""
        return digest_file(self.source)

    def classes_in(self, sample: Sample) -> frozenset[int]:
        """Labels of the image's annotations, from the file alone."""
        return frozenset(self.labels[a["category_id"]] for a in self.annotations[sample.id])

    def labelled_area(self, sample: Sample) -> float:
        """Sum of the `area` of the image's annotations of a class, in pixels; where none is given, the mask's."""
        height, width = self.sizes[sample.id]
        return sum(
            float(a["area"]) if "area" in a else float(decode_mask(a, height, width, self.source).sum())
            for a in self.annotations[sample.id]
        )

    def label_map(self, sample: Sample) -> NDArray[np.uint8]:
        """See `label_map_of`."""
        return label_map_of(self._masks(sample), *self.sizes[sample.id])

    def multilabel(self, sample: Sample) -> NDArray[np.bool_]:
        """See `multilabel_of`."""
        return multilabel_of(self._masks(sample), *self.sizes[sample.id], len(self.classes))

    def _masks(self, sample: Sample) -> Masks:
        height, width = self.sizes[sample.id]
        with Image.open(sample.path) as image:
            found = image.size
        if found != (width, height):
            turned = " (its EXIF orientation turned it: annotate the stored pixels)" if found == (height, width) else ""
            raise DatasetError(
                f"{sample.path} is {found[0]}×{found[1]}, and {self.source} says {width}×{height}{turned}",
                fix="use the image that was annotated",
            )
        return [
            (self.labels[a["category_id"]], decode_mask(a, height, width, self.source))
            for a in self.annotations[sample.id]
        ]


def _labels_by_name(content: Mapping[str, Any], classes: tuple[str, ...], source: Path) -> dict[int, int]:
    """Label by category number, for the categories that are called as a class is."""
    numbers = {c.get("name"): c["id"] for c in content["categories"]}
    unknown = [name for name in classes[1:] if name not in numbers]
    if unknown:
        raise DatasetError(
            f"{source} has no category called {_shortened(map(repr, unknown))}; it has {_shortened(map(str, numbers))}",
            fix="write the categories' own names into the --classes file",
        )
    return {numbers[name]: label for label, name in enumerate(classes) if label}


def _shortened(names: Iterable[str], most: int = 12) -> str:
    """The first names, and how many there are more."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def decode_mask(annotation: Mapping[str, Any], height: int, width: int, source: Path) -> NDArray[np.bool_]:
    """(H, W) bool of one annotation: polygons, or run lengths, compressed or not.

    pycocotools reads past its buffers on malformed input, so everything is checked first.

    Raises:
        DatasetError: the segmentation is malformed.
    """

    def bad(why: str) -> DatasetError:
        return DatasetError(
            f"annotation {annotation.get('id', '?')} of {source} has a bad segmentation: {why}",
            fix="correct or remove the annotation",
        )

    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                raise bad("a polygon needs three points or more, as x, y, x, y, …")
            if not all(isinstance(x, int | float) and math.isfinite(x) for x in polygon):
                raise bad("a polygon's coordinates must be finite numbers")
        if not segmentation:
            raise bad("it is empty")
        encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        if segmentation.get("size") != [height, width]:
            raise bad(f"its size is {segmentation.get('size')}, the image's is {[height, width]}")
        lengths = _run_lengths(counts)
        if lengths is None or sum(lengths) != height * width:
            raise bad("its run lengths do not add up to the image")
        encoded = coco_mask.frPyObjects({"counts": lengths, "size": [height, width]}, height, width)
    else:
        raise bad(f"it is {type(segmentation).__name__}, neither polygons nor run lengths")
    return np.asarray(coco_mask.decode(encoded), dtype=bool)


def _run_lengths(counts: Any) -> list[int] | None:
    """Run lengths from a list, or from COCO's compressed text; None where they are neither.

    The text holds 5 bits a character from ASCII 48 up, low bits first, bit 5 meaning "more follows", sign
    extended; from the third on, each is the difference to the one two before (cocoapi `maskApi.c`, rleFrString).
    """
    if isinstance(counts, list):
        return counts if all(type(n) is int and n >= 0 for n in counts) else None
    if not isinstance(counts, str | bytes):
        return None
    codes = counts.encode() if isinstance(counts, str) else counts
    lengths: list[int] = []
    value = shift = 0
    for code in codes:
        bits = code - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            value += lengths[-2] if len(lengths) > 2 else 0
            if value < 0:
                return None
            lengths.append(value)
            value = shift = 0
    return lengths if shift == 0 else None


def _read_json(source: Path) -> dict[str, Any]:
    try:
        content = json.loads(source.read_bytes())
    except FileNotFoundError as error:
        raise DatasetError(f"no such annotations: {source}", fix="name the instances_*.json") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{source} is not JSON: {error}", fix="fetch the annotations again") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not _is_records(content.get(key)):
            raise DatasetError(f"{source} has no list {key!r}: not a COCO instances file", fix="name another file")
    if not all("id" in c for c in content["categories"]):
        raise DatasetError(f"{source} has a category without an id", fix="correct the file")
    return dict(content)


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _images(
    records: Iterable[Mapping[str, Any]], root: Path, source: Path
) -> tuple[dict[int | str, tuple[int, int]], tuple[Sample, ...]]:
    sizes: dict[int | str, tuple[int, int]] = {}
    samples, missing = [], []
    for record in records:
        if not {"id", "file_name", "height", "width"} <= set(record):
            raise DatasetError(f"{source} has an image without id, file_name or size", fix="correct the file")
        name, key = str(record["file_name"]), record["id"]
        pure = PurePosixPath(name)
        path = root / pure
        if pure.is_absolute() or ".." in pure.parts or not path.resolve().is_relative_to(root.resolve()):
            raise DatasetError(f"{source} names {name!r}, which leaves {root}", fix="correct the file")
        if key in sizes:
            raise DatasetError(f"{source} lists image {key} twice", fix="correct the file")
        sizes[key] = (int(record["height"]), int(record["width"]))
        samples.append(Sample(key, pure.as_posix(), path))
        if not path.is_file():
            missing.append(name)
    if missing:
        raise DatasetError(
            f"{source} lists {len(missing)} images that are not in {root}, first {missing[0]}",
            fix="complete the folder, or use annotations of what is there (--annotations)",
        )
    return sizes, tuple(sorted(samples, key=lambda sample: sample.id))
