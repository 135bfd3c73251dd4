"""GluonCV's FCN against the same written out, and the three ways in which MXNet writes its parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import checkpoint_files
import pytest
import rewrites
import torch
from torch.nn import functional as f

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.checkpoints.reading import read_checkpoint
from fcn_onnx.networks.gluoncv_fcn import GluonFCN
from fcn_onnx.networks.origins import gluoncv
from fcn_onnx.networks.weights import load_into

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
KINDS = ("gamma", "beta", "running_mean", "running_var")


def checkpoint_keys(depth: int, aux: bool) -> rewrites.Shapes:
    """With torch's names of the parameters of a batch norm."""
    keys: rewrites.Shapes = {}
    for place, shape in ((0, (64, 3, 3, 3)), (3, (64, 64, 3, 3)), (6, (128, 64, 3, 3))):
        keys[f"conv1.{place}.weight"] = shape
        keys |= rewrites.batch_norm_keys(f"conv1.{place + 1}" if place < 6 else "bn1", shape[0])
    keys |= rewrites.stage_keys("", 128, BLOCKS[depth]) | rewrites.head_keys("head", 2048)
    return keys | (rewrites.head_keys("auxlayer", 1024) if aux else {})


def layers(depth: int) -> list[tuple[str, str, bool]]:
    """Of every layer: its place in the module, its scope in an exported graph, and whether it is a batch norm."""
    stem = [("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1")]
    found = []
    for i, (conv, norm) in enumerate(stem):
        found += [(conv, f"resnetv1s_conv{i}", False), (norm, f"resnetv1s_batchnorm{i}", True)]
    for stage, count in enumerate(BLOCKS[depth], start=1):
        for block in range(count):
            for i in range(3):
                own, scope, number = f"layer{stage}.{block}", f"resnetv1s_layers{stage}", 3 * block + i
                found.append((f"{own}.conv{i + 1}", f"{scope}_conv{number}", False))
                found.append((f"{own}.bn{i + 1}", f"{scope}_batchnorm{number}", True))
        found.append((f"layer{stage}.0.downsample.0", f"resnetv1s_down{stage}_conv0", False))
        found.append((f"layer{stage}.0.downsample.1", f"resnetv1s_down{stage}_batchnorm0", True))
    for i, head in enumerate(("head", "auxlayer")):
        scope = f"_fcnhead{i}_hybridsequential0"
        found.append((f"{head}.block.0", f"{scope}_conv0", False))
        found.append((f"{head}.block.1", f"{scope}_batchnorm0", True))
        found.append((f"{head}.block.4", f"{scope}_conv1", False))
    return found


def written(depth: int, name: Callable[[str, str, str], str]) -> dict[str, str]:
    """Key in a file → key in the module; `name` makes the former of place, scope and kind."""
    keys = {}
    for place, scope, is_norm in layers(depth):
        kinds = KINDS if is_norm else ("weight", "bias") if place.endswith("block.4") else ("weight",)
        torchs = rewrites.BATCH_NORM if is_norm else kinds
        keys |= {name(place, scope, kind): f"{place}.{new}" for kind, new in zip(kinds, torchs, strict=False)}
    return keys


NAMINGS: dict[str, Callable[[str, str, str], str]] = {
    "save_parameters": lambda place, scope, kind: f"{place}.{kind}",
    "export": lambda place, scope, kind: f"{'aux' if 'running' in kind else 'arg'}:fcn0_{scope}_{kind}",
    "export of a second network": lambda place, scope, kind: (
        f"{'aux' if 'running' in kind else 'arg'}:fcn12_{scope}_{kind}"
    ),
    "save_params": lambda place, scope, kind: f"{scope}_{kind}",
}


