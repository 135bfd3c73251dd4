"""TI's edgeai-lite pixel2pixel networks: an encoder, and a DeepLabV3+, U-Net or FPN decoder of separable convolutions.

A checkpoint's keys begin with `encoder.features.` and `decoders.0.`. TI's own module ends with an argmax in evaluation
mode; these end with its logits. (edgeai-torchvision, `xvision/models/pixel2pixel/*_edgeailite.py`.)
"""

from __future__ import annotations

import torch
from torch import nn

from fcn_onnx.networks.ti_blocks import ASPP, conv_block, enlarged, prediction, separable
from fcn_onnx.networks.ti_encoders import MOBILENET_CHANNELS, MobileNetV2Encoder, RegNetEncoder, RegNetX, widened

DECODER = 256
"""Channels of the decoder behind a MobileNetV2."""

SHORTCUT = 48
UNET_LEAST = 32
"""Channels that a U-Net's decoder has at least, or twice its classes."""

WIDE = 1.4
"""How many times the channels of MobileNetV2 the networks called `1p4` have, in the decoder too."""

Features = list[torch.Tensor]


class DeepLabDecoder(nn.Module):
    """ASPP of the coarsest map, enlarged to the finest, beside a narrow copy of that.

    Args:
        channels: of the finest and of the coarsest map.
        enlarges: ratio of their strides.
        stride: of the finest.
        own: channels of the pyramid and of the copy.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        classes: int,
        width: int,
        enlarges: int,
        stride: int,
        own: tuple[int, int] = (DECODER, SHORTCUT),
    ) -> None:
        super().__init__()
        decoder, shortcut = own
        self.aspp = ASPP(channels[1], decoder, width)
        self.shortcut = conv_block(channels[0], shortcut)
        self.pred = prediction(decoder + shortcut, classes, width)
        self.enlarges, self.stride = enlarges, stride

    def forward(self, features: Features) -> torch.Tensor:
        """Maps, finest first → (N, classes, H, W) logits."""
        coarse = enlarged(self.aspp(features[-1]), self.enlarges)
        return enlarged(self.pred(torch.cat([coarse, self.shortcut(features[0])], 1)), self.stride)


class Pyramid(nn.Module):
    """The layers of an FPN or a U-Net, by the index of the level; the coarsest, 0, has none."""

    def __init__(self, shortcuts: list[nn.Module], smooth_convs: list[nn.Module]) -> None:
        super().__init__()
        if shortcuts:
            self.shortcuts = nn.ModuleList([nn.Identity(), *shortcuts])
        self.smooth_convs = nn.ModuleList([nn.Identity(), *smooth_convs])


class FPNDecoder(nn.Module):
    """From the ASPP of the coarsest map down to the finest: enlarge, add, smooth.

    Args:
        channels: of the maps, finest first.
        decoder: its own.
        stride: of the finest.
    """

    def __init__(self, channels: tuple[int, ...], classes: int, width: int, decoder: int, stride: int) -> None:
        super().__init__()
        self.rfblock = ASPP(channels[-1], decoder, width)
        finer = channels[-2::-1]
        self.fpn = Pyramid(
            [conv_block(own, decoder) for own in finer], [separable(decoder, decoder, width) for _ in finer]
        )
        self.pred = prediction(decoder, classes, width)
        self.stride = stride

    def forward(self, features: Features) -> torch.Tensor:
        """Maps, finest first → (N, classes, H, W) logits."""
        x = self.rfblock(features[-1])
        for level, own in enumerate(features[-2::-1], 1):
            x = self.fpn.smooth_convs[level](enlarged(x, 2) + self.fpn.shortcuts[level](own))
        return enlarged(self.pred(x), self.stride)


class UNetDecoder(nn.Module):
    """From the ASPP of the coarsest map down to the finest: enlarge, put beside, smooth.

    Args:
        channels: of the maps, finest first.
        stride: of the finest.
    """

    def __init__(self, channels: tuple[int, ...], classes: int, width: int, stride: int) -> None:
        super().__init__()
        self.rfblock = ASPP(channels[-1], DECODER, width)
        before, smooth = DECODER, list[nn.Module]()
        for own in channels[-2::-1]:
            after = max(own, 2 * classes, UNET_LEAST)
            smooth.append(separable(before + own, after, width))
            before = after
        self.unet = Pyramid([], smooth)
        self.pred = prediction(before, classes, width)
        self.stride = stride

    def forward(self, features: Features) -> torch.Tensor:
        """Maps, finest first → (N, classes, H, W) logits."""
        x = self.rfblock(features[-1])
        for level, own in enumerate(features[-2::-1], 1):
            x = self.unet.smooth_convs[level](torch.cat([enlarged(x, 2), own], 1))
        return enlarged(self.pred(x), self.stride)


class Pixel2Pixel(nn.Module):
    """An encoder and one decoder: (N, 3, H, W) float32 → `out`, (N, classes, H, W) float32 logits.

    Args:
        maps: how many of the encoder's maps, the coarsest, the decoder gets.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, maps: int = 4) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoders = nn.ModuleList([decoder])
        self.maps = maps
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """H and W are multiples of the encoder's stride."""
        return {"out": self.decoders[0](self.encoder(x)[-self.maps :])}


