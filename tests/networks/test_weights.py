"""Weights that fit a network, and those that do not."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from fcn_onnx.errors import UsageError, WeightsError
from fcn_onnx.networks.building import build_network
from fcn_onnx.networks.checkpoints.reading import read_checkpoint

SHAPE = (1, 3, 40, 48)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    network = build_network("tiny", "DEFAULT").network
    return dict(network.state_dict())


@pytest.fixture(scope="module")
def expected() -> torch.Tensor:
    network = build_network("tiny", "DEFAULT").network
    with torch.no_grad():
        return network(torch.ones(SHAPE))["out"]


@pytest.mark.parametrize("form", ["plain", "module prefix", "model key", "state_dict key", "half", "no counters"])
def test_forms_of_checkpoints(tmp_path: Path, state: dict, expected: torch.Tensor, form: str) -> None:
    value: object = state
    match form:
        case "module prefix":
            value = {f"module.{k}": v for k, v in state.items()}
        case "model key":
            value = {"model": state, "optimizer": {"lr": 0.1}, "epoch": 3}
        case "state_dict key":
            value = {"state_dict": {f"module.{k}": v for k, v in state.items()}}
        case "half":
            value = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        case "no counters":
            value = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(value, tmp_path / "w.pth")
    built = build_network("tiny", str(tmp_path / "w.pth"))
    with torch.no_grad():
        assert torch.equal(built.network(torch.ones(SHAPE))["out"], expected)
    assert (built.weights.source, built.weights.random) == ("w.pth", False)
    assert not built.network.training


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("missing key", "1 missing: backbone.conv1.weight"),
        ("extra key", "1 unexpected: surplus"),
        ("shape", "1 of another shape: backbone.conv1.weight (1, 1)"),
        ("list", "holds no state dict (found list)"),
        ("other mapping", "holds no state dict"),
        ("empty file", "not a checkpoint"),
        ("code", "is a pickle, and not of torch"),
        ("missing file", "no such weights"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, state: dict, damage: str, words: str) -> None:
    path = tmp_path / "w.pth"
    value: object = dict(state)
    match damage:
        case "missing key":
            del value["backbone.conv1.weight"]  # type: ignore[attr-defined]
        case "extra key":
            value["surplus"] = torch.zeros(1)  # type: ignore[index]
        case "shape":
            value["backbone.conv1.weight"] = torch.zeros(1, 1)  # type: ignore[index]
        case "list":
            value = [torch.zeros(1)]
        case "other mapping":
            value = {"epoch": 3}
    torch.save(value, path)
    if damage == "empty file":
        path.write_bytes(b"")
    elif damage == "code":
        path.write_bytes(pickle.dumps(Path("a")))
    elif damage == "missing file":
        path.unlink()
    with pytest.raises(WeightsError) as caught:
        build_network("tiny", str(path))
    assert words in str(caught.value)


def test_an_auxiliary_head_that_is_not_wanted_is_left_unread(tmp_path: Path, state: dict) -> None:
    torch.save(state, tmp_path / "w.pth")
    network = build_network("tiny", str(tmp_path / "w.pth"), aux=False).network
    with torch.no_grad():
        assert list(network(torch.ones(SHAPE))) == ["out"]


def test_weights_without_an_auxiliary_head(tmp_path: Path, state: dict) -> None:
    """Exported without it, and said so, unless it was asked for."""
    torch.save({k: v for k, v in state.items() if not k.startswith("aux_classifier")}, tmp_path / "w.pth")
    built = build_network("tiny", str(tmp_path / "w.pth"))
    assert built.heads == ("out",)
    assert built.notes == ("the weights of w.pth have no auxiliary head, and none is exported",)
    with pytest.raises(WeightsError, match="--no-aux"):
        build_network("tiny", str(tmp_path / "w.pth"), aux=True)


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Payload()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError):
        read_checkpoint(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError):
        build_network("vgg", "none")


@pytest.mark.parametrize("arch", ["tiny", "resnet101", "deeplabv3_mobilenet_v3_large", "fcn8s"])
def test_random_networks_tell_places_apart(arch: str) -> None:
    """As torchvision initialises them, logits reach 19,000 in ResNet-101, and are the same everywhere in DeepLabV3."""
    network = build_network(arch, "none").network
    with torch.no_grad():
        logits = network(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)))["out"]
    assert 0.1 < logits.abs().max() < 100
    assert (logits.amax((2, 3)) - logits.amin((2, 3))).min() > 0.05
