"""Each family narrowed, from torch to int8: sizes stay dynamic, torch and the file agree, the scores stay fp32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import rewrites
import torch
from toys import photograph

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.graph import read_facts
from fcn_onnx.networks.cleaning import clean
from fcn_onnx.networks.gluoncv_fcn import GluonFCN
from fcn_onnx.networks.mindspore_fcn import MindSporeFCN8s
from fcn_onnx.networks.mmseg_fcn import MmsegFCN
from fcn_onnx.networks.parity import SHAPES, check_parity
from fcn_onnx.networks.ti_pixel2pixel import build_mobilenet
from fcn_onnx.networks.torchvision_models import build_model
from fcn_onnx.networks.tracing import trace
from fcn_onnx.networks.tramac_fcn import TramacFCN
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

CLASSES = 7
HEAD, AUX = "/fcn/head/block/block.4/Conv", "/fcn/auxlayer/block/block.4/Conv"
POOL4, POOL3 = "/fcn/score_pool4/Conv", "/fcn/score_pool3/Conv"
TI_HEAD = "/fcn/decoders.0/pred/pred.1/pred.1.0/Conv"


@dataclass(frozen=True)
class Family:
    """A narrowed network, and the convolutions of it that make scores."""

    build: Callable[[], torch.nn.Module]
    scores: frozenset[str]
    outputs: tuple[str, ...] = ("out",)
    multiple_of: int | None = None


FAMILIES = {
    "fcn32s": Family(lambda: TramacFCN(32, CLASSES, True, 8), frozenset({HEAD, AUX}), ("out", "aux")),
    "fcn16s": Family(lambda: TramacFCN(16, CLASSES, False, 8), frozenset({HEAD, POOL4})),
    "fcn8s": Family(lambda: TramacFCN(8, CLASSES, True, 8), frozenset({HEAD, POOL4, POOL3, AUX}), ("out", "aux")),
    "mmseg": Family(lambda: MmsegFCN("resnet50", CLASSES, 8), frozenset({"/fcn/decode_head/conv_seg/Conv"})),
    "gluoncv": Family(lambda: GluonFCN("resnet50", CLASSES, True, 8), frozenset({HEAD, AUX}), ("out", "aux")),
    "mindspore": Family(
        lambda: MindSporeFCN8s(CLASSES, 16), frozenset({"/fcn/score_fr/Conv", POOL4, POOL3}), multiple_of=32
    ),
    "lraspp": Family(
        lambda: build_model("lraspp_mobilenet_v3_large", CLASSES, None),
        frozenset({"/fcn/classifier/low_classifier/Conv", "/fcn/classifier/high_classifier/Conv"}),
    ),
    "deeplab": Family(
        lambda: build_model("deeplabv3_mobilenet_v3_large", CLASSES, True),
        frozenset({"/fcn/classifier/classifier.4/Conv", "/fcn/aux_classifier/aux_classifier.4/Conv"}),
        ("out", "aux"),
    ),
    "ti-unet": Family(lambda: build_mobilenet("unet_aspp", CLASSES), frozenset({TI_HEAD}), multiple_of=32),
}
EVERY = pytest.mark.parametrize("name", FAMILIES)


@cache
def network_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return rewrites.seeded(FAMILIES[name].build())


@cache
def exported(name: str, opset: int) -> onnx.ModelProto:
    family = FAMILIES[name]
    model = trace(network_of(name), opset, outputs=family.outputs, size=None, multiple_of=family.multiple_of)
    return clean(model, outputs=family.outputs, classes=CLASSES, size=None)


@pytest.mark.parametrize(
    ("name", "opset"),
    [
        *((name, 12) for name in FAMILIES),
        ("fcn8s", 11),
        ("fcn8s", 17),
        ("mindspore", 11),
        *(("lraspp", opset) for opset in (11, 17)),
    ],
)
def test_one_file_computes_what_torch_does_at_every_size(name: str, opset: int) -> None:
    family = FAMILIES[name]
    model = exported(name, opset)
    found = check_parity(network_of(name), model, outputs=family.outputs, size=None, multiple_of=family.multiple_of)
    assert len({shape.shape for shape in found.shapes}) == len(SHAPES)
    assert all(shape.max_abs_value > 0.1 for shape in found.shapes)
    with torch.device("meta"):
        meta = family.build()
    assert read_facts(model, (96, 96)).macs == pytest.approx(rewrites.gmacs(meta, 96) * 1e9)


@EVERY
@pytest.mark.parametrize(("opset", "form"), [(12, "qoperator"), (13, "qdq")])
def test_all_but_what_makes_the_scores_becomes_int8(name: str, opset: int, form: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    images = tmp_path / "images"
    images.mkdir()
    for index in range(4):
        photograph(96, 64, index).save(images / f"{index}.png")
    preprocessing = Preprocessing(Resize(), multiple_of=family.multiple_of)
    model = onnx.ModelProto()
    model.CopyFrom(exported(name, opset))
    ModelCard(arch=name, preprocessing=preprocessing.to_json()).write_to(model)
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    onnx.save(model, fp32)
    made = quantize(QuantizeOptions(model=fp32, choice=ImageChoice(images), target="vnni", format=form, output=int8))
    assert {node.name for node in made.facts.convs if not node.int8} == family.scores
    for other in (photograph(96, 64, 0), photograph(128, 96, 5)):
        batch = preprocessing(other)
        config = SessionConfig(exact_int8=True)  # a model for VNNI, on whatever machine this is
        wanted, found = (Network(path, config).run(batch) for path in (fp32, int8))
        for output in family.outputs:
            error = np.square(wanted[output] - found[output]).sum()
            assert 10 * np.log10(np.square(wanted[output]).sum() / error) > 15
