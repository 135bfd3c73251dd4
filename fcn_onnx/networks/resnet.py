"""The parts of dilated ResNets that families share: torchvision's, mmsegmentation's and GluonCV's differ in their stem
and in names alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fcn_onnx.networks.torchvision_compat import import_torchvision

if TYPE_CHECKING:
    from torch import nn

BLOCKS: Mapping[str, tuple[int, int, int, int]] = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
"""Bottlenecks in each stage."""

PLANES = (64, 128, 256, 512)
"""Of each stage: a quarter of its output channels."""

STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)
"""Of each stage. Its first bottleneck has the dilation of the stage before."""


def stages(channels: int, planes: Sequence[int], blocks: Sequence[int]) -> OrderedDict[str, nn.Module]:
    """`layer1` to `layer4` of torchvision's bottlenecks, output stride 8 behind a stem of stride 4.

    Args:
        channels: that the first stage reads.
        planes, blocks: of each stage; it returns 4 · planes channels.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    before = 1
    for number, (width, count, stride, dilation) in enumerate(
        zip(planes, blocks, STRIDES, DILATIONS, strict=True), start=1
    ):
        layers[f"layer{number}"] = _stage(channels, width, count, stride, (before, dilation))
        channels, before = 4 * width, dilation
    return layers


def _stage(channels: int, planes: int, blocks: int, stride: int, dilations: tuple[int, int]) -> nn.Sequential:
    """Bottlenecks as torchvision stacks them: the first has the stride and the dilation before."""
    import_torchvision()
    from torch import nn
    from torchvision.models.resnet import Bottleneck

    shortcut = nn.Sequential(
        nn.Conv2d(channels, 4 * planes, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(4 * planes),
    )
    first = Bottleneck(channels, planes, stride, shortcut, dilation=dilations[0])
    rest = (Bottleneck(4 * planes, planes, dilation=dilations[1]) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def deep_stem(width: int) -> nn.Sequential:
    """Three 3×3 convolutions in place of one of 7×7, the first of stride 2, each with batch norm and ReLU.

    Args:
        width: channels of the first two; the third has twice as many.
    """
    from torch import nn

    layers: list[nn.Module] = []
    for channels, out, stride in ((3, width, 2), (width, width, 1), (width, 2 * width, 1)):
        layers += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
