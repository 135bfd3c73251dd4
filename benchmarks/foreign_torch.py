"""Networks of other people's libraries, for `benchmarks/networks.py`; each is a function that returns a torch module.

    pip install segmentation-models-pytorch transformers

They are built with random weights, of 21 classes; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

CLASSES = 21


current: list[nn.Module] = []
"""What was fitted last: a factory takes no argument."""


def made() -> nn.Module:
    """For `export --network foreign_torch:made`."""
    return current[-1]


def _smp(name: str, encoder: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import segmentation_models_pytorch as smp

        return getattr(smp, name)(encoder, encoder_weights=None, classes=CLASSES, **options)

    return build


class _Logits(nn.Module):
    """Of a Hugging Face model: its `logits`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=x).logits


def _segformer() -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return _Logits(SegformerForSemanticSegmentation(SegformerConfig(num_labels=CLASSES, attn_implementation="eager")))


class _PreActivated(nn.Module):
    """Batch norms before their convolutions, so that none can be folded (He et al. 2016, figure 4e)."""

    def __init__(self) -> None:
        super().__init__()

        def block(width: int) -> nn.Sequential:
            return nn.Sequential(
                *(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)),
                *(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)),
            )

        self.stem = nn.Conv2d(3, 32, 7, 2, 3)
        self.blocks = nn.ModuleList(block(32) for _ in range(3))
        self.down = nn.Conv2d(32, 96, 3, 2, 1)
        self.deeper = nn.ModuleList(block(96) for _ in range(4))
        self.scores = nn.Conv2d(96, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        x = self.down(x)
        for block in self.deeper:
            x = x + block(x)
        return nn.functional.interpolate(self.scores(x), size, mode="bilinear")


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "smp U-Net, ResNet-18": _smp("Unet", "resnet18"),
    "smp U-Net++, ResNet-18": _smp("UnetPlusPlus", "resnet18"),
    "smp FPN, ResNet-18": _smp("FPN", "resnet18"),
    "smp PSPNet, ResNet-18": _smp("PSPNet", "resnet18"),
    "smp DeepLabV3+, MobileNetV2": _smp("DeepLabV3Plus", "mobilenet_v2"),
    "smp Linknet, EfficientNet-B0": _smp("Linknet", "efficientnet-b0"),
    "smp PAN, ResNet-18": _smp("PAN", "resnet18"),
    "smp MAnet, ResNet-18": _smp("MAnet", "resnet18"),
    "smp U-Net, timm MobileNetV3": _smp("Unet", "tu-mobilenetv3_large_100"),
    "Hugging Face SegFormer-B0": _segformer,
    "smp UPerNet, timm ConvNeXt": _smp("UPerNet", "tu-convnext_atto", decoder_channels=64),
    "batch norm before its convolution": _PreActivated,
}
"""By the name that the table shows."""
