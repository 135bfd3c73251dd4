"""What `--data` names: a table of data sets, each recognised by its folders, or told by an option."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.data.choice import ImageSource
from fcn_onnx.data.label_spaces import default_classes, label_space
from fcn_onnx.data.labels import VOC_CLASSES, LabelSpace
from fcn_onnx.data.sample import Dataset
from fcn_onnx.data.sets import ade20k, cityscapes, voc
from fcn_onnx.data.sets.coco import CocoDataset
from fcn_onnx.data.sets.folder import FolderDataset
from fcn_onnx.data.sets.masks import open_masks
from fcn_onnx.errors import DatasetError, UsageError

Classes = tuple[str, ...]
Opens = Callable[[ImageSource, Classes, int | None], Dataset]


@dataclass(frozen=True)
class Kind:
    """A data set that can be opened.

    Attributes:
        description: what its folder looks like.
        recognises: whether a folder is one.
        opens: with what was asked for, the model's class names, () where nothing says them, and how many it has, None
            where that is unknown.
        told_by: the option that says that it is one, whatever the folder looks like.
        split: whether it has splits.
    """

    description: str
    recognises: Callable[[Path], bool]
    opens: Opens
    told_by: str | None = None
    split: bool = False


def _coco(source: ImageSource, classes: Classes, number: int | None) -> Dataset:
    annotations = source.annotations or annotations_beside(source.data)
    return CocoDataset.open(source.data, annotations, LabelSpace.of(classes or VOC_CLASSES))


def _masks(source: ImageSource, classes: Classes, number: int | None) -> Dataset:
    assert source.masks is not None  # what tells it
    return open_masks(source.data, source.masks, source.label_map, classes, number)


def _folder(source: ImageSource, classes: Classes, number: int | None) -> Dataset:
    why = f" (no annotations at {annotations_beside(source.data).absolute()})"
    return FolderDataset.open(source.data, why, label_space(classes or default_classes(number)))


SETS: Mapping[str, Kind] = {
    "masks": Kind("images, and masks in another folder (--masks)", lambda _: False, _masks, told_by="masks"),
    "voc": Kind(
        "a VOCdevkit, or one year of it",
        voc.recognises,
        lambda source, *model: voc.open_voc(source.data, source.split, *model),
        split=True,
    ),
    "cityscapes": Kind(
        "leftImg8bit and gtFine",
        cityscapes.recognises,
        lambda source, *model: cityscapes.open_cityscapes(source.data, source.split, *model),
        split=True,
    ),
    "ade20k": Kind(
        "ADEChallengeData2016",
        ade20k.recognises,
        lambda source, *model: ade20k.open_ade20k(source.data, source.split, *model),
        split=True,
    ),
    "coco": Kind(
        "COCO images beside annotations/instances_<name>.json",
        lambda folder: annotations_beside(folder).is_file(),
        _coco,
        told_by="annotations",
    ),
    "folder": Kind("any folder of images, without truth", lambda _: True, _folder),
}
"""In the order in which they are asked."""


def open_dataset(source: Path | ImageSource, classes: Classes = (), number: int | None = None) -> Dataset:
    """Open the data set that a folder is: the first of `SETS` that an option tells, or that recognises it.

    Args:
        source: the folder, and what was said of it.
        classes: names of the model's classes; () where nothing says them: labels are then called as the data set does.
        number: how many classes the model has, where that is known.

    Raises:
        UsageError: a split of what has none.
        DatasetError: there is no such folder, or nothing in it, or it is not labelled with the model's classes.
    """
    source = ImageSource(source) if isinstance(source, Path) else source
    data = source.data
    if not data.is_dir():
        what = "is a file, not a folder" if data.exists() else "does not exist"
        raise DatasetError(f"the data folder {data} {what}", fix="name a folder of images with --data")
    told = [name for name, kind in SETS.items() if kind.told_by and getattr(source, kind.told_by) is not None]
    name = next(iter(told or [name for name, kind in SETS.items() if kind.recognises(data)]))
    if source.split is not None and not SETS[name].split:
        raise UsageError(
            f"{data} has no splits: it is taken for {SETS[name].description}",
            fix="leave --split out, or name the folder of " + ", ".join(n for n, k in SETS.items() if k.split),
        )
    return SETS[name].opens(source, classes, number)


def annotations_beside(data: Path) -> Path:
    """Where the COCO annotations of the images in `data` are, if they are: `annotations/instances_<name>.json`."""
    return data.parent / "annotations" / f"instances_{data.absolute().name}.json"


def require_labels(dataset: Dataset, otherwise: str = "") -> None:
    """Raise DatasetError unless the data set has truth to score against; `otherwise` says what goes without."""
    if not dataset.labelled:
        raise DatasetError(
            dataset.description,
            fix="name COCO annotations with --annotations, masks with --masks, or a data set that has truth"
            + otherwise,
        )
