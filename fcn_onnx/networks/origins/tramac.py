"""Tramac/awesome-semantic-segmentation-pytorch: the FCNs on VGG-16 that Vastai trained again and published."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.architecture import Architecture, by_keys

if TYPE_CHECKING:
    import torch

    from fcn_onnx.networks.architecture import State

FIRST_LAYERS: Mapping[int, Mapping[str, int]] = {
    32: {},
    16: {"pool4": 0, "pool5": 24},
    8: {"pool3": 0, "pool4": 17, "pool5": 24},
}
"""By output stride: where in VGG-16 the parts begin whose layers a checkpoint holds twice."""

LEAST_SIDE = 32
"""Five poolings halve an image, and one pixel must be left."""

SCORES = {16: "score_pool4.weight", 8: "score_pool3.weight"}


def _build(stride: int, classes: int, aux: bool) -> torch.nn.Module:
    from fcn_onnx.networks.tramac_fcn import TramacFCN

    return TramacFCN(stride, classes, aux)


def adopt(stride: int, state: State) -> State:
    """The state dict as it is. Of each layer that it holds twice, only the twin outside `pretrained` is run.

    Raises:
        WeightsError: the twins differ.
    """
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part not in FIRST_LAYERS[stride]:
            continue
        layer, _, kind = rest.partition(".")
        twin = f"pretrained.{FIRST_LAYERS[stride][part] + int(layer)}.{kind}" if layer.isdecimal() else ""
        if twin in state and not state[twin].equal(value):
            raise WeightsError(
                f"the checkpoint holds one layer twice, as {key} and as {twin}, and they differ",
                fix="save the network's state_dict() again: it was put together from several files",
            )
    return state


def _architecture(stride: int, published: str) -> Architecture:
    has: dict[str, tuple[int | None, ...]] = {
        "pretrained.0.weight": (64, 3, 3, 3),
        "head.block.0.weight": (128, 512, 3, 3),
        "head.block.4.weight": (None, 128, 1, 1),
    }
    has |= {SCORES[s]: (None, 512 if s == 16 else 256, 1, 1) for s in SCORES if s >= stride}
    return Architecture(
        name=f"fcn{stride}s",
        description=f"Tramac's FCN-{stride}s on VGG-16, without fc6 and fc7",
        origin="Tramac",
        build=partial(_build, stride),
        recognises=by_keys(has, lacks=tuple(SCORES[s] for s in SCORES if s < stride)),
        class_key="head.block.4.weight",
        adopt=partial(adopt, stride),
        aux_by_default=False,
        aux_keys="auxlayer.",
        no_weights="Tramac published none, and Vastai's are on no open server",
        preprocessing=Preprocessing(resize=Resize(size=(320, 320)), resample="opencv-linear"),
        protocol="vastai",
        least_side=LEAST_SIDE,
        size=(320, 320),
        published=published,
    )


ARCHITECTURES = (
    _architecture(32, "49.961 % mIoU (Vastai); 15.307 M, 44.667 GFLOPs at 256×256"),
    _architecture(16, "53.339 % mIoU (Vastai); 30.033 M, 178.422 GFLOPs at 256×256: VGG-16 counted 2 and 4 times"),
    _architecture(8, "50.959 % mIoU (Vastai); 30.038 M, 178.434 GFLOPs at 256×256: VGG-16 counted 2 and 4 times"),
)
