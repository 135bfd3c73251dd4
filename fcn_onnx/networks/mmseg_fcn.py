"""mmsegmentation's `fcn_r50-d8` and `fcn_r101-d8`, as they run at inference: without the auxiliary head.

ResNetV1c (a stem of three 3×3 convolutions) of output stride 8; a head of two 3×3 convolutions, and a third that reads
the features beside what these made of them; a bilinear resize without aligned corners.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from fcn_onnx.networks.heads import he_normal, resized
from fcn_onnx.networks.resnet import BLOCKS, PLANES, deep_stem, stages

HEAD_WIDTH = 512
STEM_WIDTH = 32


class MmsegFCN(nn.Module):
    """(N, 3, H, W) float32 → `out`, (N, classes, H, W) float32 logits.

    Args:
        backbone: a name in `BLOCKS`.
        classes: how many.
        divide: all other widths are divided by this.
    """

    def __init__(self, backbone: str, classes: int, divide: int = 1) -> None:
        super().__init__()
        planes = [width // divide for width in PLANES]
        self.backbone = nn.Sequential(
            OrderedDict(
                stem=deep_stem(STEM_WIDTH // divide),
                maxpool=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
                **stages(2 * STEM_WIDTH // divide, planes, BLOCKS[backbone]),
            )
        )
        self.decode_head = DecodeHead(4 * planes[-1], HEAD_WIDTH // divide, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": resized(self.decode_head(self.backbone(x)), x, align_corners=False)}


class DecodeHead(nn.Module):
    """mmsegmentation's `FCNHead` of two convolutions, with `concat_input`.

    Args:
        channels: that it reads.
        width: of its convolutions.
        classes: how many it scores.
    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(_conv_module(channels, width), _conv_module(width, width))
        self.conv_cat = _conv_module(channels + width, width)
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        both = torch.cat([features, self.convs(features)], dim=1)
        scores: torch.Tensor = self.conv_seg(self.dropout(self.conv_cat(both)))
        return scores


def _conv_module(channels: int, width: int) -> nn.Sequential:
    """mmcv's `ConvModule`: 3×3 convolution, batch norm, ReLU."""
    conv = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(width), activate=nn.ReLU(inplace=True)))
