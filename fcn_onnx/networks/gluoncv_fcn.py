"""GluonCV's FCN on `resnet50_v1s` and `resnet101_v1s`.

A stem of three 3×3 convolutions of widths 64, 64 and 128, output stride 8, heads as torchvision's, and bilinear
resizes with aligned corners.
"""

from __future__ import annotations

import torch
from torch import nn

from fcn_onnx.networks.heads import block_head, he_normal, resized
from fcn_onnx.networks.resnet import BLOCKS, PLANES, deep_stem, stages

STEM_WIDTH = 64
LAST_OF_STEM = 7
"""Layers of the stem that are called `conv1`; the batch norm behind them is `bn1`."""


class GluonFCN(nn.Module):
    """(N, 3, H, W) float32 → `out` and, with `aux`, `aux`, each (N, classes, H, W) float32 logits.

    Args:
        backbone: a name in `BLOCKS`.
        classes: how many.
        aux: with the auxiliary head, on the features of `layer3`.
        divide: all other widths are divided by this.
    """

    def __init__(self, backbone: str, classes: int, aux: bool, divide: int = 1) -> None:
        super().__init__()
        planes = [width // divide for width in PLANES]
        stem = deep_stem(STEM_WIDTH // divide)
        self.conv1, self.bn1 = stem[:LAST_OF_STEM], stem[LAST_OF_STEM]
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        for name, stage in stages(2 * STEM_WIDTH // divide, planes, BLOCKS[backbone]).items():
            self.add_module(name, stage)
        self.head = block_head(4 * planes[3], classes)
        self.auxlayer = block_head(4 * planes[2], classes) if aux else None
        he_normal(self)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        third = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in ("layer1", "layer2", "layer3"):
            third = self.get_submodule(name)(third)
        outputs = {"out": resized(self.head(self.get_submodule("layer4")(third)), x, align_corners=True)}
        if self.auxlayer is not None:
            outputs["aux"] = resized(self.auxlayer(third), x, align_corners=True)
        return outputs
