"""Networks of the user's own: whatever they return becomes logits by name, and whatever is wrong is said."""

from __future__ import annotations

import itertools
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from foreign.pictures import write_pictures
from torch import nn

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.errors import FcnOnnxError, NetworkError, UsageError, WeightsError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import InputHints
from fcn_onnx.networks.building import Built
from fcn_onnx.networks.own import build_own
from fcn_onnx.stages.export import export
from fcn_onnx.stages.options import ExportOptions, QuantizeOptions
from fcn_onnx.stages.quantize import quantize

NUMBERS = itertools.count()


class Net(nn.Module):
    """Two convolutions; `shape` makes what is returned of both results."""

    def __init__(self, shape: Any, channels: int = 5, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1, stride=stride)
        self.second = nn.Conv2d(3, channels, 1, stride=stride)
        self.shape = shape

    def forward(self, x: torch.Tensor) -> Any:
        return self.shape(self.first(x), self.second(x))


@dataclass
class Output:
    """As Hugging Face's are: more than the logits."""

    logits: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] | None = None


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that is there to be imported, under a name of its own."""
    made = ModuleType(f"mine{next(NUMBERS)}")
    made.__file__ = "mine.py"
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def built(module: ModuleType, network: Any, **asked: Any) -> Built:
    vars(module)["make"] = network
    options: dict[str, Any] = {"aux": False, "classes": None, "output_name": None, "size": None, "hints": InputHints()}
    weights = asked.pop("weights", "DEFAULT")
    return build_own(f"{module.__name__}:make", weights, **options | asked)


RETURNS: dict[str, tuple[Any, bool]] = {
    "a tensor": (lambda a, b: a, False),
    "a tuple": (lambda a, b: (a, b), True),
    "a tuple of one": (lambda a, b: (a,), False),
    "a tuple with features": (lambda a, b: (a, b.mean((2, 3))), False),
    "a list": (lambda a, b: [a, b], True),
    "a mapping": (lambda a, b: {"aux": b, "out": a}, True),
    "an ordered mapping with logits": (lambda a, b: OrderedDict(loss=None, logits=a, hidden=b), False),
    "the only tensor of a mapping": (lambda a, b: {"masks": a, "names": ["x"]}, False),
    "an object with logits": (lambda a, b: Output(a, (b,)), False),
}


@pytest.mark.parametrize("kind", RETURNS)
def test_what_networks_return(module: ModuleType, kind: str) -> None:
    shape, aux = RETURNS[kind]
    network = Net(shape)
    image = torch.randn(1, 3, 20, 30)
    found = built(module, network)
    assert (found.name, found.heads, found.channels) == ("make", ("out",), 5)
    with torch.no_grad():
        assert torch.equal(found.network(image)["out"], network.first(image))
        assert any("--aux exports it" in note for note in found.notes) == aux
        if aux:
            both = built(module, network, aux=True).network(image)
            assert list(both) == ["out", "aux"]
            assert torch.equal(both["aux"], network.second(image))
        else:
            with pytest.raises(NetworkError, match="no second head"):
                built(module, network, aux=True)


def test_logits_by_another_name(module: ModuleType) -> None:
    network = Net(lambda a, b: {"masks": a, "edges": b})
    image = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(built(module, network, output_name="edges").network(image)["out"], network.second(image))
    with pytest.raises(NetworkError, match="dict of masks, edges, of which none is out or logits"):
        built(module, network)
    with pytest.raises(NetworkError, match="without seg"):
        built(module, network, output_name="seg")


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_logits_of_fewer_pixels_are_upsampled(module: ModuleType, stride: int) -> None:
    """Bilinearly, with half-pixel centres, to any size of the input."""
    network = Net(lambda a, b: a, stride=stride)
    found = built(module, network)
    assert any(f"1/{stride} of the input's size" in note for note in found.notes)
    image = torch.randn(1, 3, 37, 51)
    with torch.no_grad():
        logits = network(image)
        expected = nn.functional.interpolate(logits, size=(37, 51), mode="bilinear", align_corners=False)
        assert torch.equal(found.network(image)["out"], expected)


class Unet(nn.Module):
    """Two halvings, undone by doublings: sides that are no multiples of 4 do not fit the skips."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in ((3, 4), (4, 4)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(4, o, 2, stride=2) for o in (4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = self.down[0](x).relu()
        quarter = self.down[1](half).relu()
        return self.up[1](self.up[0](quarter) + half) + x