def build_mobilenet(decoder: str, classes: int, *, fast: bool = False) -> Pixel2Pixel:
    """`<decoder>_mobilenetv2_tv_edgeailite`, or its `_fd` variant, with random weights.

    Args:
        decoder: `deeplabv3plus`, `unet_aspp` or `fpn_aspp`.
        classes: how many.
        fast: halves the size once more at the beginning: all strides are twice as large.
    """
    encoder = MobileNetV2Encoder(1 if decoder == "deeplabv3plus" else 2, fast)
    twice = 2 if fast else 1
    channels = MOBILENET_CHANNELS
    if decoder == "unet_aspp":
        return Pixel2Pixel(encoder, UNetDecoder(channels, classes, 1, 2 * twice), maps=5)
    if decoder == "fpn_aspp":
        return Pixel2Pixel(encoder, FPNDecoder(channels[1:], classes, 1, DECODER, 4 * twice))
    return Pixel2Pixel(encoder, DeepLabDecoder((channels[1], channels[-1]), classes, 1, 4, 4 * twice))


def build_wide_mobilenet(decoder: str, classes: int) -> Pixel2Pixel:
    """`<decoder>_mobilenetv2_tv_1p4_edgeailite` with random weights: 1.4 times the channels, rectifiers clipped at 6.

    Args:
        decoder: `deeplabv3plus` or `fpn_aspp`.
        classes: how many.
    """
    encoder = MobileNetV2Encoder(1 if decoder == "deeplabv3plus" else 2, False, WIDE)
    channels = tuple(widened(own, WIDE) for own in MOBILENET_CHANNELS)
    inner, shortcut = widened(DECODER, WIDE), widened(SHORTCUT, WIDE)
    head = (
        FPNDecoder(channels[1:], classes, 1, inner, 4)
        if decoder == "fpn_aspp"
        else DeepLabDecoder((channels[1], channels[-1]), classes, 1, 4, 4, (inner, shortcut))
    )
    network = Pixel2Pixel(encoder, head)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.ReLU6())
    return network


def build_regnet(decoder: str, classes: int, design: RegNetX) -> Pixel2Pixel:
    """`<decoder>_regnetx…_edgeailite` with random weights.

    Args:
        decoder: `deeplabv3plus` or `fpn_aspp`.
        classes: how many.
        design: a value of `REGNETS`.
    """
    channels = design.channels
    if decoder == "fpn_aspp":
        own = FPNDecoder(channels, classes, design.width, design.decoder, 4)
        return Pixel2Pixel(RegNetEncoder(design, 2), own)
    ends = channels[0], channels[-1]
    return Pixel2Pixel(RegNetEncoder(design, 1), DeepLabDecoder(ends, classes, design.width, 4, 4))
