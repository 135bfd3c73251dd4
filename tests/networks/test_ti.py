"""TI's pixel2pixel networks: what they cost, and that they compute what a second writing of them does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.building import build_network, shapes_of
from fcn_onnx.networks.families import ARCHITECTURES
from fcn_onnx.networks.origins.ti import adopt
from fcn_onnx.networks.ti_encoders import REGNETS
from fcn_onnx.networks.ti_pixel2pixel import Pixel2Pixel, build_mobilenet, build_regnet, build_wide_mobilenet

Build = Callable[[int], Pixel2Pixel]
State = Mapping[str, Tensor]


def mobilenet(decoder: str, *, fast: bool = False) -> Build:
    return lambda classes: build_mobilenet(decoder, classes, fast=fast)


def regnet(decoder: str, name: str) -> Build:
    return lambda classes: build_regnet(decoder, classes, REGNETS[name])


def counted(build: Build, classes: int, height: int, width: int) -> tuple[int, int]:
    """MACs of the convolutions and parameters, from shapes alone."""
    macs = 0

    def hook(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal macs
        assert isinstance(module, nn.Conv2d)
        assert module.bias is None
        macs += module.weight.numel() * result.shape[2] * result.shape[3]

    with torch.device("meta"):
        network = build(classes).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(hook)
        assert network(torch.zeros(1, 3, height, width))["out"].shape == (1, classes, height, width)
    return macs, sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize(
    ("build", "classes", "size", "gigamacs", "parameters"),
    [
        (mobilenet("deeplabv3plus"), 19, (384, 768), 3.5454, 2_425_024),
        (mobilenet("deeplabv3plus"), 21, (512, 512), 3.1614, None),
        (mobilenet("deeplabv3plus"), 32, (512, 512), 3.2162, None),
        (mobilenet("fpn_aspp"), 21, (512, 512), 3.3571, 2_669_888),
        (mobilenet("unet_aspp"), 19, (384, 768), 2.2043, 2_465_836),
        (mobilenet("unet_aspp"), 21, (512, 512), 2.0092, None),
        (regnet("fpn_aspp", "400mf"), 19, (384, 768), 6.0917, 6_018_208),
        (regnet("fpn_aspp", "400mf"), 32, (384, 384), 3.0765, None),
        (regnet("fpn_aspp", "800mf"), 19, (384, 768), 8.8379, 8_310_752),
        (regnet("fpn_aspp", "800mf"), 21, (512, 512), 7.8643, None),
        (regnet("fpn_aspp", "800mf"), 32, (512, 512), 7.910457344, None),
        (regnet("fpn_aspp", "1p6gf"), 19, (512, 1024), 26.3667, 10_736_632),
        (regnet("fpn_aspp", "3p2gf"), 19, (512, 1024), 49.4033, 18_060_928),
    ],
)
def test_they_cost_what_is_known_of_them(
    build: Build, classes: int, size: tuple[int, int], gigamacs: float, parameters: int | None
) -> None:
    macs, found = counted(build, classes, *size)
    assert macs == pytest.approx(gigamacs * 1e9, rel=1e-9 if gigamacs == 7.910457344 else 2e-5)
    assert parameters in (None, found)


@pytest.mark.parametrize(
    ("build", "again", "sizes"),
    [
        (mobilenet("deeplabv3plus"), lambda x, s: deeplab(x, s, 16), [(16, 48), (64, 32)]),
        (mobilenet("unet_aspp"), lambda x, s: unet(x, s), [(32, 64), (96, 32)]),
        (mobilenet("fpn_aspp"), lambda x, s: fpn(x, s), [(32, 64), (96, 32)]),
        (mobilenet("deeplabv3plus", fast=True), lambda x, s: deeplab(x, s, 32), [(32, 96), (64, 32)]),
        (mobilenet("unet_aspp", fast=True), lambda x, s: unet(x, s, 2), [(64, 128), (64, 64)]),
        (mobilenet("fpn_aspp", fast=True), lambda x, s: fpn(x, s, 2), [(64, 128), (64, 64)]),
        (regnet("fpn_aspp", "400mf"), lambda x, s: fpn_regnet(x, s, (1, 2, 7, 12), 16), [(32, 64), (64, 32)]),
        (regnet("fpn_aspp", "800mf"), lambda x, s: fpn_regnet(x, s, (1, 3, 7, 5), 16), [(32, 64), (64, 32)]),
        (regnet("fpn_aspp", "1p6gf"), lambda x, s: fpn_regnet(x, s, (2, 4, 10, 2), 24), [(32, 64), (64, 32)]),
        (regnet("fpn_aspp", "3p2gf"), lambda x, s: fpn_regnet(x, s, (2, 6, 15, 2), 48), [(32, 64), (64, 32)]),
        (regnet("deeplabv3plus", "800mf"), lambda x, s: deeplab_regnet(x, s), [(16, 48), (64, 32)]),
    ],
)
def test_they_compute_what_is_written_of_them(
    build: Build, again: Callable[[Tensor, State], Tensor], sizes: list[tuple[int, int]]
) -> None:
    network = seeded(build(7))
    for size in sizes:
        image = torch.randn(1, 3, *size)
        with torch.no_grad():
            out = network(image)["out"]
            expected = again(image, network.state_dict())
        assert out.shape == (1, 7, *size)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def seeded(network: Pixel2Pixel) -> Pixel2Pixel:
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 0.9)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network.eval()


# The networks again, from the tensors of a checkpoint and torch's functions.


def conv(x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Padded so that stride 1 keeps the size; as many groups as the weight says."""
    padding = weight.shape[2] // 2 * dilation
    return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1] // weight.shape[1])