def test_the_multiple_is_found_and_recorded(module: ModuleType) -> None:
    assert built(module, Unet()).preprocessing.multiple_of == 4
    assert built(module, Unet(), hints=InputHints(multiple_of=16)).preprocessing.multiple_of == 16
    with pytest.raises(NetworkError, match="fails on images of 2×3×97×129"):
        built(module, Unet(), hints=InputHints(multiple_of=1))
    assert built(module, Unet(), size=(12, 20)).preprocessing.multiple_of is None
    assert built(module, Net(lambda a, b: a)).preprocessing.multiple_of is None


@pytest.mark.parametrize(
    ("channels", "asked", "names"),
    [
        (5, None, ("class 0", "class 1", "class 2", "class 3", "class 4")),
        (21, None, VOC_CLASSES),
        (1, None, ("background", "foreground")),
        (1, 2, ("background", "foreground")),
        (3, 3, ("class 0", "class 1", "class 2")),
        (3, ("a", "b", "c"), ("a", "b", "c")),
        (1, ("no", "yes"), ("no", "yes")),
    ],
)
def test_names_of_classes(module: ModuleType, channels: int, asked: Any, names: tuple[str, ...]) -> None:
    found = built(module, Net(lambda a, b: a, channels), classes=asked)
    assert (found.channels, found.classes) == (channels, names)
    assert any("--classes FILE" in note for note in found.notes) == (not isinstance(asked, tuple))


def test_names_that_the_network_knows(module: ModuleType) -> None:
    """As Hugging Face and mmsegmentation keep them."""
    network = Net(lambda a, b: a, 2)
    network.config = SimpleNamespace(id2label={0: "wall", 1: "sky"})
    assert built(module, network).classes == ("wall", "sky")
    network = Net(lambda a, b: a, 2)
    network.dataset_meta = {"classes": ("road", "tree"), "palette": []}
    assert built(module, network).classes == ("road", "tree")


@pytest.mark.parametrize("asked", [4, 21, ("a", "b"), 1, 256])
def test_another_number_of_classes_is_refused(module: ModuleType, asked: Any) -> None:
    with pytest.raises(FcnOnnxError, match="--classes says"):
        built(module, Net(lambda a, b: a), classes=asked)


def raising() -> nn.Module:
    raise KeyError("no such backbone")


WRONG: dict[str, tuple[Any, type[FcnOnnxError], str]] = {
    "a number": (7, UsageError, "is a int"),
    "returns a number": (lambda: 7, UsageError, "returns a int"),
    "raises": (raising, NetworkError, r"raises KeyError: 'no such backbone' \(.*test_own.py:\d+\)"),
    "exits": (sys.exit, NetworkError, "raises SystemExit"),
    "labels": (Net(lambda a, b: a.argmax(1)), NetworkError, r"returns int64 \(2, 97, 129\)"),
    "features": (Net(lambda a, b: a.mean((2, 3))), NetworkError, r"returns float32 \(2, 5\)"),
    "nothing": (Net(lambda a, b: None), NetworkError, "NoneType of no tensor"),
    "an empty list": (Net(lambda a, b: []), NetworkError, "list that does not begin with a tensor"),
    "a crop": (Net(lambda a, b: a[:, :, 5:, 5:]), NetworkError, "returns 92×124 for images of 97×129"),
    "too many": (Net(lambda a, b: a, 300), NetworkError, r"returns float32 \(2, 300, 97, 129\)"),
    "other images": (nn.Conv2d(1, 2, 1), NetworkError, "fails on images of 2×3×97×129: RuntimeError"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_network_is_refused(module: ModuleType, kind: str) -> None:
    made, error, words = WRONG[kind]
    with pytest.raises(error, match=words):
        built(module, made)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("unet", "is not package.module:factory"),
        ("unet.py:build", "there is no module unet"),
        ("a/unet:build", "is not package.module:factory"),
        ("nowhere_at_all:build", "there is no module nowhere_at_all"),
        ("json.nowhere:build", "there is no module json.nowhere"),
        ("json:build", "has no build"),
    ],
)
def test_places_where_nothing_is(place: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        export(ExportOptions(network=place))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("1 / 0", r"ZeroDivisionError: division by zero \(.*broken.py:1\)"),
        ("def build(:", "SyntaxError"),
    ],
)
def test_modules_that_do_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NetworkError, match=words):
        export(ExportOptions(network="broken:build"))
    assert str(tmp_path) not in sys.path
    assert not list(tmp_path.glob("*.onnx"))


