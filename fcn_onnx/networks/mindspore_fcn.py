"""MindSpore's FCN-8s (mindspore-ai/models), which is the paper's VGG-16 one with batch norm and learned upsampling.

Padding is `same` throughout; scores of `pool4` and `pool3` are added to what transposed convolutions make of the deeper
ones, so both sides of an image must be multiples of 32.
"""

from __future__ import annotations

import torch
from torch import nn

from fcn_onnx.networks.heads import he_normal

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Of VGG-16's blocks: channels, and how many convolutions."""

FULLY_CONVOLUTIONAL = 4096
"""Channels of `conv6` and `conv7`, which were fully connected layers."""


class MindSporeFCN8s(nn.Module):
    """(N, 3, H, W) float32 → `out`, (N, classes, H, W) float32 logits; H and W are multiples of 32.

    Args:
        classes: how many.
        divide: all other widths are divided by this.
    """

    def __init__(self, classes: int, divide: int = 1) -> None:
        super().__init__()
        channels = 3
        for number, (width, count) in enumerate(zip(WIDTHS, CONVOLUTIONS, strict=True), start=1):
            self.add_module(f"conv{number}", _same(channels, width // divide, kernel=3, count=count))
            channels = width // divide
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        wide = FULLY_CONVOLUTIONAL // divide
        self.conv6, self.conv7 = _same(channels, wide, kernel=7), _same(wide, wide, kernel=1)
        self.score_fr = nn.Conv2d(wide, classes, kernel_size=1, bias=False)
        self.score_pool4 = nn.Conv2d(WIDTHS[3] // divide, classes, kernel_size=1, bias=False)
        self.score_pool3 = nn.Conv2d(WIDTHS[2] // divide, classes, kernel_size=1, bias=False)
        he_normal(self)
        self.upscore2, self.upscore_pool4, self.upscore8 = (_up(classes, stride) for stride in (2, 2, 8))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        pools = [x]
        for number in range(1, len(WIDTHS) + 1):
            pools.append(self.pool(self.get_submodule(f"conv{number}")(pools[-1])))
        deepest = self.score_fr(self.conv7(self.conv6(pools[5])))
        fourth = self.score_pool4(pools[4]) + self.upscore2(deepest)
        third = self.score_pool3(pools[3]) + self.upscore_pool4(fourth)
        return {"out": self.upscore8(third)}


def _same(channels: int, width: int, *, kernel: int, count: int = 1) -> nn.Sequential:
    """Convolutions of stride 1 that keep the size, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for _ in range(count):
        conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)


def _up(classes: int, stride: int) -> nn.ConvTranspose2d:
    """A learned upsampling to exactly `stride` times the size, each class from all."""
    up = nn.ConvTranspose2d(classes, classes, 2 * stride, stride, padding=stride // 2, bias=False)
    nn.init.xavier_normal_(up.weight, gain=stride)  # each pixel meets 4 of a class's 4 · stride² weights
    return up
