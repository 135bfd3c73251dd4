"""mmsegmentation: FCN on ResNetV1c of output stride 8, whose files Vastai published as well."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.architecture import OUT, Architecture, by_keys

if TYPE_CHECKING:
    import torch

    from fcn_onnx.networks.architecture import State

STEM = "backbone.stem.0.weight"
HEAD = "decode_head.conv_cat.conv.weight"
LOOKALIKES = {
    r"fcn_d6_": "mmsegmentation's fcn_d6, whose head is dilated",
    r"\bdilations=[([](?!\s*1,\s*1,\s*2,\s*4,?\s*[)\]])": "mmsegmentation's FCN with a backbone of other dilations",
}
LAST_OF_STAGE_3 = "backbone.layer3.{}.conv1.weight"


def _build(backbone: str, classes: int, aux: bool) -> torch.nn.Module:
    from fcn_onnx.networks.mmseg_fcn import MmsegFCN

    return MmsegFCN(backbone, classes)


def adopt(state: State) -> State:
    """The state dict without `data_preprocessor`, which mmsegmentation 1.x may keep its normalisation in.

    Raises:
        WeightsError: the backbone is another, that of `fcn_r50b` for one.
    """
    if HEAD in state and STEM not in state:
        plain = "backbone.conv1.weight" in state
        raise WeightsError(
            "the checkpoint is of mmsegmentation's FCN on "
            + ("ResNetV1b (fcn_r50b, fcn_r101b), with one convolution of 7×7" if plain else "another backbone"),
            fix="name one of fcn_r50-d8 or fcn_r101-d8, or bring the network with --network",
        )
    return {key: value for key, value in state.items() if not key.startswith("data_preprocessor.")}


def _architecture(depth: int, last: int, miou: str) -> Architecture:
    return Architecture(
        name=f"mmseg-fcn-r{depth}-d8",
        description=f"mmsegmentation's fcn_r{depth}-d8, as it is run: without auxiliary head",
        origin="mmsegmentation",
        build=partial(_build, f"resnet{depth}"),
        recognises=by_keys(
            {
                HEAD: (512, 2560, 3, 3),
                LAST_OF_STAGE_3.format(last): (256, 1024, 1, 1),
                "decode_head.conv_seg.weight": (None, 512, 1, 1),
            },
            lacks=(LAST_OF_STAGE_3.format(last + 1),),
        ),
        lookalikes=LOOKALIKES,
        class_key="decode_head.conv_seg.weight",
        adopt=adopt,
        heads=(OUT,),
        aux_keys="auxiliary_head.",
        no_weights="OpenMMLab has several files, by data set and iterations, and which is meant is yours to say",
        preprocessing=Preprocessing(resize=Resize(within=(2048, 512)), resample="opencv-linear"),
        protocol="mmseg",
        size=(512, 512),
        published=f"{miou} % mIoU on VOC 2012 val after 20,000 and 40,000 iterations",
    )


ARCHITECTURES = (_architecture(50, 5, "67.08 and 66.97"), _architecture(101, 22, "71.16 and 69.91"))
