"""What several families do with their last features: a head named `block`, and scores resized to another map's size."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from fcn_onnx.networks.torchvision_compat import import_torchvision


def block_head(channels: int, classes: int) -> nn.Sequential:
    """torchvision's FCN head under the name that Tramac and GluonCV have it by: `block.0.weight` … `block.4.bias`."""
    import_torchvision()
    from torchvision.models.segmentation.fcn import FCNHead

    return nn.Sequential(OrderedDict(block=FCNHead(channels, classes)))


def resized(scores: torch.Tensor, like: torch.Tensor, *, align_corners: bool) -> torch.Tensor:
    """(N, C, h, w) scores at the height and width of `like`, bilinear."""
    size = like.shape[-2:]  # read in the call, so that a traced graph reads it too
    return nn.functional.interpolate(scores, size=size, mode="bilinear", align_corners=align_corners)


def he_normal(network: nn.Module) -> None:
    """Initialise every convolution so that ReLUs keep the variance (He et al. 2015), and biases with 0.

    What torch does of itself divides the variance by six in each layer: after a dozen of them all pixels look alike.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
