"""A small FCN with the anatomy of the real one: what the demo, the tests and quick experiments run.

Same parts and names as torchvision's `fcn_resnet50`: a stride-2 stem with batch norm and max pooling, four
stages of bottlenecks with residual additions (the last two dilated, output stride 8), a head on `layer4`
(`out`) and one on `layer3` (`aux`), bilinear upsampling to the input's size. 279,818 parameters and
1.8 GMAC at 520×693, a hundredth of fcn_resnet50's.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.networks.resnet import stages
from fcn_onnx.networks.torchvision_compat import import_torchvision

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = Path(__file__).with_name("tiny_weights.pth")
"""State dict with both heads, half precision, made by `tools/train_tiny.py`."""

STEM_WIDTH = 16
PLANES = (8, 16, 32, 48)
"""Of each stage: a quarter of its output channels."""

BLOCKS = (1, 2, 2, 2)
"""Bottlenecks in each stage."""


def build_tiny(aux: bool = True, classes: int = len(VOC_CLASSES)) -> nn.Module:
    """The network with fresh random weights, in training mode.

    Args:
        aux: with the auxiliary head.

    Returns:
        torchvision's `FCN`: (N, 3, H, W) float32 → OrderedDict of `out` and, with `aux`, `aux`, each
        (N, classes, H, W) float32 logits.

    Raises:
        MissingDependencyError: torch or torchvision is not installed.
    """
    import_torchvision()
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation.fcn import FCN, FCNHead

    layers = {"layer4": "out", "layer3": "aux"} if aux else {"layer4": "out"}
    backbone = IntermediateLayerGetter(_trunk(), return_layers=layers)
    out_channels, aux_channels = 4 * PLANES[3], 4 * PLANES[2]
    model: nn.Module = FCN(backbone, FCNHead(out_channels, classes), FCNHead(aux_channels, classes) if aux else None)
    return model


def _trunk() -> nn.Sequential:
    """Stem and stages, named as in torchvision's ResNet."""
    from torch import nn

    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, STEM_WIDTH, kernel_size=7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(STEM_WIDTH),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )
    layers.update(stages(STEM_WIDTH, PLANES, BLOCKS))
    return nn.Sequential(layers)
