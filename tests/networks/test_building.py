"""A network from the table with a checkpoint: which it is, of how many classes, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fcn_onnx.data.label_spaces import ADE20K
from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.errors import UsageError, WeightsError
from fcn_onnx.networks.architecture import Architecture
from fcn_onnx.networks.building import build_network
from fcn_onnx.networks.families import ARCHITECTURES

TINY, SMALL = ARCHITECTURES["tiny"], ARCHITECTURES["lraspp_mobilenet_v3_large"]


def checkpoint(folder: Path, architecture: Architecture, classes: int, *, aux: bool = False) -> str:
    path = folder / "w.pth"
    torch.save(architecture.build(classes, aux).state_dict(), path)
    return str(path)


@pytest.mark.parametrize("architecture", [TINY, SMALL])
def test_the_network_is_recognised(tmp_path: Path, architecture: Architecture) -> None:
    built = build_network(None, checkpoint(tmp_path, architecture, 21))
    assert (built.name, built.heads, built.classes) == (architecture.name, ("out",), VOC_CLASSES)
    assert (built.weights.source, built.protocol) == ("w.pth", "torchvision")


def test_a_checkpoint_of_another_is_refused_by_name(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, TINY, 21)
    with pytest.raises(WeightsError, match=r"no weights of resnet50: these are the keys of tiny\n.*use --arch tiny"):
        build_network("resnet50", weights)


def test_one_of_nobody_shows_its_keys(tmp_path: Path) -> None:
    torch.save({f"layer{i}.weight": torch.zeros(1) for i in range(9)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"its keys are layer0.weight, .*layer4.weight …\n.*--arch NAME"):
        build_network(None, str(tmp_path / "w.pth"))
    with pytest.raises(WeightsError, match=r"do not fit the network: .*unexpected: layer0.weight"):
        build_network("tiny", str(tmp_path / "w.pth"))
    with pytest.raises(WeightsError, match="whose network could be recognised"):
        build_network(None, "none")


def test_classes_are_the_checkpoints(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, TINY, 4, aux=True)
    built = build_network("tiny", weights)
    assert (built.channels, built.classes) == (4, ("class 0", "class 1", "class 2", "class 3"))
    assert built.heads == ("out", "aux")
    named = build_network("tiny", weights, classes=("a", "b", "c", "d"))
    assert (named.classes, named.notes) == (("a", "b", "c", "d"), ())
    with torch.no_grad():
        assert named.network(torch.zeros(1, 3, 32, 32))["out"].shape == (1, 4, 32, 32)
    for asked in (5, ("a", "b")):
        with pytest.raises(WeightsError, match="are for 4 classes, and --classes says"):
            build_network("tiny", weights, classes=asked)


def test_one_channel_is_two_classes(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, TINY, 1)
    for asked in (None, 2):
        built = build_network(None, weights, classes=asked)
        assert (built.channels, built.classes) == (1, ("background", "foreground"))


def test_a_random_network_has_as_many_classes_as_asked() -> None:
    built = build_network("tiny", "none", classes=7)
    assert built.channels == len(built.classes) == 7
    assert build_network("tiny", "none").classes == VOC_CLASSES
    with pytest.raises(UsageError, match="--classes says 256"):
        build_network("tiny", "none", classes=256)
    with pytest.raises(WeightsError, match="are for 21 classes"):
        build_network("tiny", "DEFAULT", classes=7)


def test_names_and_notes_are_the_checkpoints_too(tmp_path: Path) -> None:
    """As mmsegmentation keeps them; of another number than the weights' they are passed over."""
    state = TINY.build(4, True).state_dict()
    for classes, named in ((("road", "sky", "car", "tree"), True), (("road", "sky"), False)):
        torch.save({"meta": {"CLASSES": classes}, "state_dict": state}, tmp_path / "w.pth")
        built = build_network("tiny", str(tmp_path / "w.pth"))
        assert (built.classes == classes) is named
        assert built.notes[0] == "not read, beside the weights: meta"


def test_a_random_network_is_no_louder_on_images_of_another_size() -> None:
    """Settled on four places of its deepest layer, TI's U-Net returned 72 there, and float32 differed from itself."""
    network = build_network("ti-unet-aspp-mobilenetv2", "none").network
    noise = torch.randn(1, 3, 224, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert network(noise)["out"].std() < 2


def test_the_classes_of_a_family_s_other_data_sets_have_their_names() -> None:
    assert build_network("gluoncv-fcn-resnet50", "none", classes=150).classes == ADE20K.names


@pytest.mark.parametrize("prefix", ["model.", "net.", "segmentor.network."])
def test_what_a_trainer_puts_before_the_names_is_dropped(tmp_path: Path, prefix: str) -> None:
    """As Lightning saves a training module: the attribute that holds the network, beside a loss with weights."""
    state = TINY.build(4, True).state_dict()
    saved = {f"{prefix}{key}": value for key, value in state.items()} | {"criterion.weight": torch.ones(4)}
    torch.save({"state_dict": saved, "pytorch-lightning_version": "2.5.0"}, tmp_path / "w.ckpt")
    for arch in (None, "tiny"):
        built = build_network(arch, str(tmp_path / "w.ckpt"))
        loaded = built.network.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in state.items() if value.is_floating_point())
        said = f"the names begin with {prefix}, which is dropped; not read: criterion.weight"
        assert built.notes[1] == said


def test_the_same_network_twice_is_not_chosen_from(tmp_path: Path) -> None:
    state = TINY.build(4, False).state_dict()
    torch.save({f"{prefix}.{key}": v for prefix in ("model", "ema") for key, v in state.items()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"holds the network more than once: under model\., ema\."):
        build_network(None, str(tmp_path / "w.pth"))
