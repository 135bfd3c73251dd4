"""ADE20K as the MIT scene parsing benchmark has it: 150 classes, or TI's first 31 and all else."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.data.label_spaces import ADE20K, ADE20K32
from fcn_onnx.data.labels import VOID
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.mask_files import MaskDataset, Values, fitted, require_inside, require_split
from fcn_onnx.errors import DatasetError

NAME = "ADEChallengeData2016"
IMAGES, MASKS = "images", "annotations"
SPLITS = {"train": "training", "val": "validation"}
"""What the folders are called by others."""

COUNT = len(ADE20K.names)
ALL = Values({0: VOID, **{value: value - 1 for value in range(1, COUNT + 1)}}, said_by="ADE20K")
FIRST = len(ADE20K32.names)
FIRST_31 = Values({value: value if value < FIRST else 0 for value in range(COUNT + 1)}, said_by="ADE20K")


def recognises(folder: Path) -> bool:
    """Whether it is `ADEChallengeData2016`, or the folder that this is in."""
    return _root(folder) is not None


def open_ade20k(data: Path, split: str | None, classes: tuple[str, ...], number: int | None) -> MaskDataset:
    """`images/<split>/*.jpg` with `annotations/<split>/*.png`.

    For a model of 32 classes, masks are read as ADE20K32: numbers from 32 on are 0, which is counted as `other`. For
    any other, 0 is void, and number k has label k - 1.

    Raises:
        DatasetError: no such split, no image in it, a mask is missing, or the model has another number of classes.
    """
    root = _root(data) or data
    split = SPLITS.get(split or "val", split or "")
    require_split(split, [path.name for path in (root / IMAGES).iterdir() if path.is_dir()], root / IMAGES)
    images = sorted((root / IMAGES / split).glob("*.jpg"))
    if not images:
        raise DatasetError(f"{root / IMAGES / split} holds no image", fix="unpack the images there")
    few = (len(classes) or number) == FIRST
    folder = root.resolve()
    samples, masks = [], {}
    for image in images:
        name = image.relative_to(root).as_posix()
        samples.append(Sample(name, name, require_inside(image, folder, root)))
        masks[name] = require_inside(root / MASKS / split / f"{image.stem}.png", folder, f"the mask of {name}")
    space = fitted(ADE20K32 if few else ADE20K, classes, number, f"{root} (150 classes, or 32 as ADE20K32)")
    text = f"{root}: {len(samples)} images of ADE20K{FIRST if few else ''} {split} with {len(space.names)} classes"
    return MaskDataset(root, tuple(samples), text, masks, space, FIRST_31 if few else ALL, kind="ade20k")


def _root(folder: Path) -> Path | None:
    for root in (folder, folder / NAME):
        if any((root / IMAGES / split).is_dir() and (root / MASKS / split).is_dir() for split in SPLITS.values()):
            return root
    return None