def test_the_factory_is_seeded_and_a_checkpoint_replaces_what_it_gives(module: ModuleType, tmp_path: Path) -> None:
    first, again, random = (
        built(module, lambda: Net(lambda a, b: a), weights=weights) for weights in ("DEFAULT", "DEFAULT", "none")
    )
    assert first.weights == again.weights
    assert (first.weights.random, random.weights.random) == (False, True)
    assert first.weights.source == f"as {module.__name__}:make gives them"
    torch.save(
        {"state_dict": {f"module.{k}": 2 * v for k, v in first.network.own.state_dict().items()}}, tmp_path / "w"
    )
    loaded = built(module, lambda: Net(lambda a, b: a), weights=str(tmp_path / "w"))
    assert torch.equal(loaded.network.own.first.weight, 2 * first.network.own.first.weight)
    assert (loaded.weights.source, loaded.weights.random, loaded.weights.format) == ("w", False, "torch")
    torch.save({f"segmentor.{k}": v for k, v in loaded.network.own.state_dict().items()}, tmp_path / "w")
    assert torch.equal(
        built(module, lambda: Net(lambda a, b: a), weights=str(tmp_path / "w")).network.own.first.weight,
        2 * first.network.own.first.weight,
    )
    torch.save({"weight": torch.zeros(1)}, tmp_path / "w")
    with pytest.raises(WeightsError, match="these are not the weights of"):
        built(module, Net(lambda a, b: a), weights=str(tmp_path / "w"))


@pytest.mark.parametrize("opset", [11, 12, 17])
def test_from_a_file_here_to_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opset: int) -> None:
    """A network without a name in any list, sides in multiples of 4, logits at half size, two heads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "half_size", raising=False)
    (tmp_path / "half_size.py").write_text(
        "from torch import nn\n"
        "from test_own import Unet\n"
        "class Half(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.body, self.shrink = Unet(), nn.AvgPool2d(2)\n"
        "    def forward(self, x):\n"
        "        return self.shrink(self.body(x)), self.body(x)\n"
        "build_half = Half\n"
    )
    options = ExportOptions(
        network="half_size:build_half", opset=opset, aux=True, hints=InputHints(mean=(0, 0, 0), std=(1, 1, 1))
    )
    result = export(options)
    assert result.path == Path(f"fcn-build_half-{opset}.onnx")
    card = ModelCard.read_from(onnx.load(result.path), "m")
    assert (card.arch, card.protocol, card.classes) == ("build_half", None, ("class 0", "class 1", "class 2"))
    assert card.preprocessing is not None
    assert (card.preprocessing["multiple_of"], card.preprocessing["mean"]) == (4, [0, 0, 0])
    assert any("1/2 of the input's size" in note for note in card.notes)
    assert result.parity is not None
    assert [shape.shape[2:] for shape in result.parity.shapes] == [(128, 128), (68, 100), (224, 160)]
    session = ort.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    out, aux = session.run(["out", "aux"], {"input": np.zeros((1, 3, 40, 24), np.float32)})
    assert out.shape == aux.shape == (1, 3, 40, 24)
    assert export(options).skipped


class PreActivated(nn.Module):
    """Batch norms that stand before their convolutions, or behind one whose result is read elsewhere too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 5, 1)
        self.body = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.body[0].running_mean.uniform_(-1, 1)
        self.body[0].running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.last(x + self.body(x))


