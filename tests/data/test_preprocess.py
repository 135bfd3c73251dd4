"""Preprocessing against torch and PIL, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from toys import photograph

from fcn_onnx.data.opencv import resize_area, resize_linear
from fcn_onnx.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, Resize
from fcn_onnx.errors import UsageError


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (640, 427), (333, 500)])
def test_equals_torchvisions_presets_bit_for_bit(size: tuple[int, int]) -> None:
    """`SegmentationPresetEval`: resize, to_tensor (÷ 255), normalise (−mean, ÷std), on torch tensors."""
    image = photograph(*size, seed=1)
    short, long = sorted(size)
    long = int(520 * long / short)
    target = (520, long) if size[0] <= size[1] else (long, 520)
    pixels = np.asarray(image.resize(target, Image.Resampling.BILINEAR))
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).to(torch.float32).div(255)
    tensor.sub_(torch.tensor(IMAGENET_MEAN).view(-1, 1, 1)).div_(torch.tensor(IMAGENET_STD).view(-1, 1, 1))
    ours = Preprocessing()(image)
    assert ours.shape == (1, 3, target[1], target[0])
    assert np.array_equal(ours[0], tensor.numpy())


def test_native_size_is_not_resampled() -> None:
    image = photograph(31, 17, 2)
    assert Preprocessing(Resize()).resized(image) is image


@pytest.mark.parametrize("text", ["native", "short-side 520", "long-side 512", "within 2048x512", "320x480"])
def test_json_round_trip(text: str) -> None:
    rules = Preprocessing(Resize.parse(text), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "BGR", (512, 512))
    assert Preprocessing.from_json(rules.to_json()) == rules
    assert str(rules.resize) == text


@pytest.mark.parametrize(
    "rules",
    [
        Preprocessing(Resize(size=(20, 20)), resample="opencv-area"),
        Preprocessing(Resize(size=(20, 20)), resample="opencv-linear", resizes_floats=True),
    ],
)
def test_how_it_is_resized_is_recorded(rules: Preprocessing) -> None:
    assert Preprocessing.from_json(rules.to_json()) == rules
    assert not {"resample", "resizes_floats"} & Preprocessing().to_json().keys()


@pytest.mark.parametrize("said", [{"resample": "nearest"}, {"resizes_floats": True}, {"resample": ["pillow"]}])
def test_unknown_ways_of_resizing_are_refused(said: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Preprocessing.from_json(Preprocessing().to_json() | said)


@pytest.mark.parametrize(
    ("size", "area"), [((40, 30), True), ((90, 20), True), ((20, 90), True), ((60, 50), False), ((90, 95), False)]
)
def test_area_only_where_a_side_shrinks(size: tuple[int, int], area: bool) -> None:
    image = photograph(60, 50, 5)
    rules = Preprocessing(Resize(size=size[::-1]), (0, 0, 0), (1, 1, 1), resample="opencv-area-where-smaller")
    pixels = (resize_area if area else resize_linear)(np.asarray(image), size)
    assert np.array_equal(np.asarray(rules.resized(image)), pixels)


def test_floats_are_not_rounded_between() -> None:
    image = photograph(60, 50, 6)
    rules = Preprocessing(Resize(size=(30, 70)), resample="opencv-linear", resizes_floats=True)
    native = Preprocessing(Resize())(image)[0].transpose(1, 2, 0)
    assert np.array_equal(rules(image)[0].transpose(1, 2, 0), resize_linear(native, (70, 30)))


@pytest.mark.parametrize("text", ["", "520", "short-side", "3x", "-1x2"])
def test_unreadable_resize_rules_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Resize.parse(text)


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="RGB"):
        Preprocessing.from_json(Preprocessing().to_json() | {"channels": "YUV"})


def test_bgr_is_rgb_in_the_other_order_with_its_own_normalisation() -> None:
    image = photograph(9, 7, 3)
    rgb = Preprocessing(Resize(), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    bgr = Preprocessing(Resize(), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "BGR")
    assert (bgr(image) == rgb(image)[:, [2, 1, 0]]).all()


def test_padding_is_zeros_to_the_right_and_below() -> None:
    image = photograph(9, 7, 3)
    padded, plain = Preprocessing(Resize(), pad=(10, 12))(image), Preprocessing(Resize())(image)
    assert padded.shape == (1, 3, 10, 12)
    assert (padded[:, :, :7, :9] == plain).all()
    assert not padded[:, :, 7:].any()
    assert not padded[:, :, :, 9:].any()


@pytest.mark.parametrize(
    ("rule", "size", "expected"),
    [
        ("within 2048x512", (500, 375), (683, 512)),  # mmcv rounds half up: 682.67
        ("within 2048x512", (375, 500), (512, 683)),
        ("within 2048x512", (5000, 500), (2048, 205)),  # the long side decides: 204.8
        ("long-side 512", (500, 375), (512, 384)),
        ("long-side 512", (375, 500), (384, 512)),
        ("long-side 512", (333, 500), (340, 512)),  # truncated: 340.99
        ("long-side 512", (500, 500), (512, 512)),
        ("short-side 520", (500, 375), (693, 520)),
    ],
)
def test_sizes_of_published_resizes(rule: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert Resize.parse(rule).target(*size) == expected
