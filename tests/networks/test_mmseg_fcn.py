"""mmsegmentation's fcn_r50-d8 and fcn_r101-d8 against the same written out, and their checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rewrites
import torch
from torch.nn import functional as f

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks import families
from fcn_onnx.networks.building import build_network
from fcn_onnx.networks.checkpoints.reading import read_checkpoint
from fcn_onnx.networks.mmseg_fcn import MmsegFCN
from fcn_onnx.networks.origins import mmseg
from fcn_onnx.networks.weights import load_into

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def module_keys(name: str, channels: int, width: int) -> rewrites.Shapes:
    return {f"{name}.conv.weight": (width, channels, 3, 3), **rewrites.batch_norm_keys(f"{name}.bn", width)}


def checkpoint_keys(depth: int, aux: bool) -> rewrites.Shapes:
    keys: rewrites.Shapes = {}
    for place, shape in ((0, (32, 3, 3, 3)), (3, (32, 32, 3, 3)), (6, (64, 32, 3, 3))):
        keys[f"backbone.stem.{place}.weight"] = shape
        keys |= rewrites.batch_norm_keys(f"backbone.stem.{place + 1}", shape[0])
    keys |= rewrites.stage_keys("backbone.", 64, BLOCKS[depth])
    keys |= module_keys("decode_head.convs.0", 2048, 512) | module_keys("decode_head.convs.1", 512, 512)
    keys |= module_keys("decode_head.conv_cat", 2560, 512)
    keys |= {"decode_head.conv_seg.weight": (21, 512, 1, 1), "decode_head.conv_seg.bias": (21,)}
    if aux:
        keys |= module_keys("auxiliary_head.convs.0", 1024, 256)
        keys |= {"auxiliary_head.conv_seg.weight": (21, 256, 1, 1), "auxiliary_head.conv_seg.bias": (21,)}
    return keys


@pytest.mark.parametrize(
    ("depth", "entries", "with_aux", "parameters", "gmacs"),
    [(50, 350, 358, 47_134_069, 197.602), (101, 656, 664, 66_126_197, 275.180)],
)
def test_keys_parameters_and_macs_are_those_of_the_origin(
    depth: int, entries: int, with_aux: int, parameters: int, gmacs: float
) -> None:
    with torch.device("meta"):
        network = MmsegFCN(f"resnet{depth}", 21)
    assert rewrites.shapes_of(network) == checkpoint_keys(depth, aux=False)
    assert (len(network.state_dict()), len(checkpoint_keys(depth, aux=True))) == (entries, with_aux)
    assert rewrites.parameters(network) == parameters
    assert rewrites.gmacs(network, 512) == pytest.approx(gmacs, abs=5e-4)


def rewrite(state: rewrites.State, x: torch.Tensor) -> torch.Tensor:
    value = x
    for place, stride in ((0, 2), (3, 1), (6, 1)):
        value = rewrites.conv_norm_relu(state, f"backbone.stem.{place}", f"backbone.stem.{place + 1}", value, stride)
    *_, features = rewrites.stages(state, "backbone.", f.max_pool2d(value, 3, 2, 1))

    def module(name: str, value: torch.Tensor) -> torch.Tensor:
        return rewrites.conv_norm_relu(state, f"decode_head.{name}.conv", f"decode_head.{name}.bn", value)

    made = module("convs.1", module("convs.0", features))
    scores = rewrites.conv(state, "decode_head.conv_seg", module("conv_cat", torch.cat([features, made], 1)))
    return rewrites.resize(scores, x.shape[2:], align_corners=False)


@pytest.mark.parametrize("size", [(64, 64), (75, 118)])
def test_it_computes_what_the_rewrite_does(size: tuple[int, int]) -> None:
    network = rewrites.seeded(MmsegFCN("resnet50", 21, divide=8))
    x = rewrites.pictures(2, 3, *size)
    with torch.no_grad():
        found, expected = network(x), rewrite(network.state_dict(), x)
    assert list(found) == ["out"]
    assert found["out"].std() > 0.05
    torch.testing.assert_close(
        found["out"] / expected.abs().max(), expected / expected.abs().max(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("depth", [50, 101])
def test_a_checkpoint_is_recognised_with_what_is_not_run(depth: int) -> None:
    for aux in (True, False):
        keys = checkpoint_keys(depth, aux) | {"data_preprocessor.mean": (3, 1, 1)}
        assert [a.name for a in mmseg.ARCHITECTURES if a.recognises(keys)] == [f"mmseg-fcn-r{depth}-d8"]
    state = {"backbone.stem.0.weight": torch.ones(1), "data_preprocessor.mean": torch.ones(1)}
    assert list(mmseg.adopt(state)) == ["backbone.stem.0.weight"]


def test_a_backbone_with_another_stem_is_recognised_and_refused_by_name() -> None:
    keys = {key: shape for key, shape in checkpoint_keys(50, aux=True).items() if "stem" not in key}
    keys["backbone.conv1.weight"] = (64, 3, 7, 7)
    assert mmseg.ARCHITECTURES[0].recognises(keys)
    with pytest.raises(WeightsError, match="fcn_r50b"):
        mmseg.adopt({key: torch.empty(shape, device="meta") for key, shape in keys.items()})


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_training_is_loaded_without_what_is_not_run(tmp_path: Path, zipped: bool) -> None:
    saved, fresh = (rewrites.seeded(MmsegFCN("resnet50", 5, divide=16)) for _ in range(2))
    state = saved.state_dict() | {"auxiliary_head.conv_seg.weight": torch.ones(5, 16, 1, 1)}
    meta = {"config": "dilations=(1, 1, 2, 4)", "CLASSES": list("abcde"), "hook_msgs": {"best_score": np.float64(0.5)}}
    path = tmp_path / "fcn_r50-d8.pth"
    torch.save({"meta": meta, "state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(path)
    assert (read.classes, read.config) == (tuple("abcde"), meta["config"])
    own = mmseg.ARCHITECTURES[0]
    load_into(fresh, own.adopt(read.state), path.name, aux=False, aux_keys=own.aux_keys)
    x = rewrites.pictures(1, 3, 40, 64)
    with torch.no_grad():
        torch.testing.assert_close(fresh(x), saved(x), rtol=0, atol=0)


D6 = "backbone=dict(type='ResNetV1c', dilations=(1, 1, 1, 2), strides=(1, 2, 2, 1)), decode_head=dict(dilation=6)"

WRAPPED = (
    "backbone=dict(dilations=(\n    1,\n    1,\n    2,\n    {last},\n), strides=(\n    1,\n    2,\n    1,\n    1,\n))"
)
"""As mmengine 0.10 writes a configuration into its checkpoints."""


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("fcn_d6_r50-d16.pth", "", "of mmsegmentation's fcn_d6"),
        ("mine.pth", D6, "with a backbone of other dilations"),
        ("fcn_r50-d8.pth", "backbone=dict(dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1))", None),
        ("iter_20000.pth", WRAPPED.format(last=4), None),
        ("iter_20000.pth", WRAPPED.format(last=2), "with a backbone of other dilations"),
    ],
)
def test_one_that_has_the_same_keys_is_told_by_what_its_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, config: str, words: str | None
) -> None:
    torch.save(
        {"meta": {"cfg": config}, "state_dict": MmsegFCN("resnet50", 5, divide=32).state_dict()}, tmp_path / name
    )
    narrow = replace(
        mmseg.ARCHITECTURES[0],
        recognises=lambda shapes: "decode_head.conv_cat.conv.weight" in shapes,
        build=lambda classes, aux: MmsegFCN("resnet50", classes, divide=32),
    )
    monkeypatch.setattr(families, "ARCHITECTURES", {narrow.name: narrow})
    if words is None:
        assert build_network(None, str(tmp_path / name)).name == narrow.name
        return
    with pytest.raises(WeightsError, match=words):
        build_network(None, str(tmp_path / name))
