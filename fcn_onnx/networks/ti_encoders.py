"""The encoders of TI's pixel2pixel networks: torchvision's MobileNetV2 and pycls's RegNetX, without their classifiers.

Each returns the last features of every stride, finest first. (edgeai-torchvision, `xvision/models/multi_input_net.py`,
`mobilenetv2.py`, `regnet.py`.)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from fcn_onnx.networks.ti_blocks import conv_block, conv_norm

STEM = 32
"""Channels behind the first convolution, of stride 2."""

MOBILENET_STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
"""Per stage: expansion, channels, blocks."""

MOBILENET_LAST = (1, 3, 6, 13, 17)
"""Index of the last block of each stride."""

MOBILENET_CHANNELS = (16, 24, 32, 96, 320)

DIVISOR = 8
"""What widened channels are multiples of."""

BRANCH_SCALE = 0.2
"""Of the last batch norm of a residual branch before training: at 1, every block doubles the variance, and the logits
of an untrained network reach 30,000."""


@dataclass(frozen=True)
class RegNetX:
    """One of the family (Radosavovic et al., "Designing Network Design Spaces", CVPR 2020).

    Attributes:
        channels, blocks: of the four stages.
        width: channels of a group.
        decoder: channels of TI's decoder behind it.
    """

    channels: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    width: int
    decoder: int


REGNETS: Mapping[str, RegNetX] = {
    "400mf": RegNetX((32, 64, 160, 384), (1, 2, 7, 12), 16, 256),
    "800mf": RegNetX((64, 128, 288, 672), (1, 3, 7, 5), 16, 256),
    "1p6gf": RegNetX((72, 168, 408, 912), (2, 4, 10, 2), 24, 264),
    "3p2gf": RegNetX((96, 192, 432, 1008), (2, 6, 15, 2), 48, 288),
}


def widened(channels: int, width: float) -> int:
    """So many times the channels, to the nearest multiple of `DIVISOR`, and to the next where that is 10 % fewer."""
    wanted = channels * width
    nearest = max(DIVISOR, int(wanted + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest if nearest >= 0.9 * wanted else nearest + DIVISOR


def _calm(norm: nn.Module) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.constant_(norm.weight, BRANCH_SCALE)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, filter depthwise, project; its input is added where nothing changes its shape."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        widening = [conv_block(inputs, inner)] if expansion > 1 else []
        depthwise = conv_block(inner, inner, 3, stride=stride, groups=inner)
        self.adds = stride == 1 and inputs == outputs
        projection = conv_norm(inner, outputs)
        if self.adds:
            _calm(projection[-1])
        self.conv = nn.Sequential(*widening, depthwise, *projection)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, H / stride, W / stride)."""
        y: torch.Tensor = self.conv(x)
        return x + y if self.adds else y


class MobileNetV2Encoder(nn.Module):
    """Five maps of `MOBILENET_CHANNELS`.

    Args:
        last_stride: of the stage with 160 channels: 2, or 1 (which dilates nothing).
        fast: the first stage halves the size too, so that all strides are twice as large.
        width: what all channels are multiplied by, see `widened`.
    """

    def __init__(self, last_stride: int, fast: bool, width: float = 1) -> None:
        super().__init__()
        inputs = widened(STEM, width)
        blocks: list[nn.Module] = [conv_block(3, inputs, 3, stride=2)]
        strides = (2 if fast else 1, 2, 2, 2, 1, last_stride, 1)
        for (expansion, channels, count), stride in zip(MOBILENET_STAGES, strides, strict=True):
            outputs = widened(channels, width)
            for index in range(count):
                blocks.append(InvertedResidual(inputs, outputs, 1 if index else stride, expansion))
                inputs = outputs
        self.features = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, H, W) → at strides 2, 4, 8, 16 and 32; see `last_stride` and `fast`."""
        found = []
        for index, block in enumerate(self.features):
            x = block(x)
            if index in MOBILENET_LAST:
                found.append(x)
        return found


class RegNetBlock(nn.Module):
    """pycls's residual block without expansion; the first of a stage projects its input."""

    def __init__(self, inputs: int, outputs: int, stride: int, width: int, projects: bool) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["a"], parts["a_bn"] = conv_norm(inputs, outputs)
        parts["a_relu"] = nn.ReLU()
        parts["b"], parts["b_bn"] = conv_norm(outputs, outputs, 3, stride=stride, groups=outputs // width)
        parts["b_relu"] = nn.ReLU()
        parts["c"], parts["c_bn"] = conv_norm(outputs, outputs)
        _calm(parts["c_bn"])
        self.f = nn.Sequential(parts)
        self.projects = projects
        if projects:
            self.proj, self.bn = conv_norm(inputs, outputs, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, H / stride, W / stride)."""
        shortcut = self.bn(self.proj(x)) if self.projects else x
        return torch.relu(self.f(x) + shortcut)


class RegNetEncoder(nn.Module):
    """Four maps of `design.channels`.

    Args:
        design: which RegNetX.
        last_stride: of the last stage: 2, or 1.
    """

    def __init__(self, design: RegNetX, last_stride: int) -> None:
        super().__init__()
        stem: OrderedDict[str, nn.Module] = OrderedDict()
        stem["conv"], stem["bn"] = conv_norm(3, STEM, 3, stride=2)
        stem["relu1"] = nn.ReLU()
        parts: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(stem))
        inputs = STEM
        strides = (2, 2, 2, last_stride)
        for stage, (outputs, count) in enumerate(zip(design.channels, design.blocks, strict=True)):
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            for index in range(count):
                stride = 1 if index else strides[stage]
                blocks[f"b{index + 1}"] = RegNetBlock(inputs, outputs, stride, design.width, projects=not index)
                inputs = outputs
            parts[f"s{stage + 1}"] = nn.Sequential(blocks)
        self.features = nn.Sequential(parts)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, H, W) → at strides 4, 8, 16 and 32; see `last_stride`."""
        found = []
        for part in self.features:
            x = part(x)
            found.append(x)
        return found[1:]