def norm(x: Tensor, state: State, key: str) -> Tensor:
    return F.batch_norm(
        x,
        state[f"{key}.running_mean"],
        state[f"{key}.running_var"],
        state[f"{key}.weight"],
        state[f"{key}.bias"],
        eps=1e-5,
    )


def cna(x: Tensor, state: State, key: str, stride: int = 1, dilation: int = 1) -> Tensor:
    return F.relu(norm(conv(x, state[f"{key}.0.weight"], stride, dilation), state, f"{key}.1"))


def dws(x: Tensor, state: State, key: str, dilation: int = 1) -> Tensor:
    return cna(cna(x, state, f"{key}.0", 1, dilation), state, f"{key}.1")


def aspp(x: Tensor, state: State, key: str) -> Tensor:
    branches = [cna(x, state, f"{key}.conv1x1")]
    branches += [dws(x, state, f"{key}.aspp_bra{i}", dilation) for i, dilation in ((1, 6), (2, 12), (3, 18))]
    return cna(torch.cat(branches, 1), state, f"{key}.aspp_out")


def pred(x: Tensor, state: State) -> Tensor:
    filtered = norm(conv(x, state["decoders.0.pred.0.0.weight"]), state, "decoders.0.pred.0.1")
    return F.conv2d(filtered, state["decoders.0.pred.1.0.weight"])


def up(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, size=(factor * x.shape[2], factor * x.shape[3]), mode="bilinear", align_corners=False)


def mobilenetv2(
    x: Tensor, state: State, first: int, last: int, widths: Sequence[int] = (32, 16, 24, 32, 64, 96, 160, 320)
) -> list[Tensor]:
    x = cna(x, state, "encoder.features.0", 2)
    assert x.shape[1] == widths[0]
    found, number = [x], 0
    for t, c, n, s in (
        (1, widths[1], 1, first),
        (6, widths[2], 2, 2),
        (6, widths[3], 3, 2),
        (6, widths[4], 4, 2),
        (6, widths[5], 3, 1),
        (6, widths[6], 3, last),
        (6, widths[7], 1, 1),
    ):
        for index in range(n):
            number += 1
            key = f"encoder.features.{number}.conv"
            y, layer = x, 0
            if t != 1:
                y, layer = cna(y, state, f"{key}.0"), 1
            assert t == 1 or y.shape[1] == t * x.shape[1]
            y = cna(y, state, f"{key}.{layer}", s if index == 0 else 1)
            y = norm(conv(y, state[f"{key}.{layer + 1}.weight"]), state, f"{key}.{layer + 2}")
            x = x + y if index else y
            assert x.shape[1] == c
            found.append(x)
    return found


