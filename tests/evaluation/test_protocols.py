"""Every protocol against itself written out literally: PIL, pycocotools, torch's interpolate and numpy, counts and all.

With FCN_ONNX_DATA naming a folder that holds `coco/val2017` or `VOCdevkit`, the same is asked of real images.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from toys import COCO_OF_VOC, coarse_classifier, compare, save, write_coco, write_voc

from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.evaluation.protocols import PROTOCOLS

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
REAL = Path(os.environ.get("FCN_ONNX_DATA", "no-real-data"))
REAL_IMAGES = 12


@dataclass
class Scene:
    """One image as the literal protocols read it: its truth as instances, and as VOC's mask or torchvision's."""

    name: str
    image: Image.Image
    instances: list[tuple[int, np.ndarray]]
    labels: np.ndarray
    area: float


def coco_scenes(images: Path) -> Iterator[Scene]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(images.parent / "annotations" / f"instances_{images.name}.json"))
    for image_id in sorted(coco.getImgIds()):
        info = coco.loadImgs(image_id)[0]
        annotations = [a for a in coco.loadAnns(coco.getAnnIds(image_id)) if a["category_id"] in COCO_OF_VOC]
        instances = [(COCO_OF_VOC.index(a["category_id"]), coco.annToMask(a)) for a in annotations]
        labels = np.zeros((info["height"], info["width"]), np.uint8)
        if instances:  # ConvertCocoPolysToMask
            stack = np.stack([mask for _, mask in instances])
            labels = (stack * np.array([label for label, _ in instances]).reshape(-1, 1, 1)).max(0).astype(np.uint8)
            labels[stack.sum(0) > 1] = 255
        image = Image.open(images / info["file_name"]).convert("RGB")
        yield Scene(info["file_name"], image, instances, labels, sum(a["area"] for a in annotations))


def voc_scenes(root: Path) -> Iterator[Scene]:
    for name in sorted((root / "ImageSets/Segmentation/val.txt").read_text().split()):
        image = Image.open(root / "JPEGImages" / f"{name}.jpg").convert("RGB")
        labels = np.array(Image.open(root / "SegmentationClass" / f"{name}.png"))
        instances = [(c, labels == c) for c in range(1, 21) if (labels == c).any()]
        foreground = float(sum(mask.sum() for _, mask in instances))
        yield Scene(f"JPEGImages/{name}.jpg", image, instances, labels, foreground)


def logits_of(session: ort.InferenceSession, image: Image.Image, pad: int = 0) -> torch.Tensor:
    """(1, 21, h, w) of the normalised picture, padded with zeros to a square if asked for."""
    values = ((np.asarray(image).astype(np.float32) / np.float32(255) - MEAN) / STD).transpose(2, 0, 1)[None]
    if pad:
        square = np.zeros((1, 3, pad, pad), np.float32)
        square[:, :, : values.shape[2], : values.shape[3]] = values
        values = square
    return torch.from_numpy(session.run(["out"], {"input": values})[0])


def interpolate(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def confusion(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    matrix = np.zeros((21, 21), np.int64)
    np.add.at(matrix, (truth[truth < 21], prediction[truth < 21]), 1)
    return matrix.ravel()


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR) if image.size != size else image


def nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))


def decided(logits: torch.Tensor) -> tuple[np.ndarray, int]:
    """Labels, and how many of them float32 does not decide.

    Two interpolations that round positions differently (torch's and onnxruntime's differ by up to 2e-4 in the logits of
    noise) may disagree where the two largest logits are closer than that.
    """
    first, second = logits[0].topk(2, dim=0).values
    return logits[0].argmax(0).numpy(), int((first - second < 1e-3).sum())


def literal_row(protocol: str, session: ort.InferenceSession, scene: Scene) -> tuple[np.ndarray, int] | None:
    """The image's row of counts, and how many labels float32 does not decide; None where the image is not scored."""
    image, (width, height) = scene.image, scene.image.size
    if protocol in ("torchvision", "vastai", "vastai-512", "voc-native"):
        short, long = sorted(image.size)
        other = int(520 * long / short)
        size = {
            "torchvision": (520, other) if width <= height else (other, 520),
            "vastai": (320, 320),
            "vastai-512": (512, 512),
            "voc-native": image.size,
        }[protocol]
        coarse = logits_of(session, resized(image, size))[0].argmax(0).numpy()
        return confusion(nearest(scene.labels, size), nearest(coarse, size)), 0
    if protocol in ("zoo", "inc"):
        if not scene.instances:
            return None
        prediction = nearest(logits_of(session, image)[0].argmax(0).numpy(), image.size)
        planes = np.zeros((20, height, width), bool)
        for label, mask in scene.instances:
            planes[label - 1] |= mask.astype(bool)
        guess = prediction == np.arange(1, 21).reshape(-1, 1, 1)
        return np.array([(guess & planes).sum(), (guess | planes).sum(), (guess == planes).sum(), planes.size]), 0
    if protocol == "mmseg":
        scale = min(2048 / max(image.size), 512 / min(image.size))
        size = int(width * scale + 0.5), int(height * scale + 0.5)
        shown = interpolate(logits_of(session, resized(image, size)), size[::-1])
        labels, undecided = decided(interpolate(shown, (height, width)))
        return confusion(scene.labels, labels), undecided
    if protocol == "mindspore":
        # eval.py: resize_long, normalise, pad to 512², crop, resize, argmax
        size = (int(512 * width / height), 512) if height > width else (512, int(512 * height / width))
        square = interpolate(logits_of(session, resized(image, size), pad=512), (512, 512))
        cropped = square[:, :, : size[1], : size[0]]
        labels, undecided = decided(interpolate(cropped, (height, width)))
        return confusion(scene.labels, labels), undecided
    assert protocol == "ti"
    if scene.area <= 1000:
        return None
    coarse = logits_of(session, resized(image, (512, 512)))[0].argmax(0).numpy()
    return confusion(np.remainder(scene.labels, 21), nearest(coarse, image.size)), 0


