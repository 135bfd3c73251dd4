"""PASCAL VOC segmentation: photographs and palette masks in the layout of a VOCdevkit."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.data.labels import VOC_CLASSES, LabelSpace
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.mask_files import MaskDataset, require_inside, require_split
from fcn_onnx.errors import DatasetError
from fcn_onnx.jobs.reading import read_text

LISTS = Path("ImageSets") / "Segmentation"
MASKS = "SegmentationClass"
AUGMENTED = "Aug"
"""Ends the folder of SBD's masks beside VOC's (10,582 to train on); they are of the lists that end so too."""


def recognises(folder: Path) -> bool:
    """Whether it is a VOCdevkit, or one year of it."""
    return bool(_years(folder))


def open_voc(data: Path, split: str | None, classes: tuple[str, ...], number: int | None) -> MaskDataset:
    """Read `ImageSets/Segmentation/<split>.txt` of a folder like VOCdevkit/VOC2012, or of the last year in VOCdevkit.

    The masks of `trainaug`, and of any list whose name ends in `aug`, are in `SegmentationClassAug`.

    Raises:
        DatasetError: a part of the layout, the split, or a file that it names is missing.
    """
    root, split = _years(data)[-1], split or "val"
    require_split(split, [path.stem for path in (root / LISTS).glob("*.txt")], root / LISTS)
    masks = MASKS + (AUGMENTED if split.endswith(AUGMENTED.lower()) else "")
    for part in ("JPEGImages", masks):
        if not (root / part).is_dir():
            raise DatasetError(f"{root} has no {part} folder", fix="name a VOCdevkit/VOC2012 folder")
    listing = root / LISTS / f"{split}.txt"
    try:
        names = read_text(listing).split()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {listing}: {error}", fix="fetch it again") from error
    if not names:
        raise DatasetError(f"{listing} names no image", fix="use another split")
    folder = root.resolve()
    samples, paths = [], {}
    for name in sorted(names):
        if "/" in name or "\\" in name or name.startswith("."):
            raise DatasetError(
                f"{listing} names {name!r}, which leaves the data folder", fix="write names without folder and suffix"
            )
        by = f"{listing} names {name!r}"
        image = require_inside(root / "JPEGImages" / f"{name}.jpg", folder, by)
        sample = Sample(name, image.relative_to(root).as_posix(), image)
        paths[sample.name] = require_inside(root / masks / f"{name}.png", folder, by)
        samples.append(sample)
    text = f"{root}: {len(samples)} images of VOC {split} with palette masks"
    return MaskDataset(root, tuple(samples), text, paths, LabelSpace.of(classes or VOC_CLASSES), kind="voc")


def _years(folder: Path) -> list[Path]:
    """The folder itself if it is a year, else those in it, in their order."""
    found = [folder] if (folder / LISTS).is_dir() else sorted(folder.glob("VOC*"))
    return [path for path in found if (path / LISTS).is_dir()]
