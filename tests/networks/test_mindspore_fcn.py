"""MindSpore's FCN-8s against the same written out, and its checkpoints."""

from __future__ import annotations

from pathlib import Path

import checkpoint_files
import pytest
import rewrites
import torch
from torch.nn import functional as f

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.checkpoints.reading import read_checkpoint
from fcn_onnx.networks.mindspore_fcn import MindSporeFCN8s
from fcn_onnx.networks.origins import mindspore
from fcn_onnx.networks.weights import load_into

(FCN8S,) = mindspore.ARCHITECTURES

CONVOLUTIONS = {
    **{f"conv1.{i}": (64, 3 if i == 0 else 64, 3, 3) for i in (0, 3)},
    **{f"conv2.{i}": (128, 64 if i == 0 else 128, 3, 3) for i in (0, 3)},
    **{f"conv3.{i}": (256, 128 if i == 0 else 256, 3, 3) for i in (0, 3, 6)},
    **{f"conv4.{i}": (512, 256 if i == 0 else 512, 3, 3) for i in (0, 3, 6)},
    **{f"conv5.{i}": (512, 512, 3, 3) for i in (0, 3, 6)},
    "conv6.0": (4096, 512, 7, 7),
    "conv7.0": (4096, 4096, 1, 1),
}
SCORES = {
    "score_fr.weight": (21, 4096, 1, 1),
    "score_pool4.weight": (21, 512, 1, 1),
    "score_pool3.weight": (21, 256, 1, 1),
    "upscore2.weight": (21, 21, 4, 4),
    "upscore_pool4.weight": (21, 21, 4, 4),
    "upscore8.weight": (21, 21, 16, 16),
}


def norm_of(conv: str) -> str:
    block, place = conv.split(".")
    return f"{block}.{int(place) + 1}"


def checkpoint_keys(mean: str = "moving_mean", variance: str = "moving_variance") -> rewrites.Shapes:
    keys = {f"{name}.weight": shape for name, shape in CONVOLUTIONS.items()} | SCORES
    for name, shape in CONVOLUTIONS.items():
        keys |= {f"{norm_of(name)}.{kind}": (shape[0],) for kind in ("gamma", "beta", mean, variance)}
    return keys


def test_keys_parameters_and_macs_are_those_of_the_origin() -> None:
    with torch.device("meta"):
        network = MindSporeFCN8s(21)
    wanted = {f"{name}.weight": shape for name, shape in CONVOLUTIONS.items()} | SCORES
    for name, shape in CONVOLUTIONS.items():
        wanted |= rewrites.batch_norm_keys(norm_of(name), shape[0])
    assert rewrites.shapes_of(network) == wanted
    assert rewrites.parameters(network) == 134_502_112
    assert rewrites.gmacs(network, 512) == pytest.approx(111.306, abs=5e-4)


def upsampled(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """Every value of the input spreads the kernel; what lies beyond `stride` times the size is cut, alike all round."""
    kernel, (n, _, height, width) = weight.shape[2], x.shape
    whole = torch.zeros(n, weight.shape[1], (height - 1) * stride + kernel, (width - 1) * stride + kernel)
    for row in range(height):
        for column in range(width):
            spread = torch.einsum("ni,iokl->nokl", x[:, :, row, column], weight)
            top, left = row * stride, column * stride
            whole[:, :, top : top + kernel, left : left + kernel] += spread
    cut = (kernel - stride) // 2
    return whole[:, :, cut:-cut, cut:-cut]


def rewrite(state: rewrites.State, x: torch.Tensor) -> torch.Tensor:
    pools, value = {}, x
    for name in CONVOLUTIONS:
        if name.endswith(".0") and name not in ("conv1.0", "conv7.0"):
            value = pools[int(name[4]) - 1] = f.max_pool2d(value, 2)
        value = rewrites.conv_norm_relu(state, name, norm_of(name), value)
    fourth = rewrites.conv(state, "score_pool4", pools[4]) + upsampled(
        rewrites.conv(state, "score_fr", value), state["upscore2.weight"], 2
    )
    third = rewrites.conv(state, "score_pool3", pools[3]) + upsampled(fourth, state["upscore_pool4.weight"], 2)
    return upsampled(third, state["upscore8.weight"], 8)


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_it_computes_what_the_rewrite_does(size: tuple[int, int]) -> None:
    network = rewrites.seeded(MindSporeFCN8s(21, divide=16))
    x = rewrites.pictures(2, 3, *size)
    with torch.no_grad():
        found, expected = network(x), rewrite(network.state_dict(), x)
    assert list(found) == ["out"]
    assert found["out"].shape == (2, 21, *size)
    assert found["out"].std() > 0.05
    largest = expected.abs().max()
    torch.testing.assert_close(found["out"] / largest, expected / largest, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("statistics", [("moving_mean", "moving_variance"), ("mean", "variance")])
def test_a_checkpoint_is_recognised_and_renamed(statistics: tuple[str, str]) -> None:
    keys = checkpoint_keys(*statistics)
    assert FCN8S.recognises(keys)
    adopted = mindspore.adopt({key: torch.empty(shape, device="meta") for key, shape in keys.items()})
    with torch.device("meta"):
        wanted = rewrites.shapes_of(MindSporeFCN8s(21))
    found = {key: tuple(value.shape) for key, value in adopted.items()}
    assert found == {key: shape for key, shape in wanted.items() if not key.endswith("num_batches_tracked")}


def test_a_file_of_training_is_loaded(tmp_path: Path) -> None:
    saved, fresh = (rewrites.seeded(MindSporeFCN8s(5, divide=32)) for _ in range(2))
    kinds = dict(zip(rewrites.BATCH_NORM, ("gamma", "beta", "moving_mean", "moving_variance"), strict=False))
    state, own = {}, saved.state_dict()
    for key, value in own.items():
        module, _, kind = key.rpartition(".")
        if kind != "num_batches_tracked":
            state[f"{module}.{kinds[kind] if f'{module}.running_mean' in own else kind}"] = value
    trained = state | {f"moments.{key}": value for key, value in state.items() if "moving" not in key}
    trained |= {key: torch.tensor(3.0) for key in ("learning_rate", "momentum", "global_step", "epoch_num", "step_num")}
    (tmp_path / "FCN8s.ckpt").write_bytes(checkpoint_files.mindspore(trained, crc=True))
    read = read_checkpoint(tmp_path / "FCN8s.ckpt")
    load_into(fresh, mindspore.adopt(read.state), "FCN8s.ckpt", aux=False, aux_keys="aux_classifier.")
    x = rewrites.pictures(1, 3, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(fresh(x), saved(x), rtol=0, atol=0)


@pytest.mark.parametrize("key", ["vgg16_feature_extractor.conv1_1.0.weight", "layers.0.weight"])
def test_the_weights_that_training_starts_from_are_refused_as_what_they_are(key: str) -> None:
    assert FCN8S.recognises({key: (64, 3, 3, 3)})
    with pytest.raises(WeightsError, match="VGG-16 from which MindSpore's FCN-8s is trained"):
        mindspore.adopt({key: torch.empty(64, 3, 3, 3, device="meta")})
