"""The networks of other people that `quantize` is held against; to add one is to add an entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from fcn_onnx.model.interface import Interface
from foreign.attention import convnext, eca, segformer
from foreign.encoder_decoders import (
    binary,
    depth_multiplier,
    fcn8s,
    linknet,
    lraspp,
    mobilenetv3,
    old_writer,
    preactivated,
    several_outputs,
    shared,
    unet,
)
from foreign.half import half_inside, half_throughout
from foreign.pictures import CLASSES

FIGURES = Interface(classes=CLASSES)


@dataclass(frozen=True)
class Foreign:
    """A network that was not exported by this program.

    Attributes:
        build: the model at an opset of the default domain.
        opset: that it is tested at.
        interface: what has to be said of it.
        size: (height, width) of the pictures that it is shown.
        pictures: how many it is calibrated on, and how many others it is compared on.
        multiple_of: what both sides of its input must be multiples of.
        refusal: what the error says, where it cannot be quantized.
    """

    build: Callable[[int], onnx.ModelProto]
    opset: int = 13
    interface: Interface = FIGURES
    size: tuple[int, int] = (64, 64)
    pictures: tuple[int, int] = (8, 6)
    multiple_of: int = 1
    refusal: str | None = None


NETWORKS: Mapping[str, Foreign] = {
    "unet": Foreign(unet, size=(72, 64), pictures=(3, 2), multiple_of=32),
    "fcn8s": Foreign(fcn8s, opset=12),
    "lraspp": Foreign(lraspp),
    "mobilenetv3": Foreign(mobilenetv3, opset=14),
    "linknet": Foreign(linknet, opset=12),
    "convnext": Foreign(convnext),
    "eca": Foreign(eca, opset=12),
    "depth_multiplier": Foreign(depth_multiplier, opset=12),
    "segformer": Foreign(segformer),
    "old_writer": Foreign(old_writer, opset=12),
    "shared": Foreign(shared),
    "several_outputs": Foreign(several_outputs, interface=Interface(output_name="semantic", classes=CLASSES)),
    "binary": Foreign(binary, interface=Interface(classes=("ground", "figure"))),
    "preactivated": Foreign(preactivated),
    "half_inside": Foreign(half_inside, refusal="float16"),
    "half_throughout": Foreign(half_throughout, refusal="float16"),
}
