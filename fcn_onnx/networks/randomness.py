"""Random weights with which a network is worth running: what comes out depends on what goes in."""

from __future__ import annotations

from typing import Any

import torch

LEAST_SIDE, STRIDES = 128, 8
"""Of the noise: at stride 32, 128 pixels are four places, whose mean and variance are not those of larger images."""
RESIDUAL_SCALE = 0.2
LEAST_VARIANCE = 1e-3
"""Of a channel: what is nearly constant, as behind a pooling of the whole image, is not blown up."""


def settle(network: torch.nn.Module, multiple_of: int | None) -> None:
    """Give every batch norm the mean and the variance of what it reads when the network is shown noise.

    As they are initialised, with mean 0 and variance 1, the signal of an untrained network dies away or explodes in
    evaluation mode: torchvision's DeepLabV3 on MobileNetV3 returns the same logits everywhere to five digits, so that
    any graph would agree with it, and ResNet-101's reach 19,000, where float32 agrees with nothing. The layers are
    settled one after the other, in one run on seeded normal noise, as training does with momentum 1.

    The last batch norm of each residual branch is scaled first: with all branches as loud as what they are added to, a
    deep network magnifies a rounding error tenfold. (After the zero initialisation of Goyal et al. 2017, but not 0,
    which would leave channels dead.)
    """
    with torch.no_grad():
        for name, module in network.named_modules():
            if name.endswith(".bn3") and isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(RESIDUAL_SCALE)
    side = max(LEAST_SIDE, STRIDES * (multiple_of or 1))
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(_take) for norm in norms]
    noise = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            network.eval()(noise)
    finally:
        for hook in hooks:
            hook.remove()


def _take(norm: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance.clamp_min(LEAST_VARIANCE))
