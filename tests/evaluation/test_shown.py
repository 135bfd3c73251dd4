"""What a network is shown without an option is what its origin shows it; the protocol is the card's or torchvision's.

Each origin's preprocessing is written out with OpenCV's resize (`tests/data/test_opencv.py` holds ours against cv2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from toys import coarse_classifier, compare, photograph, save, write_coco

from fcn_onnx.data.opencv import resize_area, resize_linear
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import ModelError
from fcn_onnx.evaluation.protocols import PROTOCOLS
from fcn_onnx.model.card import ModelCard
from fcn_onnx.networks.families import get_architecture

IMAGENET = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
BGR = np.float32([103.53, 116.28, 123.675]), np.float32([57.375, 57.12, 58.395])
TI = Preprocessing(Resize(size=(384, 768)), (128 / 255,) * 3, (64 / 255,) * 3)
"""What the cards of TI's networks say."""

Shown = Callable[[np.ndarray], np.ndarray]


def tramac(pixels: np.ndarray) -> np.ndarray:
    return (resize_linear(pixels, (320, 320)) / np.float32(255) - IMAGENET[0]) / IMAGENET[1]


def gluoncv(pixels: np.ndarray) -> np.ndarray:
    return (pixels / np.float32(255) - IMAGENET[0]) / IMAGENET[1]


def mmseg(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = min(2048 / max(height, width), 512 / min(height, width))
    resized = resize_linear(pixels, (int(width * scale + 0.5), int(height * scale + 0.5))).astype(np.float32)
    return (resized - BGR[0][::-1]) / BGR[1][::-1]


def mindspore(pixels: np.ndarray) -> np.ndarray:
    """eval.py: an RGB image, and means that are BGR's."""
    height, width = pixels.shape[:2]
    size = (int(512 * width / height), 512) if height > width else (512, int(512 * height / width))
    square = np.zeros((512, 512, 3), np.float32)
    square[: size[1], : size[0]] = (resize_linear(pixels, size).astype(np.float32) - BGR[0]) / BGR[1]
    return square


def ti(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    shrinks = width > 768 or height > 384
    return (resize_area if shrinks else resize_linear)((pixels.astype(np.float32) - 128) / 64, (768, 384))


def ti_on_coco(pixels: np.ndarray) -> np.ndarray:
    return resize_linear((pixels.astype(np.float32) - 128) / 64, (768, 384))


ORIGINS: dict[str, Shown] = {
    "fcn8s": tramac,
    "gluoncv-fcn-resnet101": gluoncv,
    "mmseg-fcn-r50-d8": mmseg,
    "mindspore-fcn8s": mindspore,
}


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (900, 400)])
@pytest.mark.parametrize("arch", list(ORIGINS))
def test_a_family_is_shown_what_its_origin_shows(arch: str, size: tuple[int, int]) -> None:
    architecture = get_architecture(arch)
    own = architecture.preprocessing
    rules = PROTOCOLS[architecture.protocol].of_size(own.resize.size)
    image = photograph(*size, seed=1)
    found = rules.shown(own, None)(image)[0].transpose(1, 2, 0)
    expected = ORIGINS[arch](np.asarray(image))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (900, 400)])
@pytest.mark.parametrize(("kind", "origin"), [("cityscapes", ti), ("coco", ti_on_coco)])
def test_ti_normalises_before_it_resizes(kind: str, origin: Shown, size: tuple[int, int]) -> None:
    rules = PROTOCOLS["ti"].of_kind(kind).of_size(TI.resize.size)
    image = photograph(*size, seed=2)
    found = rules.shown(TI, None)(image)[0].transpose(1, 2, 0)
    assert np.abs(found - origin(np.asarray(image))).max() < 1e-5


def test_mindspores_order_of_channels_is_a_matter_of_options() -> None:
    own = replace(
        get_architecture("mindspore-fcn8s").preprocessing,
        channels="BGR",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    image = photograph(500, 375, seed=3)
    pixels = np.asarray(image)[:, :, ::-1]  # as cv2.imdecode gives it in training
    found = PROTOCOLS["mindspore"].shown(own, None)(image)[0].transpose(1, 2, 0)
    assert np.abs(found - mindspore(pixels)).max() < 1e-5


def carded(path: Path, *, seed: int = 0, size: tuple[int, int] | None = None, **said: Any) -> Path:
    model: onnx.ModelProto = coarse_classifier(seed, size=size)
    ModelCard(**said).write_to(model)
    return save(model, path)


def notes_of(fp32: Path, int8: Path, images: Path, **options: Any) -> tuple[str, list[str], dict[str, str]]:
    report = compare(fp32, int8, open_dataset(images), **options).report
    return report["protocol"], report["notes"], report["shown"]


def test_the_card_of_the_reference_names_the_protocol(tmp_path: Path) -> None:
    images = write_coco(tmp_path / "coco")
    fp32 = carded(tmp_path / "a.onnx", protocol="voc-native")
    other = carded(tmp_path / "b.onnx", seed=1, protocol="mmseg")
    silent = carded(tmp_path / "c.onnx", seed=2)
    protocol, notes, _ = notes_of(fp32, silent, images)
    assert protocol == "voc-native"
    assert f"protocol voc-native, as the card of {fp32} says" in notes
    protocol, notes, _ = notes_of(fp32, other, images)
    assert protocol == "voc-native"
    assert f"protocol voc-native, as the card of {fp32} says; that of {other} says mmseg" in notes
    protocol, notes, _ = notes_of(silent, other, images)
    assert protocol == "torchvision"
    assert f"protocol torchvision, as neither --protocol nor the card of {silent} says" in notes
    protocol, notes, _ = notes_of(fp32, other, images, protocol="zoo")
    assert protocol == "zoo"
    assert not [note for note in notes if "protocol" in note]


def test_a_protocol_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    model = carded(tmp_path / "a.onnx", protocol="imagenet")
    with pytest.raises(ModelError, match="names the protocol 'imagenet'") as caught:
        notes_of(model, model, write_coco(tmp_path / "coco"))
    assert "torchvision" in caught.value.fix


def test_a_network_of_a_size_is_shown_that_where_the_protocol_leaves_it_to_it(tmp_path: Path) -> None:
    images = write_coco(tmp_path / "coco")
    said = {"preprocessing": Preprocessing(Resize(size=(64, 96))).to_json()}
    open_size, sized, fixed = (
        carded(tmp_path / "a.onnx"),
        carded(tmp_path / "b.onnx", **said),
        carded(tmp_path / "c.onnx", size=(32, 48), **said),
    )
    expected = {
        open_size: ("320x320", "neither the models nor their cards say a size"),
        sized: ("64x96", f"the card of {sized} says"),
        fixed: ("32x48", "the models take no other size"),
    }
    for model, (size, why) in expected.items():
        _, notes, shown = notes_of(model, model, images, protocol="vastai")
        assert f"images are shown at {size}, as {why}" in notes
        assert shown == {"resize": size, "protocol_resize": size}
    assert notes_of(sized, sized, images, protocol="vastai-512")[2]["resize"] == "512x512"
    counts = compare(fixed, fixed, open_dataset(images), protocol="vastai").fp32.counts
    assert (counts[:, :441].sum(1) <= 32 * 48).all()  # scored at that size too
