"""VOC, plain folders, and what --data is taken for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import photograph, write_coco, write_voc

from fcn_onnx.data.choice import ImageSource
from fcn_onnx.data.labels import VOC
from fcn_onnx.data.palette import label_image, voc_palette
from fcn_onnx.data.sets.discover import open_dataset, require_labels
from fcn_onnx.errors import DatasetError


def test_voc_is_found_from_either_folder(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    for data in (root, root.parent):
        dataset = open_dataset(data)
        assert dataset.kind == "voc"
        assert [s.name for s in dataset.samples] == ["JPEGImages/2007_000000.jpg", "JPEGImages/2007_000001.jpg"]
    assert len(open_dataset(ImageSource(root, split="train")).samples) == 1


def test_voc_truth(tmp_path: Path) -> None:
    dataset = open_dataset(write_voc(tmp_path))
    labels = dataset.label_map(dataset.samples[1])
    assert labels.dtype == np.uint8
    assert (labels == 2).sum() == 1280
    assert (labels == 255).sum() == 160
    planes = dataset.multilabel(dataset.samples[1])
    assert [int(planes[c].sum()) for c in (0, 1, 2)] == [64 * 80 - 1440, 0, 1280]
    assert dataset.classes_in(dataset.samples[1]) == {2}


@pytest.mark.parametrize("damage", ["mask gone", "list leaves", "size", "label", "truncated", "rgb mask"])
def test_damaged_voc_is_refused(tmp_path: Path, damage: str) -> None:
    root = write_voc(tmp_path)
    mask = root / "SegmentationClass" / "2007_000000.png"
    match damage:
        case "mask gone":
            mask.unlink()
        case "list leaves":
            (root / "ImageSets/Segmentation/val.txt").write_text("../../secret\n")
        case "size":
            label_image(np.zeros((4, 4), np.uint8), VOC).save(mask)
        case "label":
            label_image(np.full((64, 80), 77, np.uint8), VOC).save(mask)
        case "truncated":
            mask.write_bytes(mask.read_bytes()[:60])
        case "rgb mask":
            photograph(20, 16, 0).save(mask)
    with pytest.raises(DatasetError):
        dataset = open_dataset(root)
        dataset.label_map(dataset.samples[0])


def test_coco_folder_finds_its_annotations(tmp_path: Path) -> None:
    dataset = open_dataset(write_coco(tmp_path))
    assert (dataset.kind, dataset.labelled, len(dataset.samples)) == ("coco", True, 5)
    require_labels(dataset)


def test_any_folder_of_images_will_do_without_labels(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    photograph(9, 8, 0).save(tmp_path / "b" / "2.png")
    photograph(9, 8, 1).save(tmp_path / "1.JPG", "JPEG")
    (tmp_path / "notes.txt").write_text("no image")
    dataset = open_dataset(tmp_path)
    assert [s.name for s in dataset.samples] == ["1.JPG", "b/2.png"]
    assert "annotations" in dataset.description
    with pytest.raises(DatasetError, match="--annotations"):
        require_labels(dataset)
    with pytest.raises(DatasetError, match="without labels"):
        dataset.label_map(dataset.samples[0])


@pytest.mark.parametrize("kind", ["missing", "file", "empty"])
def test_no_data_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data"
    if kind == "file":
        path.write_text("")
    elif kind == "empty":
        path.mkdir()
    with pytest.raises(DatasetError):
        open_dataset(path)


def test_palette_is_vocs() -> None:
    """Colours as PASCAL VOC's development kit lists them."""
    palette = voc_palette()
    assert palette[0].tolist() == [0, 0, 0]
    assert palette[1].tolist() == [128, 0, 0]
    assert palette[15].tolist() == [192, 128, 128]
    assert palette[20].tolist() == [0, 64, 128]
    assert palette[255].tolist() == [224, 224, 192]


def test_label_png_keeps_labels_and_colours(tmp_path: Path) -> None:
    labels = np.array([[0, 15], [20, 255]], np.uint8)
    label_image(labels, VOC).save(tmp_path / "l.png")
    with Image.open(tmp_path / "l.png") as image:
        assert image.mode == "P"
        assert np.array_equal(image, labels)
        assert np.asarray(image.convert("RGB"))[0, 1].tolist() == [192, 128, 128]
