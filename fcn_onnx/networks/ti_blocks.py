"""What TI's pixel2pixel networks are built of, under the names that their checkpoints use.

Convolutions have no bias; all but the last are followed by a batch norm. Bilinear upsampling is by a factor, without
aligned corners. (edgeai-modeloptimization, `xnn/layers/conv_blocks.py`, `rf_blocks.py`, `resize_blocks.py`.)
"""

from __future__ import annotations

import torch
from torch import nn

DILATIONS = (6, 12, 18)
DROPPED = 0.2
"""Share of the channels of an ASPP's concatenation that training drops."""


def conv_norm(
    inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size, but for its stride, and its batch norm."""
    padding = (kernel - 1) // 2 * dilation
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def conv_block(
    inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """The same with a rectifier: keys `0` and `1`."""
    layers = conv_norm(inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups)
    return nn.Sequential(*layers, nn.ReLU())


def separable(inputs: int, outputs: int, width: int, *, dilation: int = 1) -> nn.Sequential:
    """A 3×3 convolution of groups of `width` channels (1 is depthwise) and a pointwise one: keys `0.*` and `1.*`."""
    return nn.Sequential(
        conv_block(inputs, inputs, 3, dilation=dilation, groups=inputs // width), conv_block(inputs, outputs)
    )


def prediction(inputs: int, classes: int, width: int) -> nn.Sequential:
    """The head: the grouped convolution has no rectifier, the pointwise one is bare."""
    return nn.Sequential(
        nn.Sequential(*conv_norm(inputs, inputs, 3, groups=inputs // width)),
        nn.Sequential(nn.Conv2d(inputs, classes, 1, bias=False)),
    )


class ASPP(nn.Module):
    """Atrous pyramid of a pointwise and three separable branches, without image pooling; `outputs` channels."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.conv1x1 = conv_block(inputs, outputs)
        self.aspp_bra1, self.aspp_bra2, self.aspp_bra3 = (
            separable(inputs, outputs, width, dilation=dilation) for dilation in DILATIONS
        )
        self.dropout = nn.Dropout2d(DROPPED)
        self.aspp_out = conv_block((1 + len(DILATIONS)) * outputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) → (N, outputs, H, W)."""
        branches = (self.conv1x1, self.aspp_bra1, self.aspp_bra2, self.aspp_bra3)
        result: torch.Tensor = self.aspp_out(self.dropout(torch.cat([branch(x) for branch in branches], 1)))
        return result


def enlarged(x: torch.Tensor, factor: int) -> torch.Tensor:
    """(N, C, H, W) → (N, C, factor · H, factor · W), bilinear."""
    return nn.functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
