"""A small network as TI trains for int8 and exports, and a simulation of that training, from its description.

Nothing here knows how the package reads such files.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it
from toys import save

SIZE = (32, 48)
Round = Callable[[Tensor], Tensor]
Quantizer = Callable[[Tensor, float, float], Tensor]
Layer = Callable[[nn.Conv2d, Tensor, float], Tensor]


class Small(nn.Module):
    """All that TI's networks have, small: strides, a depthwise layer, a residual sum, resized maps that are put beside
    others and added to them, a head without bias. Activations go through `clip`, layers through `layer`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.project = nn.Conv2d(16, 16, 1)
        self.deeper = nn.Conv2d(16, 24, 3, 2, 1)
        self.merge = nn.Conv2d(40, 24, 3, 1, 1)
        self.lateral = nn.Conv2d(16, 24, 1)
        self.smooth = nn.Conv2d(24, 24, 3, 1, 1)
        self.head = nn.Conv2d(24, 7, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.3)

    def logits(self, x: Tensor, clip: Quantizer, layer: Layer) -> Tensor:
        """At half the size. The last argument of `layer` is the scale of its input."""
        x = clip(x, -2, 2)
        stem = clip(layer(self.stem, x, 2 / 128), 0, 4)
        inner = clip(layer(self.depthwise, stem, 4 / 256), 0, 8)
        residual = clip(stem + clip(layer(self.project, inner, 8 / 256), -8, 8), -8, 8)
        deep = clip(layer(self.deeper, residual, 8 / 128), 0, 16)
        beside = clip(torch.cat([enlarged(deep), residual], 1), -16, 16)
        merged = clip(layer(self.merge, beside, 16 / 128), 0, 16)
        added = clip(enlarged(deep) + clip(layer(self.lateral, residual, 8 / 128), 0, 8), 0, 16)
        smooth = clip(layer(self.smooth, clip(merged + added, 0, 32), 32 / 256), 0, 32)
        return clip(layer(self.head, smooth, 32 / 256), -32, 32)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As TI exports it: float layers and clamps."""
        logits = self.logits(x, lambda value, low, high: value.clamp(low, high), lambda conv, value, scale: conv(value))
        return logits, enlarged(logits).argmax(1, keepdim=True)

    def simulated(self, x: Tensor, rounding: Round) -> tuple[Tensor, Tensor]:
        """As TI's training for int8 computes it."""

        def clip(value: Tensor, low: float, high: float) -> Tensor:
            levels = 256 if low == 0 else 128
            codes = rounding(value * levels / high)
            return codes.clamp(0 if low == 0 else -128, levels - 1) * high / levels

        def layer(conv: nn.Conv2d, value: Tensor, scale: float) -> Tensor:
            weight, step = eight_bits(conv.weight)
            bias = None if conv.bias is None else eight_bits(conv.bias)[0]
            if bias is not None:
                bias = (bias / (scale * step)).clamp(-(2**15), 2**15 - 1) * scale * step
            return F.conv2d(value, weight, bias, conv.stride, conv.padding, groups=conv.groups)

        logits = self.logits(x, clip, layer)
        return logits, enlarged(logits).argmax(1, keepdim=True)


def eight_bits(value: Tensor) -> tuple[Tensor, float]:
    """Of a power-of-two scale, half away from zero; and the scale."""
    step = 2 ** float(torch.ceil(torch.log2(value.abs().max()))) / 128
    codes = torch.trunc(value / step + torch.where(value < 0, -0.5, 0.5)).clamp(-128, 127)
    return codes * step, step


def half_up(value: Tensor) -> Tensor:
    return torch.floor(value + 0.5)


def enlarged(value: Tensor) -> Tensor:
    return F.interpolate(value, scale_factor=2, mode="bilinear", align_corners=False)


def export(network: nn.Module, path: Path) -> Path:
    """As TI writes it: opset 11, one size, no names, shapes inferred."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, 3, *SIZE),), path, dynamo=False, opset_version=11)
    return save(onnx.shape_inference.infer_shapes(onnx.load(path)), path)


def photographs(count: int = 4) -> Tensor:
    """Smooth and noisy 8-bit images, normalised as TI does."""
    torch.manual_seed(0)
    coarse = torch.rand(count, 3, 4, 6) * 255
    pixels = F.interpolate(coarse, size=SIZE, mode="bilinear") + torch.randn(count, 3, *SIZE) * 12
    return (pixels.round().clamp(0, 255) - 128) / 64
