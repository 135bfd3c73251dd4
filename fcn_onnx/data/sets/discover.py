"""What `--data` names: COCO, VOC or a plain folder."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.data.labels import VOC_CLASSES, LabelSpace
from fcn_onnx.data.sample import Dataset
from fcn_onnx.data.sets.coco import CocoDataset
from fcn_onnx.data.sets.folder import FolderDataset
from fcn_onnx.data.sets.voc import VocDataset
from fcn_onnx.errors import DatasetError


def open_dataset(
    data: Path,
    *,
    annotations: Path | None = None,
    split: str = "val",
    classes: tuple[str, ...] = VOC_CLASSES,
) -> Dataset:
    """Open the data set that `data` is.

    A folder `VOCdevkit` or `VOCdevkit/VOC…` is VOC; `<any>/val2017` with `<any>/annotations/
    instances_val2017.json` is COCO; anything else is a folder of images without labels.

    Args:
        data: a folder.
        annotations: a COCO instances file for the images in `data`, instead of looking for one.
        split: of VOC.
        classes: what labels mean, see `LabelSpace.of`.

    Raises:
        DatasetError: there is no such folder, or nothing in it.
    """
    space = LabelSpace.of(classes)
    if not data.is_dir():
        kind = "is a file, not a folder" if data.exists() else "does not exist"
        raise DatasetError(f"the data folder {data} {kind}", fix="name a folder of images with --data")
    if annotations is not None:
        return CocoDataset.open(data, annotations, space)
    if (data / "ImageSets" / "Segmentation").is_dir():
        return VocDataset.open(data, split, space)
    years = sorted(p for p in data.glob("VOC*") if (p / "ImageSets" / "Segmentation").is_dir())
    if years:
        return VocDataset.open(years[-1], split, space)
    instances = annotations_beside(data)
    if instances.is_file():
        return CocoDataset.open(data, instances, space)
    return FolderDataset.open(data, f" (no annotations at {instances.absolute()})", space)


def annotations_beside(data: Path) -> Path:
    """Where the COCO annotations of the images in `data` are, if they are: `annotations/instances_<name>.json`."""
    return data.parent / "annotations" / f"instances_{data.absolute().name}.json"


def require_labels(dataset: Dataset) -> None:
    """Raise DatasetError unless the data set has truth to score against."""
    if not dataset.labelled:
        raise DatasetError(dataset.description, fix="name the COCO annotations with --annotations, or use a VOCdevkit")
