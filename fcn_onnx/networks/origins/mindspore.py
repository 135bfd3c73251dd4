"""MindSpore's models: FCN-8s, and what its checkpoints call the parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.architecture import OUT, Architecture, Shapes
from fcn_onnx.networks.origins.renaming import last_renamed, renamed

if TYPE_CHECKING:
    import torch

    from fcn_onnx.networks.architecture import State

MULTIPLE = 32
"""Of both sides of an image: what the network's transposed convolutions make is added to what its poolings made."""

KINDS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "mean": "running_mean",
    "variance": "running_var",
}
"""What MindSpore calls the parameters of a batch norm. Attributes are called `moving_mean`, and made as `mean`."""

START = re.compile(r"vgg16_feature_extractor\.|layers\.\d+\.")
VGG = {"vgg16_feature_extractor.conv1_1.0.weight": (64, 3, 3, 3), "layers.0.weight": (64, 3, 3, 3)}
"""How the keys of the VGG-16 begin that training starts from, in two spellings, and its first layer."""

LAST = "score_fr.weight"


def adopt(state: State) -> State:
    """The state dict under the module's names.

    Raises:
        WeightsError: these are the weights that training starts from, or one is there twice.
    """
    if vgg := next((key for key in state if START.match(key) and LAST not in state), None):
        raise WeightsError(
            f"the checkpoint is of a VGG-16 from which MindSpore's FCN-8s is trained ({vgg}), not of an FCN-8s",
            fix="name a checkpoint of the trained FCN-8s",
        )
    return renamed(state, lambda key: last_renamed(key, KINDS))


def _recognises(shapes: Shapes) -> bool:
    """Also what `adopt` refuses, so that it is refused by its name."""
    return (shapes.get("conv6.0.weight") == (4096, 512, 7, 7) and LAST in shapes) or any(
        shapes.get(key) == shape for key, shape in VGG.items()
    )


def _build(classes: int, aux: bool) -> torch.nn.Module:
    from fcn_onnx.networks.mindspore_fcn import MindSporeFCN8s

    return MindSporeFCN8s(classes)


MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
"""Of B, G and R on 0 … 255; the published evaluation takes them for R, G and B."""

ARCHITECTURES = (
    Architecture(
        name="mindspore-fcn8s",
        description="MindSpore's FCN-8s on VGG-16 with batch norm, sides multiples of 32",
        origin="MindSpore",
        build=_build,
        recognises=_recognises,
        class_key=LAST,
        adopt=adopt,
        heads=(OUT,),
        no_weights="MindSpore's zoo has one .ckpt file, which is yours to bring",
        preprocessing=Preprocessing(
            resize=Resize(long_side=512),
            mean=(MEAN[0] / 255, MEAN[1] / 255, MEAN[2] / 255),
            std=(STD[0] / 255, STD[1] / 255, STD[2] / 255),
            pad=(512, 512),
            multiple_of=MULTIPLE,
            resample="opencv-linear",
        ),
        protocol="mindspore",
        size=(512, 512),
        published="64.67, 63.89 and 62.7 % mIoU on VOC 2012 val, for one network",
    ),
)