@pytest.mark.parametrize(
    ("depth", "parameters", "without_aux", "gmacs"),
    [(50, 35_445_994, 33_080_789, 127.835), (101, 54_438_122, 52_072_917, 196.019)],
)
def test_keys_parameters_and_macs_are_those_of_the_origin(
    depth: int, parameters: int, without_aux: int, gmacs: float
) -> None:
    with torch.device("meta"):
        network, plain = (GluonFCN(f"resnet{depth}", 21, aux) for aux in (True, False))
    assert rewrites.shapes_of(network) == checkpoint_keys(depth, aux=True)
    assert rewrites.shapes_of(plain) == checkpoint_keys(depth, aux=False)
    assert (rewrites.parameters(network), rewrites.parameters(plain)) == (parameters, without_aux)
    assert rewrites.gmacs(plain, 480) == pytest.approx(gmacs, abs=5e-4)


def rewrite(state: rewrites.State, x: torch.Tensor) -> dict[str, torch.Tensor]:
    value = x
    for conv, norm, stride in (("conv1.0", "conv1.1", 2), ("conv1.3", "conv1.4", 1), ("conv1.6", "bn1", 1)):
        value = rewrites.conv_norm_relu(state, conv, norm, value, stride)
    *_, third, fourth = rewrites.stages(state, "", f.max_pool2d(value, 3, 2, 1))
    return {
        name: rewrites.resize(rewrites.block_head(state, f"{head}.block", value), x.shape[2:], align_corners=True)
        for name, head, value in (("out", "head", fourth), ("aux", "auxlayer", third))
    }


@pytest.mark.parametrize("size", [(64, 64), (75, 118)])
def test_it_computes_what_the_rewrite_does(size: tuple[int, int]) -> None:
    network = rewrites.seeded(GluonFCN("resnet50", 21, aux=True, divide=8))
    x = rewrites.pictures(2, 3, *size)
    with torch.no_grad():
        found, expected = network(x), rewrite(network.state_dict(), x)
    assert found.keys() == expected.keys()
    for head, value in found.items():
        largest = expected[head].abs().max()
        assert value.std() > 0.05
        torch.testing.assert_close(value / largest, expected[head] / largest, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("depth", [50, 101])
def test_every_naming_of_mxnet_is_recognised_and_renamed(naming: str, depth: int) -> None:
    names = written(depth, NAMINGS[naming])
    wanted = checkpoint_keys(depth, aux=True)
    assert set(names.values()) == {key for key in wanted if not key.endswith("num_batches_tracked")}
    shapes = {key: wanted[place] for key, place in names.items()}
    assert [a.name for a in gluoncv.ARCHITECTURES if a.recognises(shapes)] == [f"gluoncv-fcn-resnet{depth}"]
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    adopted = gluoncv.adopt(state)
    assert {key: adopted[place] is state[key] for key, place in names.items()} == dict.fromkeys(names, True)


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("version", [checkpoint_files.V2, checkpoint_files.LEGACY])
def test_a_file_of_mxnet_is_loaded(tmp_path: Path, naming: str, version: int) -> None:
    saved, fresh = (rewrites.seeded(GluonFCN("resnet50", 5, aux=True, divide=16)) for _ in range(2))
    state = saved.state_dict()
    names = written(50, NAMINGS[naming])
    content = checkpoint_files.mxnet({key: state[place] for key, place in names.items()}, version)
    (tmp_path / "fcn.params").write_bytes(content)
    read = read_checkpoint(tmp_path / "fcn.params")
    load_into(fresh, gluoncv.adopt(read.state), "fcn.params", aux=True, aux_keys="auxlayer.")
    x = rewrites.pictures(1, 3, 40, 64)
    with torch.no_grad():
        torch.testing.assert_close(fresh(x), saved(x), rtol=0, atol=0)


def test_keys_of_others_stay_as_they_are_and_one_that_is_there_twice_is_refused() -> None:
    assert gluoncv.module_name("arg:fcn0_resnetv1s_layers5_conv0_weight") == "arg:fcn0_resnetv1s_layers5_conv0_weight"
    assert gluoncv.module_name("pretrained.0.weight") == "pretrained.0.weight"
    one = torch.ones(1)
    with pytest.raises(
        WeightsError, match=r"holds bn1\.weight twice, as bn1\.gamma and arg:fcn0_resnetv1s_batchnorm2_gamma"
    ):
        gluoncv.adopt({"bn1.gamma": one, "arg:fcn0_resnetv1s_batchnorm2_gamma": one})
