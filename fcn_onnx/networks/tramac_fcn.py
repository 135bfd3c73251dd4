"""FCN-32s, -16s and -8s as Tramac/awesome-semantic-segmentation-pytorch has them, which are not the paper's.

VGG-16 without batch norm and without fc6 and fc7; one head behind its last pooling; scores of `pool4` and `pool3` added
to it, each after a bilinear resize with aligned corners. No padding of 100, no cropping, no transposed convolution.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from fcn_onnx.networks.heads import block_head, he_normal, resized
from fcn_onnx.networks.torchvision_compat import import_torchvision

PARTS: Mapping[int, Mapping[str, tuple[int, int]]] = {
    32: {"pretrained": (0, 31)},
    16: {"pool4": (0, 24), "pool5": (24, 31)},
    8: {"pool3": (0, 17), "pool4": (17, 24), "pool5": (24, 31)},
}
"""By output stride: the parts that run, one after the other, and which layers of VGG-16 each is."""

WIDTH = 512
"""Channels of VGG-16's last two blocks."""


class TramacFCN(nn.Module):
    """(N, 3, H, W) float32 → `out` and, with `aux`, `aux`, each (N, classes, H, W) float32 logits; H, W at least 32.

    Args:
        stride: 32, 16 or 8.
        classes: how many.
        aux: with the auxiliary head, on the same features as the other.
        divide: widths of VGG-16 are divided by this.
    """

    def __init__(self, stride: int, classes: int, aux: bool, divide: int = 1) -> None:
        super().__init__()
        import_torchvision()
        from torchvision.models.vgg import cfgs, make_layers

        widths = [width if width == "M" else width // divide for width in cfgs["D"]]
        self.parts = tuple(PARTS[stride])
        self.pretrained = make_layers(widths)
        if stride < 32:  # the same layers by other names: checkpoints hold them twice
            for name, (first, last) in PARTS[stride].items():
                self.add_module(name, nn.Sequential(*self.pretrained[first:last]))
        self.head = block_head(WIDTH // divide, classes)
        if stride <= 16:
            self.score_pool4 = nn.Conv2d(WIDTH // divide, classes, 1)
        if stride <= 8:
            self.score_pool3 = nn.Conv2d(WIDTH // 2 // divide, classes, 1)
        self.auxlayer = block_head(WIDTH // divide, classes) if aux else None
        he_normal(self)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        value, pools = x, {}
        for name in self.parts:
            value = pools[name] = self.get_submodule(name)(value)
        score = self.head(value)
        for name in self.parts[-2::-1]:  # from the deepest up
            pool = pools[name]
            score = resized(score, pool, align_corners=True) + self.get_submodule(f"score_{name}")(pool)
        outputs = {"out": resized(score, x, align_corners=True)}
        if self.auxlayer is not None:
            outputs["aux"] = resized(self.auxlayer(value), x, align_corners=True)
        return outputs
