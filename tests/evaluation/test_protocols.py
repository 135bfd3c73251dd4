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
from fcn_onnx.data.opencv import resize_area, resize_linear
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
    of_coco: bool


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
        yield Scene(info["file_name"], image, instances, labels, sum(a["area"] for a in annotations), True)


def voc_scenes(root: Path) -> Iterator[Scene]:
    for name in sorted((root / "ImageSets/Segmentation/val.txt").read_text().split()):
        image = Image.open(root / "JPEGImages" / f"{name}.jpg").convert("RGB")
        labels = np.array(Image.open(root / "SegmentationClass" / f"{name}.png"))
        instances = [(c, labels == c) for c in range(1, 21) if (labels == c).any()]
        foreground = float(sum(mask.sum() for _, mask in instances))
        yield Scene(f"JPEGImages/{name}.jpg", image, instances, labels, foreground, False)


def normalised(image: Image.Image | np.ndarray) -> np.ndarray:
    return (np.asarray(image).astype(np.float32) / np.float32(255) - MEAN) / STD


def opencv(pixels: Image.Image | np.ndarray, size: tuple[int, int], rule: str = "linear") -> np.ndarray:
    """cv2 itself where it is installed; ours, which is tested against it, where not."""
    try:
        import cv2
    except ImportError:
        return (resize_area if rule == "area" else resize_linear)(np.asarray(pixels), size)
    cv2.ipp.setUseIPP(False)
    resized: np.ndarray = cv2.resize(np.asarray(pixels), size, interpolation=getattr(cv2, f"INTER_{rule.upper()}"))
    return resized


