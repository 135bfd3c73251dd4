"""COCO instance annotations as semantic truth, in the two ways that published protocols make it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.images import stored_size
from fcn_onnx.data.labels import VOC, VOID, LabelSpace
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.coco_json import listed_images, read_coco
from fcn_onnx.data.sets.coco_masks import decode_mask
from fcn_onnx.errors import DatasetError
from fcn_onnx.jobs.typed import shown

CATEGORIES: tuple[int, ...] = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
"""COCO category of each VOC label (pytorch/vision `references/segmentation/coco_utils.py`)."""

LABEL_OF_CATEGORY: Mapping[int, int] = {category: label for label, category in enumerate(CATEGORIES) if label}

Masks = list[tuple[int, NDArray[np.bool_]]]
"""Label and (H, W) bool mask of each instance."""


def label_map_of(masks: Masks, height: int, width: int, space: LabelSpace = VOC) -> NDArray[np.uint8]:
    """(H, W) uint8: the label of each pixel's instance; `VOID` wherever two overlap, even of one class.

    Where there is none, it is background; without one, what nobody annotated is `VOID`. (pytorch/vision
    `ConvertCocoPolysToMask`.)
    """
    nothing = np.uint8(VOID if space.background is None else space.background)
    labels = np.full((height, width), nothing)
    instances = np.zeros((height, width), np.uint16)
    for label, mask in masks:
        labels[mask] = label
        instances += mask
    labels[instances > 1] = VOID
    return labels


def multilabel_of(masks: Masks, height: int, width: int, space: LabelSpace = VOC) -> NDArray[np.bool_]:
    """(classes, H, W) bool: the union of each class's masks, overlaps kept; background is where no class is.

    Source: the ONNX model zoo's `validation_accuracy.ipynb`.
    """
    planes = np.zeros((len(space.names), height, width), bool)
    for label, mask in masks:
        planes[label] |= mask
    if space.background is not None:
        planes[space.background] = ~planes.any(0)
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
    digest: str
    labels: Mapping[int, int] = field(repr=False)
    kind: str = "coco"
    labelled: bool = True
    label_space: LabelSpace = VOC

    @classmethod
    def open(cls, root: Path, source: Path, space: LabelSpace = VOC) -> CocoDataset:
        """Read and check an `instances_*.json` for the images in `root`.

        Categories that are none of the classes are background. VOC's classes are found by their published category
        numbers, others by name.

        Raises:
            DatasetError: the file is not COCO, names what is not there, or has no category for a class.
        """
        content, digest = read_coco(source)
        categories = {c["id"] for c in content["categories"]}
        labels = LABEL_OF_CATEGORY if space.names == VOC.names else _labels_by_name(content, space, source)
        sizes, samples = listed_images(content["images"], root, source)
        annotations: dict[int | str, list[dict[str, Any]]] = {sample.id: [] for sample in samples}
        for annotation in content["annotations"]:
            name = f"annotation {shown(annotation.get('id', '?'))} of {source}"
            if annotation["image_id"] not in annotations:
                raise DatasetError(
                    f"{name} is of image {annotation['image_id']}, which is not listed",
                    fix="correct the file",
                )
            if annotation["category_id"] not in categories:
                raise DatasetError(
                    f"{name} has the unknown category {annotation['category_id']}",
                    fix="list it under `categories`, or correct the annotation",
                )
            if annotation["category_id"] in labels:
                annotations[annotation["image_id"]].append(annotation)
        surplus = sum(1 for p in root.iterdir() if p.suffix.lower() in (".jpg", ".png")) - len(samples)
        ignored = f"; {surplus} files in the folder have no annotation entry" if surplus > 0 else ""
        text = f"{root}: {len(samples)} images with COCO annotations from {source}{ignored}"
        return cls(root, samples, text, sizes, annotations, source, digest, labels, label_space=space)

    def fingerprint(self) -> str:
        """Digest of the annotation file, as it was read."""
        return self.digest

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
        return label_map_of(self._masks(sample), *self.sizes[sample.id], self.label_space)

    def multilabel(self, sample: Sample) -> NDArray[np.bool_]:
        """See `multilabel_of`."""
        return multilabel_of(self._masks(sample), *self.sizes[sample.id], self.label_space)

    def _masks(self, sample: Sample) -> Masks:
        height, width = self.sizes[sample.id]
        found = stored_size(sample.path)
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


def _labels_by_name(content: Mapping[str, Any], space: LabelSpace, source: Path) -> dict[int, int]:
    """Label by category number, for the categories that are called as a class is."""
    numbers = {c.get("name"): c["id"] for c in content["categories"]}
    unknown = [space.names[label] for label in space.things if space.names[label] not in numbers]
    if unknown:
        raise DatasetError(
            f"{source} has no category called {_shortened(map(repr, unknown))}; it has {_shortened(map(str, numbers))}",
            fix="write the categories' own names into the --classes file; what is none of them is a first line "
            "`background`",
        )
    return {numbers[space.names[label]]: label for label in space.things}


def _shortened(names: Iterable[str], most: int = 12) -> str:
    """The first names, and how many there are more."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more