@pytest.mark.parametrize("opset", [11, 18])
def test_batch_norms_that_cannot_be_folded_stay(module: ModuleType, tmp_path: Path, opset: int) -> None:
    vars(module)["PreActivated"] = PreActivated
    fp32 = tmp_path / "m.onnx"
    result = export(ExportOptions(network=f"{module.__name__}:PreActivated", opset=opset, output=fp32))
    assert result.parity is not None
    assert [node.op_type for node in onnx.load(fp32).graph.node].count("BatchNormalization") == 1
    images = write_pictures(tmp_path / "images", range(2))
    int8 = quantize(QuantizeOptions(model=fp32, choice=ImageChoice(images, limit=2), output=tmp_path / "i.onnx"))
    shares = {"stem": 3 * 8 * 9, "body": 8 * 8 * 9, "last": 8 * 5}
    assert int8.facts.int8_macs_share == pytest.approx(1 - shares["last"] / sum(shares.values()))


class Upsampling(nn.Module):
    """A batch norm behind a transposed convolution, as in LinkNet's decoder, which torch's older exporter leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 6, 4, 2, 1)
        self.norm, self.last = nn.BatchNorm2d(6), nn.Conv2d(6, 5, 1)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.norm(self.up(torch.relu(self.down(x))))))


@pytest.mark.parametrize("opset", [11, 18])
def test_a_batch_norm_behind_a_transposed_convolution_is_folded(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opset: int
) -> None:
    monkeypatch.setattr("fcn_onnx.networks.parity.SHAPES", ((1, 32, 48), (2, 64, 32)))
    vars(module)["Upsampling"] = Upsampling
    fp32 = tmp_path / "m.onnx"
    hints = InputHints(multiple_of=2)
    result = export(ExportOptions(network=f"{module.__name__}:Upsampling", opset=opset, hints=hints, output=fp32))
    assert result.parity is not None
    assert [node.op_type for node in onnx.load(fp32).graph.node] == ["Conv", "Relu", "ConvTranspose", "Relu", "Conv"]


class Attention(nn.Module):
    """One head with a mask, in the one call that exporters below opset 14 do not know."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = x.flatten(2).transpose(1, 2)
        mask = (places.sum(-1) > 0)[:, None, :].expand(-1, places.shape[1], -1)
        mixed = nn.functional.scaled_dot_product_attention(places, places, places, attn_mask=mask)
        return (places + mixed).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("opset", [11, 13, 14])
def test_attention_below_its_opset(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opset: int
) -> None:
    fused = nn.functional.scaled_dot_product_attention
    monkeypatch.setattr("fcn_onnx.networks.parity.SHAPES", ((1, 8, 8), (2, 6, 10)))
    vars(module)["Attention"] = Attention
    result = export(ExportOptions(network=f"{module.__name__}:Attention", opset=opset, output=tmp_path / "m.onnx"))
    assert result.parity is not None
    assert result.parity.max_abs_difference < 1e-5
    assert nn.functional.scaled_dot_product_attention is fused


def test_what_torch_cannot_export_is_one_message(
    module: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Pooling to a fixed number of places, for images of any size."""
    vars(module)["make"] = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Upsample((97, 129)))
    with pytest.raises(FcnOnnxError, match="adaptive_avg_pool2d") as caught:
        export(ExportOptions(network=f"{module.__name__}:make", output=tmp_path / "m.onnx"))
    assert len(str(caught.value).splitlines()) == 2
    assert "--size HxW" in str(caught.value)
    assert "graph" not in "".join(capfd.readouterr())