def floored(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """OpenCV's INTER_NEAREST place by place: floor(place · scale), where scale is the inverse of the inverse."""
    height, width = labels.shape
    down, across = 1 / (size[1] / height), 1 / (size[0] / width)
    rows = [min(int(y * down), height - 1) for y in range(size[1])]
    return labels[rows][:, [min(int(x * across), width - 1) for x in range(size[0])]]


def logits_of(session: ort.InferenceSession, image: Image.Image | np.ndarray, pad: int = 0) -> torch.Tensor:
    """(1, 21, h, w) of the picture, normalised if it is not yet, padded with zeros to a square if asked for."""
    floats = isinstance(image, np.ndarray) and image.dtype == np.float32
    values = (image if floats else normalised(image)).transpose(2, 0, 1)[None]
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


def tramac(truth: np.ndarray, logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """The confusion matrix, then `score.py`'s pixel_correct and pixel_labeled."""
    labels, truncated = (nearest(planes.argmax(1)[0].numpy(), size) for planes in (logits, logits.long()))
    target = np.where(truth == 255, -1, truth.astype(int))
    right = ((truncated == target) * (target >= 0)).sum()
    return np.concatenate([confusion(truth, labels), [right, (target >= 0).sum()]])


def literal_row(protocol: str, session: ort.InferenceSession, scene: Scene) -> tuple[np.ndarray, int] | None:
    """The image's row of counts, and how many labels float32 does not decide; None where the image is not scored."""
    image, (width, height) = scene.image, scene.image.size
    if protocol in ("torchvision", "voc-native"):
        short, long = sorted(image.size)
        other = int(520 * long / short)
        of_short_side = (520, other) if width <= height else (other, 520)
        size = of_short_side if protocol == "torchvision" else image.size
        coarse = logits_of(session, resized(image, size))[0].argmax(0).numpy()
        return confusion(nearest(scene.labels, size), nearest(coarse, size)), 0
    if protocol in ("vastai", "vastai-512"):
        size = (320, 320) if protocol == "vastai" else (512, 512)
        return tramac(nearest(scene.labels, size), logits_of(session, opencv(image, size)), size), 0
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
        shown = interpolate(logits_of(session, opencv(image, size)), size[::-1])
        labels, undecided = decided(interpolate(shown, (height, width)))
        return confusion(scene.labels, labels), undecided
    if protocol == "mindspore":
        # eval.py: resize_long, normalise, pad to 512², crop, resize, argmax
        size = (int(512 * width / height), 512) if height > width else (512, int(512 * height / width))
        square = interpolate(logits_of(session, opencv(image, size), pad=512), (512, 512))
        cropped = square[:, :, : size[1], : size[0]]
        labels, undecided = decided(interpolate(cropped, (height, width)))
        return confusion(scene.labels, labels), undecided
    size = session.get_inputs()[0].shape[:1:-1]  # of a network of one size
    size = (size[0], size[1]) if isinstance(size[0], int) else (512, 512)
    if protocol == "ti-benchmark":  # edgeai-benchmark: cv2 on pixels, labels back to the image's size
        shown = opencv(image, size, "linear" if scene.of_coco else "area")
        labels = logits_of(session, shown)[0].argmax(0).numpy()
        return confusion(scene.labels, floored(labels, image.size)), 0
    assert protocol == "ti"
    if scene.of_coco and scene.area <= 1000:
        return None
    shrinks = size[0] < width or size[1] < height
    shown = opencv(normalised(image), size, "area" if shrinks and not scene.of_coco else "linear")
    labels, undecided = decided(logits_of(session, shown))
    grid = (1024, 1024) if scene.of_coco else size
    truth = floored(scene.labels, grid)
    pixels = grid[0] * grid[1] // labels.size + 1
    predicted = torch.from_numpy(labels)[None, None].float()
    upsampled = torch.nn.functional.interpolate(predicted, size=grid[::-1], mode="nearest")[0, 0].numpy().astype(int)
    return confusion(np.remainder(truth, 21) if scene.of_coco else truth, upsampled), undecided * pixels


ABSENT_IS_ZERO = ("ti", "ti-benchmark", "vastai", "vastai-512", "voc-native")


def literal_scores(protocol: str, rows: np.ndarray) -> tuple[float, float]:
    """(mIoU, pixel accuracy) of the rows."""
    if protocol in ("zoo", "inc"):
        iou, accuracy = rows[:, 0] / rows[:, 1], rows[:, 2] / rows[:, 3]
        counter = len(rows) + (protocol == "inc")  # Neural Compressor's example counts from 1
        return iou.sum() / counter, accuracy.mean()
    matrix = rows.sum(0)[:441].reshape(21, 21)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    ious = [matrix[c, c] / union[c] for c in range(21) if union[c]]
    accuracy = matrix.trace() / matrix.sum()
    if protocol.startswith("vastai"):
        accuracy = rows[:, 441].sum() / rows[:, 442].sum()
    return sum(ious) / (21 if protocol in ABSENT_IS_ZERO else len(ious)), accuracy


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


@pytest.mark.parametrize(
    ("protocol", "size"), [*((protocol, None) for protocol in PROTOCOLS), ("ti", (24, 80)), ("ti-benchmark", (24, 32))]
)
def test_every_count_equals_the_literal_protocol(
    tmp_path: Path, data: Path, protocol: str, size: tuple[int, int] | None
) -> None:
    models = (
        save(coarse_classifier(0, size=size), tmp_path / "a.onnx"),
        save(coarse_classifier(0, shift=0.02, size=size), tmp_path / "b.onnx"),
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


@pytest.mark.parametrize("protocol", ABSENT_IS_ZERO)
def test_absent_classes_count_as_zero(tmp_path: Path, protocol: str) -> None:
    model = save(coarse_classifier(0), tmp_path / "a.onnx")
    report = compare(model, model, open_dataset(write_voc(tmp_path)), protocol=protocol).report
    known = [iou for iou in report["fp32"]["per_class_iou"].values() if iou is not None]
    assert len(known) < len(VOC_CLASSES)
    assert report["fp32"]["miou"] == pytest.approx(sum(known) / len(VOC_CLASSES))


@pytest.mark.parametrize(
    ("protocol", "why"), [("mmseg", "resizes logits"), ("vastai", "takes pixel accuracy from logits")]
)
def test_labels_are_no_logits(tmp_path: Path, protocol: str, why: str) -> None:
    model = save(coarse_classifier(0, labels=True), tmp_path / "labels.onnx")
    with pytest.raises(ModelError, match=f"{protocol} {why}, and .* returns labels"):
        compare(model, model, open_dataset(write_voc(tmp_path)), protocol=protocol)


def test_a_protocol_that_pads_refuses_models_of_another_size(tmp_path: Path) -> None:
    model = save(coarse_classifier(0, size=(320, 320)), tmp_path / "fixed.onnx")
    dataset = open_dataset(write_voc(tmp_path))
    with pytest.raises(UsageError, match="pads images to 512x512"):
        compare(model, model, dataset, protocol="mindspore")
    fits = save(coarse_classifier(0, size=(512, 512)), tmp_path / "fits.onnx")
    free = save(coarse_classifier(0), tmp_path / "free.onnx")
    fixed, other = (compare(m, m, dataset, protocol="mindspore").fp32.counts for m in (fits, free))
    assert fixed.tolist() == other.tolist()
