"""The table of networks: known without torch, each recognised by its checkpoint and by no other's."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest
import torch

from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.protocols import PROTOCOLS
from fcn_onnx.networks.architecture import AUX, OUT, Architecture, Shapes, by_keys
from fcn_onnx.networks.costs import cost_of
from fcn_onnx.networks.families import ARCHITECTURES, NAMES, get_architecture, recognising

EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)

VGG_AUX = 128 * 512 * 9 + 2 * 128 + 21 * 128 + 21
PARAMETERS = {
    "resnet50": 35_322_218,
    "resnet101": 54_314_346,
    "deeplabv3_resnet50": 42_004_074,
    "deeplabv3_resnet101": 60_996_202,
    "deeplabv3_mobilenet_v3_large": 11_029_328,
    "lraspp_mobilenet_v3_large": 3_221_538,
    "fcn32s": 15_307_477 + VGG_AUX,
    "fcn16s": 15_318_250 + VGG_AUX,
    "fcn8s": 15_323_647 + VGG_AUX,
    "mmseg-fcn-r50-d8": 47_134_069,
    "mmseg-fcn-r101-d8": 66_126_197,
    "gluoncv-fcn-resnet50": 35_445_994,
    "gluoncv-fcn-resnet101": 54_438_122,
    "mindspore-fcn8s": 134_502_112,
    "ti-deeplabv3plus-mobilenetv2": 2_425_024,
    "ti-unet-aspp-mobilenetv2": 2_465_836,
    "ti-fpn-aspp-mobilenetv2": 2_669_376,
    "ti-fpn-aspp-regnetx400mf": 6_018_208,
    "ti-fpn-aspp-regnetx800mf": 8_310_752,
    "ti-fpn-aspp-regnetx1p6gf": 10_736_632,
    "ti-fpn-aspp-regnetx3p2gf": 18_060_928,
    "ti-deeplabv3plus-regnetx800mf": 7_887_152,
    "ti-deeplabv3plus-mobilenetv2-fd": 2_425_024,
    "ti-unet-aspp-mobilenetv2-fd": 2_465_836,
    "ti-fpn-aspp-mobilenetv2-fd": 2_669_376,
    "ti-fpn-aspp-mobilenetv2-1p4": 5_184_840,
    "ti-deeplabv3plus-mobilenetv2-1p4": 4_706_176,
    "tiny": 279_818,
}
"""With all heads, as the origins count them (torchvision: `meta["num_params"]` of the published weights)."""


@cache
def without_memory(name: str, classes: int, aux: bool) -> torch.nn.Module:
    with torch.device("meta"):
        return ARCHITECTURES[name].build(classes, aux).eval()


def shapes_of(architecture: Architecture, classes: int, *, aux: bool) -> Shapes:
    state = without_memory(architecture.name, classes, aux).state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


def test_names_are_known_without_torch() -> None:
    code = "import sys; from fcn_onnx.networks.families import NAMES as a; print(*a, 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == [*NAMES, "False"]
    assert len(NAMES) == len(ARCHITECTURES) + sum(len(one.aliases) for one in ARCHITECTURES.values())


@pytest.mark.parametrize(("alias", "name"), [("fcn_resnet50", "resnet50"), ("fcn_resnet101", "resnet101")])
def test_aliases(alias: str, name: str) -> None:
    assert get_architecture(alias) is ARCHITECTURES[name]


def test_a_head_that_is_not_there_is_not_exported() -> None:
    full, bare = ARCHITECTURES["resnet50"], ARCHITECTURES["lraspp_mobilenet_v3_large"]
    assert [full.heads_for(asked) for asked in (None, True, False)] == [(OUT, AUX), (OUT, AUX), (OUT,)]
    assert [bare.heads_for(asked) for asked in (None, False)] == [(OUT,), (OUT,)]
    with pytest.raises(UsageError, match="has no auxiliary head"):
        bare.heads_for(True)


@EVERY
def test_an_entry_is_whole(architecture: Architecture) -> None:
    assert architecture.protocol in PROTOCOLS
    assert architecture.default_weights is not None or architecture.no_weights
    assert architecture.heads in ((OUT,), (OUT, AUX))
    assert set(PARAMETERS) == set(ARCHITECTURES)
    network = without_memory(architecture.name, len(architecture.classes), AUX in architecture.heads)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[architecture.name]


@EVERY
def test_it_is_calibrated_on_what_its_protocol_shows(architecture: Architecture) -> None:
    preprocessing = architecture.preprocessing
    assert PROTOCOLS[architecture.protocol].shown(preprocessing, preprocessing.resize.size) == preprocessing


@EVERY
def test_it_returns_what_its_entry_says(architecture: Architecture) -> None:
    for aux in {False, AUX in architecture.heads}:
        outputs = without_memory(architecture.name, 5, aux)(torch.empty(2, 3, 64, 128, device="meta"))
        assert list(outputs) == list(architecture.heads[: 1 + aux])
        assert {tuple(value.shape) for value in outputs.values()} == {(2, 5, 64, 128)}


@EVERY
def test_its_checkpoints_are_its_own(architecture: Architecture) -> None:
    """Of any number of classes, with the auxiliary head and without."""
    for classes, aux in ((2, False), (150, AUX in architecture.heads)):
        shapes = shapes_of(architecture, classes, aux=aux)
        twins = [architecture.name.removesuffix("-fd") + suffix for suffix in ("", "-fd")]  # other strides, same keys
        expected = [name for name in twins if name in ARCHITECTURES]
        assert [one.name for one in ARCHITECTURES.values() if one.recognises(shapes)] == expected
        assert shapes[architecture.class_key][0] == classes
        assert next(recognising(shapes)) is ARCHITECTURES[expected[0]]
    assert aux == any(key.startswith(architecture.aux_keys) for key in shapes)


def test_what_is_nobodys_is_not_recognised() -> None:
    assert not list(recognising({}))
    assert not list(recognising({"classifier.4.weight": (21, 512, 1, 1)}))


@pytest.mark.parametrize(("name", "gmac"), [("resnet50", 152.717), ("deeplabv3_mobilenet_v3_large", 10.452)])
def test_costs_are_what_torchvision_publishes(name: str, gmac: float) -> None:
    """`meta["_ops"]` of the published weights."""
    cost = cost_of(ARCHITECTURES[name])
    assert cost.parameters == PARAMETERS[name]
    assert cost.macs / 1e9 == pytest.approx(gmac, abs=0.0005)


def test_keys_say_which_it_is() -> None:
    recognises = by_keys({"a": (None, 3), "b": ()}, lacks=("c",))
    assert recognises({"a": (7, 3), "b": ()})
    assert recognises({"a": (7, 3), "b": (), "d": (1,)})
    for other in ({"a": (7, 3)}, {"a": (7, 4), "b": ()}, {"a": (7,), "b": ()}, {"a": (7, 3), "b": (), "c": ()}):
        assert not recognises(other)
