"""GluonCV: FCN on ResNet v1s, and what MXNet calls its parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from fcn_onnx.data.label_spaces import ADE20K
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.networks.architecture import Architecture, Shapes, by_keys
from fcn_onnx.networks.origins.renaming import last_renamed, renamed

if TYPE_CHECKING:
    import torch

    from fcn_onnx.networks.architecture import State

KINDS = {"gamma": "weight", "beta": "bias"}
"""What MXNet calls the parameters of a batch norm; the others are called alike."""

Place = Callable[[re.Match[str]], str]

STEM = {"conv": ("conv1.0", "conv1.3", "conv1.6"), "batchnorm": ("conv1.1", "conv1.4", "bn1")}
BOTTLENECK = {"conv": "conv", "batchnorm": "bn"}
HEADS = ("head", "auxlayer")
OF_HEAD = {"conv0": 0, "batchnorm0": 1, "conv1": 4}

SCOPES: tuple[tuple[re.Pattern[str], Place], ...] = (
    (
        re.compile(r"resnetv1s_(conv|batchnorm)([0-2])"),
        lambda m: STEM[m[1]][int(m[2])],
    ),
    (
        re.compile(r"resnetv1s_layers([1-4])_(conv|batchnorm)(\d{1,3})"),
        lambda m: f"layer{m[1]}.{int(m[3]) // 3}.{BOTTLENECK[m[2]]}{int(m[3]) % 3 + 1}",
    ),
    (
        re.compile(r"resnetv1s_down([1-4])_(conv|batchnorm)0"),
        lambda m: f"layer{m[1]}.0.downsample.{('conv', 'batchnorm').index(m[2])}",
    ),
    (
        re.compile(r"_fcnhead([01])_hybridsequential0_(conv[01]|batchnorm0)"),
        lambda m: f"{HEADS[int(m[1])]}.block.{OF_HEAD[m[2]]}",
    ),
)
"""Scopes, numbered in the order in which they were made, and which module each is."""

SCOPED = re.compile(r"(?:(?:arg|aux):)?(?:fcn\d+_)?(.+)_(weight|bias|gamma|beta|running_mean|running_var)")


def module_name(key: str) -> str:
    """What a parameter of MXNet is called here; a key that is none of theirs stays as it is.

    They are written in three ways: `layer1.0.bn1.gamma` (`save_parameters`),
    `arg:fcn0_resnetv1s_layers1_batchnorm0_gamma` (`export`; `aux:` for running statistics), and the latter without its
    prefixes (the old `save_params`).
    """
    if match := SCOPED.fullmatch(key):
        scope, kind = match.groups()
        for pattern, place in SCOPES:
            if found := pattern.fullmatch(scope):
                return f"{place(found)}.{KINDS.get(kind, kind)}"
    return last_renamed(key, KINDS)


def adopt(state: State) -> State:
    """The state dict under the module's names.

    Raises:
        WeightsError: it holds one of them twice.
    """
    return renamed(state, module_name)


def _recognises(has: Mapping[str, tuple[int | None, ...]], lacks: str, shapes: Shapes) -> bool:
    return by_keys(has, lacks=(lacks,))({module_name(key): shape for key, shape in shapes.items()})


def _build(backbone: str, classes: int, aux: bool) -> torch.nn.Module:
    from fcn_onnx.networks.gluoncv_fcn import GluonFCN

    return GluonFCN(backbone, classes, aux)


def _architecture(depth: int, last: int, published: str) -> Architecture:
    has: dict[str, tuple[int | None, ...]] = {
        "conv1.6.weight": (128, 64, 3, 3),
        f"layer3.{last}.conv1.weight": (256, 1024, 1, 1),
        "head.block.0.weight": (512, 2048, 3, 3),
        "head.block.4.weight": (None, 512, 1, 1),
    }
    return Architecture(
        name=f"gluoncv-fcn-resnet{depth}",
        description=f"GluonCV's FCN on resnet{depth}_v1s",
        origin="GluonCV",
        build=partial(_build, f"resnet{depth}"),
        recognises=partial(_recognises, has, f"layer3.{last + 1}.conv1.weight"),
        class_key="head.block.4.weight",
        adopt=adopt,
        aux_keys="auxlayer.",
        no_weights="GluonCV's zoo has several .params files, by data set, and which is meant is yours to say",
        other_classes=(ADE20K.names,),
        preprocessing=Preprocessing(resize=Resize()),
        protocol="voc-native",
        size=(480, 480),
        published=published,
    )


ARCHITECTURES = (
    _architecture(50, 5, "39.5 % mIoU, 79.0 % pixels on ADE20K; none on VOC"),
    _architecture(101, 22, "66.2 % mIoU, 92.2 % pixels on COCO; 83.6 % on the VOC test server; 41.6, 80.6 on ADE20K"),
)