def regnetx(x: Tensor, state: State, blocks: tuple[int, ...], width: int, last: int = 2) -> list[Tensor]:
    key = "encoder.features.stem"
    x = F.relu(norm(conv(x, state[f"{key}.conv.weight"], 2), state, f"{key}.bn"))
    found = []
    for stage, count in enumerate(blocks, 1):
        for index in range(count):
            key = f"encoder.features.s{stage}.b{index + 1}"
            stride = 1 if index else (last if stage == 4 else 2)
            y = F.relu(norm(conv(x, state[f"{key}.f.a.weight"]), state, f"{key}.f.a_bn"))
            assert state[f"{key}.f.b.weight"].shape[1] == width
            y = F.relu(norm(conv(y, state[f"{key}.f.b.weight"], stride), state, f"{key}.f.b_bn"))
            y = norm(conv(y, state[f"{key}.f.c.weight"]), state, f"{key}.f.c_bn")
            own = x if index else norm(conv(x, state[f"{key}.proj.weight"], stride), state, f"{key}.bn")
            x = F.relu(own + y)
        found.append(x)
    return found


def deeplab(image: Tensor, state: State, stride: int) -> Tensor:
    features = mobilenetv2(image, state, 2 if stride == 32 else 1, 1)
    return deeplab_head(features[3], features[17], state, 8 if stride == 32 else 4)


def deeplab_regnet(image: Tensor, state: State) -> Tensor:
    s1, _, _, s4 = regnetx(image, state, (1, 3, 7, 5), 16, last=1)
    return deeplab_head(s1, s4, state, 4)


def deeplab_head(fine: Tensor, coarse: Tensor, state: State, last: int, shortcut: int = 48) -> Tensor:
    x = up(aspp(coarse, state, "decoders.0.aspp"), 4)
    s = cna(fine, state, "decoders.0.shortcut")
    assert s.shape[1] == shortcut
    return up(pred(torch.cat([x, s], 1), state), last)


def unet(image: Tensor, state: State, first: int = 1) -> Tensor:
    features = mobilenetv2(image, state, first, 2)
    x = aspp(features[17], state, "decoders.0.rfblock")
    for k, index in ((1, 13), (2, 6), (3, 3), (4, 1)):
        x = dws(torch.cat([up(x, 2), features[index]], 1), state, f"decoders.0.unet.smooth_convs.{k}")
        assert x.shape[1] == max(features[index].shape[1], 32)  # twice 7 classes are fewer
    return up(pred(x, state), 2 * first)


def fpn(image: Tensor, state: State, first: int = 1) -> Tensor:
    features = mobilenetv2(image, state, first, 2)
    return fpn_head([features[i] for i in (3, 6, 13, 17)], state, 4 * first)


def fpn_regnet(image: Tensor, state: State, blocks: tuple[int, ...], width: int) -> Tensor:
    return fpn_head(regnetx(image, state, blocks, width), state, 4)


def fpn_head(features: list[Tensor], state: State, last: int) -> Tensor:
    r = aspp(features[3], state, "decoders.0.rfblock")
    for k in (1, 2, 3):
        own = cna(features[3 - k], state, f"decoders.0.fpn.shortcuts.{k}")
        r = dws(up(r, 2) + own, state, f"decoders.0.fpn.smooth_convs.{k}")
    return up(pred(r, state), last)


