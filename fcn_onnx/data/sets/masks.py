"""Images in one folder, and masks of the same names in another."""

from __future__ import annotations

import os
from pathlib import Path

from fcn_onnx.data.label_spaces import default_classes, label_space
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.folder import FolderDataset
from fcn_onnx.data.sets.label_map import read_label_map
from fcn_onnx.data.sets.mask_files import LABELS, MaskDataset, require_inside
from fcn_onnx.errors import DatasetError


def open_masks(
    data: Path, masks: Path, label_map: Path | None, classes: tuple[str, ...], number: int | None
) -> MaskDataset:
    """Every image below `data`, but for what is below `masks`; its mask is called as it is, up to the suffix.

    Args:
        data: a folder of images.
        masks: a folder of PNG files: `a/b.jpg` has the mask `a/b.png`.
        label_map: what their values mean; without one, values are labels, and 255 is void.
        classes: names in label order; where there are none, `default_classes` of `number`.

    Raises:
        DatasetError: there is no such folder, no image, or no mask of one; or two images share a mask.
    """
    if not masks.is_dir():
        raise DatasetError(f"there is no folder {masks}", fix="name the folder of the masks with --masks")
    folder = masks.resolve()
    images = [s for s in FolderDataset.open(data).samples if not s.path.resolve().is_relative_to(folder)]
    if not images:
        raise DatasetError(f"no image in {data} but those in {masks}", fix="keep images and masks in two folders")
    space = label_space(classes or default_classes(number))
    found: dict[Path, Sample] = {}
    missing = []
    for sample in images:
        mask = masks / Path(sample.name).with_suffix(".png")
        if mask in found:
            raise DatasetError(f"{sample.name} and {found[mask].name} would have one mask, {mask}", fix="rename one")
        found[mask] = sample
        if not os.path.lexists(mask):
            missing.append((sample, mask))
    if missing:
        sample, mask = missing[0]
        raise DatasetError(
            f"{len(missing)} of {len(images)} images have no mask, first {sample.path}: {mask} is missing",
            fix="complete the masks, or take the images without one out of the folder",
        )
    paths = {s.name: require_inside(mask, folder, f"the mask of {s.name}") for mask, s in found.items()}
    values = LABELS if label_map is None else read_label_map(label_map, space)
    surplus = sum(1 for _ in masks.rglob("*.png")) - len(paths)
    ignored = f"; {surplus} masks there are of no image" if surplus > 0 else ""
    text = f"{data}: {len(images)} images with masks in {masks}, {len(space.names)} classes{ignored}"
    return MaskDataset(data, tuple(images), text, paths, space, values)
