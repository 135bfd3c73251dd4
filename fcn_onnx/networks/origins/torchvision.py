"""torchvision's segmentation networks, trained on the part of COCO that has VOC's 20 classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from fcn_onnx.jobs.artifact import digest_bytes
from fcn_onnx.networks.architecture import AUX, OUT, Architecture, WeightsInfo, by_keys

if TYPE_CHECKING:
    import torch

    from fcn_onnx.networks.architecture import State

ORIGIN = "torchvision"
FCN_HEAD, DEEPLAB_HEAD, LRASPP_HEAD = "classifier.0.weight", "classifier.0.project.0.weight", "classifier.cbr.0.weight"
RESNET, MOBILENET = "backbone.conv1.weight", "backbone.16.0.weight"
LAST_OF_STAGE_3 = "backbone.layer3.{}.conv1.weight"


def _build(builder: str, heads: tuple[str, ...], classes: int, aux: bool) -> torch.nn.Module:
    from fcn_onnx.networks.torchvision_models import build_model

    return build_model(builder, classes, aux if AUX in heads else None)


def _weights(builder: str) -> tuple[State, WeightsInfo]:
    from fcn_onnx.networks.torchvision_models import published_weights

    state, file = published_weights(builder)
    return state, WeightsInfo(file, digest_bytes(file.encode()), random=False)


def _architecture(
    builder: str,
    description: str,
    published: str,
    has: Mapping[str, tuple[int | None, ...]],
    *,
    lacks: tuple[str, ...] = (),
    name: str | None = None,
    heads: tuple[str, ...] = (OUT, AUX),
    class_key: str = "classifier.4.weight",
) -> Architecture:
    """`torchvision.models.segmentation.<builder>`; the name is the builder's unless it has a shorter one."""
    return Architecture(
        name=name or builder,
        aliases=(builder,) if name else (),
        description=f"torchvision's {description}",
        origin=ORIGIN,
        build=partial(_build, builder, heads),
        recognises=by_keys({class_key: (None, None, 1, 1), **has}, lacks=lacks),
        class_key=class_key,
        heads=heads,
        default_weights=partial(_weights, builder),
        published=published,
    )


def _resnet(depth: int, head: Mapping[str, tuple[int | None, ...]]) -> Mapping[str, tuple[int | None, ...]]:
    last = {50: 5, 101: 22}[depth]
    return {RESNET: (64, 3, 7, 7), LAST_OF_STAGE_3.format(last): (256, 1024, 1, 1), **head}


DEEPER = (LAST_OF_STAGE_3.format(6),)
FCN: Mapping[str, tuple[int | None, ...]] = {FCN_HEAD: (512, 2048, 3, 3)}
DEEPLAB: Mapping[str, tuple[int | None, ...]] = {DEEPLAB_HEAD: (256, 1280, 1, 1)}

ARCHITECTURES = (
    _architecture(
        "fcn_resnet50",
        "FCN ResNet-50",
        "60.5 % mIoU, 91.4 % pixels; 35.3 M, 152.7 GMAC",
        _resnet(50, FCN),
        lacks=DEEPER,
        name="resnet50",
    ),
    _architecture(
        "fcn_resnet101",
        "FCN ResNet-101",
        "63.7 % mIoU, 91.9 % pixels; 54.3 M, 232.7 GMAC",
        _resnet(101, FCN),
        name="resnet101",
    ),
    _architecture(
        "deeplabv3_resnet50",
        "DeepLabV3 ResNet-50",
        "66.4 % mIoU, 92.4 % pixels; 42.0 M, 178.7 GMAC",
        _resnet(50, DEEPLAB),
        lacks=DEEPER,
    ),
    _architecture(
        "deeplabv3_resnet101",
        "DeepLabV3 ResNet-101",
        "67.4 % mIoU, 92.4 % pixels; 61.0 M, 258.7 GMAC",
        _resnet(101, DEEPLAB),
    ),
    _architecture(
        "deeplabv3_mobilenet_v3_large",
        "DeepLabV3 MobileNetV3-Large",
        "60.3 % mIoU, 91.2 % pixels; 11.0 M, 10.45 GMAC",
        {MOBILENET: (960, 160, 1, 1), **DEEPLAB},
    ),
    _architecture(
        "lraspp_mobilenet_v3_large",
        "LR-ASPP MobileNetV3-Large, without auxiliary head",
        "57.9 % mIoU, 91.2 % pixels; 3.2 M, 2.09 GMAC",
        {MOBILENET: (960, 160, 1, 1), LRASPP_HEAD: (128, 960, 1, 1)},
        heads=(OUT,),
        class_key="classifier.low_classifier.weight",
    ),
)
