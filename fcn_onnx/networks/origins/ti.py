"""TI's edgeai-lite pixel2pixel networks, and what their checkpoints hold beside the weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from fcn_onnx.data.label_spaces import ADE20K32, CITYSCAPES
from fcn_onnx.data.labels import VOC
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.architecture import OUT, Architecture, Shapes, by_keys

if TYPE_CHECKING:
    import torch

    from fcn_onnx.networks.architecture import State

CLASSES = "decoders.0.pred.1.0.weight"
SECOND_TASK = "decoders.1."

LEARNED_RANGE = re.compile(r"(.+\.)?(clips_act|activation_(q|in)\..+)")
"""Running ranges of activations, which training for int8 keeps in the state dict."""

GREY, STEP = 128 / 255, 64 / 255
"""(x - 128) / 64 on 0 … 255."""

Shape = tuple[int | None, ...]


def adopt(state: State) -> State:
    """The state dict without the ranges that training for int8 learned: they belong to the quantized network.

    Raises:
        WeightsError: the network has a second decoder.
    """
    if second := next((key for key in state if key.startswith(SECOND_TASK)), None):
        raise WeightsError(
            f"the checkpoint is of a network with several tasks ({second}), and a task is a network here",
            fix="name a checkpoint of one task",
        )
    return {key: value for key, value in state.items() if not LEARNED_RANGE.fullmatch(key)}


def remarks(shapes: Shapes) -> tuple[str, ...]:
    """How many ranges `adopt` leaves out."""
    count = sum(key.endswith("clips_act") for key in shapes)
    said = f"{count} ranges that training for int8 learned are left out: TI's own *_qat.onnx has them as clips"
    return (said,) if count else ()


def _mobilenet(decoder: str, fast: bool, classes: int, aux: bool) -> torch.nn.Module:
    from fcn_onnx.networks.ti_pixel2pixel import build_mobilenet

    return build_mobilenet(decoder, classes, fast=fast)


def _wide_mobilenet(decoder: str, classes: int, aux: bool) -> torch.nn.Module:
    from fcn_onnx.networks.ti_pixel2pixel import build_wide_mobilenet

    return build_wide_mobilenet(decoder, classes)


def _regnet(decoder: str, design: str, classes: int, aux: bool) -> torch.nn.Module:
    from fcn_onnx.networks.ti_encoders import REGNETS
    from fcn_onnx.networks.ti_pixel2pixel import build_regnet

    return build_regnet(decoder, classes, REGNETS[design])


MOBILENET: Mapping[str, Shape] = {
    "encoder.features.0.0.weight": (32, 3, 3, 3),
    "encoder.features.17.conv.0.0.weight": (960, 160, 1, 1),
    CLASSES: (None, None, 1, 1),
}

MOBILENET_DECODERS: Mapping[str, tuple[str, Mapping[str, Shape]]] = {
    "deeplabv3plus": ("DeepLabV3+", {"decoders.0.shortcut.0.weight": (48, 24, 1, 1)}),
    "unet_aspp": ("U-Net with ASPP", {"decoders.0.unet.smooth_convs.1.1.0.weight": (None, 352, 1, 1)}),
    "fpn_aspp": ("FPN with ASPP", {"decoders.0.fpn.shortcuts.3.0.weight": (256, 24, 1, 1)}),
}
"""By TI's name: ours, and by which of their keys and shapes they are told apart."""

WIDE_MOBILENET: Mapping[str, Shape] = {
    "encoder.features.0.0.weight": (48, 3, 3, 3),
    "encoder.features.17.conv.0.0.weight": (1344, 224, 1, 1),
    CLASSES: (None, None, 1, 1),
}

WIDE_DECODERS: Mapping[str, Mapping[str, Shape]] = {
    "deeplabv3plus": {"decoders.0.shortcut.0.weight": (64, 32, 1, 1)},
    "fpn_aspp": {"decoders.0.fpn.shortcuts.3.0.weight": (360, 32, 1, 1)},
}
"""Of the networks whose MobileNetV2 has 1.4 times the channels."""

REGNET_CHANNELS: Mapping[str, tuple[int, int, int, int]] = {
    "400mf": (32, 160, 384, 16),
    "800mf": (64, 288, 672, 16),
    "1p6gf": (72, 408, 912, 24),
    "3p2gf": (96, 432, 1008, 48),
}
"""Of stages 1, 3 and 4, and of a group."""

REGNET_DECODERS: Mapping[str, tuple[str, str]] = {
    "deeplabv3plus": ("DeepLabV3+", "decoders.0.shortcut.0.weight"),
    "fpn_aspp": ("FPN with ASPP", "decoders.0.fpn.shortcuts.3.0.weight"),
}


