"""Tramac's FCN-32s, -16s and -8s against the same written out, and their checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import rewrites
import torch
from torch.nn import functional as f

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.building import build_network
from fcn_onnx.networks.origins import tramac
from fcn_onnx.networks.tramac_fcn import TramacFCN

STRIDES = (32, 16, 8)
CONVOLUTIONS = {0: 64, 2: 64, 5: 128, 7: 128} | dict.fromkeys((10, 12, 14), 256)
CONVOLUTIONS |= dict.fromkeys((17, 19, 21, 24, 26, 28), 512)
"""Output channels by place in VGG-16."""

POOLS = (4, 9, 16, 23, 30)


def vgg_keys(name: str, first: int, last: int) -> rewrites.Shapes:
    keys: rewrites.Shapes = {}
    channels = 3
    for place, width in CONVOLUTIONS.items():
        if first <= place < last:
            keys[f"{name}.{place - first}.weight"] = (width, channels, 3, 3)
            keys[f"{name}.{place - first}.bias"] = (width,)
        channels = width
    return keys


def checkpoint_keys(stride: int, aux: bool = False) -> rewrites.Shapes:
    keys = vgg_keys("pretrained", 0, 31) | rewrites.head_keys("head", 512)
    if stride == 16:
        keys |= vgg_keys("pool4", 0, 24) | vgg_keys("pool5", 24, 31)
    if stride == 8:
        keys |= vgg_keys("pool3", 0, 17) | vgg_keys("pool4", 17, 24) | vgg_keys("pool5", 24, 31)
        keys |= {"score_pool3.weight": (21, 256, 1, 1), "score_pool3.bias": (21,)}
    if stride <= 16:
        keys |= {"score_pool4.weight": (21, 512, 1, 1), "score_pool4.bias": (21,)}
    return keys | (rewrites.head_keys("auxlayer", 512) if aux else {})


@pytest.mark.parametrize(
    ("stride", "entries", "parameters", "gmacs"),
    [(32, 34, 15_307_477, 31.379), (16, 62, 15_318_250, 31.383), (8, 64, 15_323_647, 31.392)],
)
def test_keys_parameters_and_macs_are_those_of_the_origin(
    stride: int, entries: int, parameters: int, gmacs: float
) -> None:
    with torch.device("meta"):
        network, with_aux = TramacFCN(stride, 21, aux=False), TramacFCN(stride, 21, aux=True)
    assert rewrites.shapes_of(network) == checkpoint_keys(stride)
    assert rewrites.shapes_of(with_aux) == checkpoint_keys(stride, aux=True)
    assert len(network.state_dict()) == entries
    assert rewrites.parameters(network) == parameters
    assert rewrites.gmacs(network, 320) == pytest.approx(gmacs, abs=5e-4)


def rewrite(state: rewrites.State, stride: int, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """From the tensors of `pretrained` alone."""
    pools, value = [], x
    for place in range(31):
        if place in POOLS:
            value = f.max_pool2d(value, 2)
            pools.append(value)
        elif place in CONVOLUTIONS:
            value = f.relu(rewrites.conv(state, f"pretrained.{place}", value))

    def up(scores: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return rewrites.resize(scores, like.shape[2:], align_corners=True)

    out = rewrites.block_head(state, "head.block", value)
    if stride <= 16:
        out = up(out, pools[3]) + rewrites.conv(state, "score_pool4", pools[3])
    if stride <= 8:
        out = up(out, pools[2]) + rewrites.conv(state, "score_pool3", pools[2])
    return {"out": up(out, x), "aux": up(rewrites.block_head(state, "auxlayer.block", value), x)}


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("size", [(32, 32), (75, 118)])
def test_it_computes_what_the_rewrite_does(stride: int, size: tuple[int, int]) -> None:
    network = rewrites.seeded(TramacFCN(stride, 21, aux=True, divide=8))
    x = rewrites.pictures(2, 3, *size)
    with torch.no_grad():
        found, expected = network(x), rewrite(network.state_dict(), stride, x)
    assert found.keys() == expected.keys()
    for head, value in found.items():
        assert value.std() > 0.05
        torch.testing.assert_close(value, expected[head], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", STRIDES)
def test_a_checkpoint_is_recognised_with_the_auxiliary_head_or_without(stride: int) -> None:
    for keys in (checkpoint_keys(stride), checkpoint_keys(stride, aux=True)):
        assert [a.name for a in tramac.ARCHITECTURES if a.recognises(keys)] == [f"fcn{stride}s"]


def test_a_file_is_loaded_as_it_is(tmp_path: Path) -> None:
    saved = TramacFCN(8, 5, aux=True).eval()
    torch.save(saved.state_dict(), tmp_path / "fcn8s_vgg16_pascal_voc.pth")
    built = build_network(None, str(tmp_path / "fcn8s_vgg16_pascal_voc.pth"))
    assert (built.name, built.heads, built.channels) == ("fcn8s", ("out",), 5)
    x = rewrites.pictures(1, 3, 40, 64)
    with torch.no_grad():
        torch.testing.assert_close(built.network(x)["out"], saved(x)["out"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("stride", "key", "twin"), [(16, "pool4.21.bias", "21.bias"), (8, "pool4.2.weight", "19.weight")]
)
def test_twins_that_differ_are_refused(stride: int, key: str, twin: str) -> None:
    state = {k: v.clone() for k, v in TramacFCN(stride, 5, aux=False, divide=32).state_dict().items()}
    tramac.adopt(stride, state)
    state[key][0] += 1
    with pytest.raises(WeightsError, match=rf"as {key} and as pretrained\.{twin}, and they differ"):
        tramac.adopt(stride, state)