@pytest.mark.parametrize("decoder", ["fpn_aspp", "deeplabv3plus"])
def test_those_of_width_1_4_compute_what_is_written_of_them(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The channels of each stage and of the decoder are written out; rectifiers are clipped at 6, and it matters."""
    network = seeded(build_wide_mobilenet(decoder, 7))
    state = network.state_dict()
    widths = {"0.0": 48, "1.conv.1": 24, "3.conv.2": 32, "6.conv.2": 48, "10.conv.2": 88, "13.conv.2": 136}
    widths |= {"16.conv.2": 224, "17.conv.2": 448}
    assert {key: len(state[f"encoder.features.{key}.weight"]) for key in widths} == widths
    inner = {"fpn_aspp": "rfblock", "deeplabv3plus": "aspp"}[decoder]
    assert state[f"decoders.0.{inner}.aspp_out.0.weight"].shape == (360, 1440, 1, 1)
    image = 30 * torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        plain = wide(decoder, image, state)
    monkeypatch.setattr(F, "relu", F.relu6)
    with torch.no_grad():
        out, expected = network(image)["out"], wide(decoder, image, state)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert not torch.allclose(out, plain, rtol=0.1)
    found = [one for one in ARCHITECTURES.values() if one.recognises(shapes_of(state))]
    assert [one.name for one in found] == [f"ti-{decoder.replace('_', '-')}-mobilenetv2-1p4"]


def wide(decoder: str, image: Tensor, state: State) -> Tensor:
    f = mobilenetv2(image, state, 1, 1 if decoder == "deeplabv3plus" else 2, (48, 24, 32, 48, 88, 136, 224, 448))
    if decoder == "fpn_aspp":
        return fpn_head([f[i] for i in (3, 6, 13, 17)], state, 4)
    return deeplab_head(f[3], f[17], state, 4, 64)


def test_what_training_for_int8_learned_is_left_out() -> None:
    state = dict(build_mobilenet("unet_aspp", 19).state_dict())
    learned = {
        "encoder.features.0.2.clips_act": torch.tensor([0.0, 7.3]),
        "encoder.features.0.2.num_batches_tracked": torch.tensor(4.0),
        "encoder.features.0.0.activation_in.clips_act": torch.tensor([-2.0, 2.0]),
        "encoder.features.2.conv.3.activation_q.clips_act": torch.tensor([-8.0, 8.0]),
    }
    adopted = adopt({**state, **learned})
    assert adopted.keys() - state.keys() == {
        "encoder.features.0.2.num_batches_tracked"
    }  # `load_into` passes these over
    assert all(adopted[key] is state[key] for key in state)


def test_a_network_of_several_tasks_is_refused() -> None:
    state = dict(build_mobilenet("unet_aspp", 19).state_dict())
    with pytest.raises(WeightsError, match=r"several tasks \(decoders\.1\.pred"):
        adopt({**state, "decoders.1.pred.1.0.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("classes", "first", "last"), [(19, "road", "bicycle"), (21, "background", "tvmonitor"), (32, "other", "armchair")]
)
def test_a_training_checkpoint_is_read(tmp_path: Path, classes: int, first: str, last: str) -> None:
    """By its keys; the labels by the number of its classes; what training for int8 left in it is said."""
    written = seeded(build_mobilenet("deeplabv3plus", classes))
    learned = {f"encoder.features.{i}.2.clips_act": torch.tensor([0.0, 7.3]) for i in range(3)}
    checkpoint = {
        "epoch": 3,
        "model_name": "deeplabv3plus_mobilenetv2_tv_edgeailite",
        "state_dict": written.state_dict() | learned,
        "optimizer": torch.optim.Adam(written.parameters()).state_dict(),
        "best_metric": 51.0,
        "multi_task_factors": None,
        "quantize": True,
    }
    torch.save(checkpoint, tmp_path / "model_best.pth")
    built = build_network(None, str(tmp_path / "model_best.pth"))
    assert built.name == "ti-deeplabv3plus-mobilenetv2"
    assert (len(built.classes), built.classes[0], built.classes[-1]) == (classes, first, last)
    assert any("3 ranges that training for int8 learned are left out" in note for note in built.notes)
    assert any("ti-deeplabv3plus-mobilenetv2-fd has the same keys" in note for note in built.notes)
    faster = build_network("ti-deeplabv3plus-mobilenetv2-fd", str(tmp_path / "model_best.pth"))
    assert faster.name == "ti-deeplabv3plus-mobilenetv2-fd"
    assert not any("same keys" in note for note in faster.notes)
    image = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        assert torch.equal(built.network(image)["out"], written(image)["out"])
        assert not torch.equal(faster.network(image)["out"], written(image)["out"])