def literal_scores(protocol: str, rows: np.ndarray) -> tuple[float, float]:
    """(mIoU, pixel accuracy) of the rows."""
    if protocol in ("zoo", "inc"):
        iou, accuracy = rows[:, 0] / rows[:, 1], rows[:, 2] / rows[:, 3]
        counter = len(rows) + (protocol == "inc")  # Neural Compressor's example counts from 1
        return iou.sum() / counter, accuracy.mean()
    matrix = rows.sum(0).reshape(21, 21)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    ious = [matrix[c, c] / union[c] for c in range(21) if union[c]]
    return sum(ious) / (21 if protocol == "ti" else len(ious)), matrix.trace() / matrix.sum()


@pytest.fixture(params=["toy coco", "toy voc", "real coco", "real voc"], scope="module")
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind, layout = request.param.split()
    if kind == "toy":
        folder = tmp_path_factory.mktemp("data")
        return write_coco(folder) if layout == "coco" else write_voc(folder)
    found = REAL / "coco" / "val2017" if layout == "coco" else REAL / "VOCdevkit" / "VOC2012"
    if not found.is_dir():
        pytest.skip("FCN_ONNX_DATA does not name a folder with coco/val2017 and VOCdevkit/VOC2012")
    return found


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_every_count_equals_the_literal_protocol(tmp_path: Path, data: Path, protocol: str) -> None:
    models = (
        save(coarse_classifier(0), tmp_path / "a.onnx"),
        save(coarse_classifier(0, shift=0.02), tmp_path / "b.onnx"),
    )
    sessions = [ort.InferenceSession(str(m), providers=["CPUExecutionProvider"]) for m in models]
    scenes = coco_scenes(data) if (data.parent / "annotations").is_dir() else voc_scenes(data)
    rows: list[list[tuple[np.ndarray, int]]] = [[], []]
    for scene in scenes:
        for index, session in enumerate(sessions):
            if (row := literal_row(protocol, session, scene)) is not None:
                rows[index].append(row)
        if len(rows[0]) == REAL_IMAGES:
            break
    result = compare(*models, open_dataset(data), protocol=protocol, limit=REAL_IMAGES)
    for found, expected, name in zip((result.fp32, result.only.int8), rows, ("fp32", "int8"), strict=True):
        counts, undecided = np.stack([row for row, _ in expected]), np.array([n for _, n in expected])
        assert found.counts.shape == counts.shape
        assert (np.abs(found.counts - counts).sum(1) <= 2 * undecided).all()
        scores = [result.report[name]["miou"], result.report[name]["pixel_accuracy"]]
        assert scores == pytest.approx(literal_scores(protocol, found.counts), rel=1e-13)


def test_the_toys_tell_the_protocols_apart(tmp_path: Path) -> None:
    """Otherwise the test above would pass for a protocol under another's name."""
    model = save(coarse_classifier(0), tmp_path / "a.onnx")
    dataset = open_dataset(write_coco(tmp_path / "coco"))
    scores = {name: compare(model, model, dataset, protocol=name).report["fp32"]["miou"] for name in PROTOCOLS}
    assert len(set(scores.values())) == len(scores)


def test_absent_classes_count_as_zero_under_ti_alone(tmp_path: Path) -> None:
    model = save(coarse_classifier(0), tmp_path / "a.onnx")
    report = compare(model, model, open_dataset(write_voc(tmp_path)), protocol="ti").report
    known = [iou for iou in report["fp32"]["per_class_iou"].values() if iou is not None]
    assert len(known) < len(VOC_CLASSES)
    assert report["fp32"]["miou"] == pytest.approx(sum(known) / len(VOC_CLASSES))


def test_labels_cannot_be_resized_as_logits(tmp_path: Path) -> None:
    model = save(coarse_classifier(0, labels=True), tmp_path / "labels.onnx")
    with pytest.raises(ModelError, match="mmseg resizes logits"):
        compare(model, model, open_dataset(write_voc(tmp_path)), protocol="mmseg")


def test_a_protocol_that_pads_refuses_models_of_another_size(tmp_path: Path) -> None:
    model = save(coarse_classifier(0, size=(320, 320)), tmp_path / "fixed.onnx")
    dataset = open_dataset(write_voc(tmp_path))
    with pytest.raises(UsageError, match="pads images to 512x512"):
        compare(model, model, dataset, protocol="mindspore")
    fits = save(coarse_classifier(0, size=(512, 512)), tmp_path / "fits.onnx")
    free = save(coarse_classifier(0), tmp_path / "free.onnx")
    fixed, other = (compare(m, m, dataset, protocol="mindspore").fp32.counts for m in (fits, free))
    assert fixed.tolist() == other.tolist()