def _architecture(
    name: str,
    origin_name: str,
    description: str,
    build: partial[torch.nn.Module],
    has: Mapping[str, Shape],
    *,
    multiple_of: int,
    published: str = "",
    size: tuple[int, int] = (384, 768),
) -> Architecture:
    return Architecture(
        name=f"ti-{name}",
        aliases=(f"{origin_name}_edgeailite",),
        description=f"TI's {description}, sides multiples of {multiple_of}",
        origin="TI edgeai",
        build=build,
        recognises=by_keys(has),
        class_key=CLASSES,
        adopt=adopt,
        remarks=remarks,
        heads=(OUT,),
        no_weights="TI's model zoo has .onnx files of most, and few checkpoints; both are yours to bring",
        classes=CITYSCAPES.names,
        other_classes=(VOC.names, ADE20K32.names),
        preprocessing=Preprocessing(
            resize=Resize(size=size),
            mean=(GREY, GREY, GREY),
            std=(STEP, STEP, STEP),
            multiple_of=multiple_of,
            resample="opencv-area-where-smaller",
            resizes_floats=True,
        ),
        protocol="ti",
        size=size,
        published=published,
    )


def _on_mobilenet(decoder: str, published: str, fast: bool = False) -> Architecture:
    shown, has = MOBILENET_DECODERS[decoder]
    stride = (16 if decoder == "deeplabv3plus" else 32) * (2 if fast else 1)
    name = f"{decoder.replace('_', '-')}-mobilenetv2"
    return _architecture(
        name + ("-fd" if fast else ""),
        f"{decoder}_mobilenetv2_tv" + ("_fd" if fast else ""),
        f"{shown} on MobileNetV2" + (", of twice the strides" if fast else ""),
        partial(_mobilenet, decoder, fast),
        {**MOBILENET, **has},
        multiple_of=stride,
        published=published,
    )


def _on_wide_mobilenet(decoder: str, published: str) -> Architecture:
    return _architecture(
        f"{decoder.replace('_', '-')}-mobilenetv2-1p4",
        f"{decoder}_mobilenetv2_tv_1p4",
        f"{MOBILENET_DECODERS[decoder][0]} on a MobileNetV2 of 1.4 times the channels",
        partial(_wide_mobilenet, decoder),
        {**WIDE_MOBILENET, **WIDE_DECODERS[decoder]},
        multiple_of=16 if decoder == "deeplabv3plus" else 32,
        published=published,
    )


def _on_regnet(decoder: str, design: str, published: str, size: tuple[int, int] = (384, 768)) -> Architecture:
    first, third, last, width = REGNET_CHANNELS[design]
    shown, shortcut = REGNET_DECODERS[decoder]
    return _architecture(
        f"{decoder.replace('_', '-')}-regnetx{design}",
        f"{decoder}_regnetx{design}",
        f"{shown} on RegNetX-{design.upper().replace('P', '.')}",
        partial(_regnet, decoder, design),
        {
            "encoder.features.s1.b1.f.b.weight": (first, width, 3, 3),
            "encoder.features.s4.b1.f.a.weight": (last, third, 1, 1),
            shortcut: (None, first, 1, 1),
            CLASSES: (None, None, 1, 1),
        },
        multiple_of=16 if decoder == "deeplabv3plus" else 32,
        published=published,
        size=size,
    )


ARCHITECTURES = (
    _on_mobilenet("deeplabv3plus", "69.13 % mIoU on Cityscapes (68.77 trained for int8), 57.77 COCOSeg21; 3.54 GMAC"),
    _on_mobilenet("unet_aspp", "68.94 % mIoU on Cityscapes (68.18 trained for int8), 57.01 COCOSeg21; 2.20 GMAC"),
    _on_mobilenet("fpn_aspp", "70.39 % mIoU on Cityscapes (69.88 trained for int8), 50.72 ADE20K32"),
    _on_regnet("fpn_aspp", "400mf", "68.03 % mIoU on Cityscapes, 51.03 ADE20K32; 6.09 GMAC"),
    _on_regnet("fpn_aspp", "800mf", "72.01 % mIoU on Cityscapes, 61.15 COCOSeg21, 53.29 ADE20K32; 8.84 GMAC"),
    _on_regnet("fpn_aspp", "1p6gf", "75.84 % mIoU on Cityscapes; 24.29 GMAC, of a narrower decoder", (512, 1024)),
    _on_regnet("fpn_aspp", "3p2gf", "77.24 % mIoU on Cityscapes; 49.40 GMAC", (512, 1024)),
    _on_regnet("deeplabv3plus", "800mf", ""),
    # the same keys and shapes as the first three: a checkpoint is taken for theirs unless --arch names one of these
    *(_on_mobilenet(decoder, "", fast=True) for decoder in MOBILENET_DECODERS),
    _on_wide_mobilenet("fpn_aspp", "52.93 % mIoU on ADE20K32"),
    _on_wide_mobilenet("deeplabv3plus", ""),
)
