"""Exported files: the opset asked for, torch's numbers, a clean graph, a card, and nothing half-written."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.errors import OutputError, ParityError, UsageError, WeightsError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import InputHints
from fcn_onnx.networks import forms, parity, rounding
from fcn_onnx.networks.building import build_network
from fcn_onnx.networks.tracing import supported_opsets
from fcn_onnx.stages import export as exporter
from fcn_onnx.stages.export import export
from fcn_onnx.stages.options import ExportOptions

OPSETS = sorted({11, 12, 13, 17, 18, supported_opsets()[-1]})


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_is_what_was_asked_for_and_computes_what_torch_does(tmp_path: Path, opset: int) -> None:
    path = tmp_path / "m.onnx"
    result = export(ExportOptions(arch="tiny", opset=opset, output=path))
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": opset}
    counts = Counter(node.op_type for node in model.graph.node)
    assert not {"BatchNormalization", "Identity", "Dropout", "Constant"} & set(counts)
    assert counts["Resize"] == 2
    network = build_network("tiny", "DEFAULT").network
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input"]
    assert [o.name for o in session.get_outputs()] == ["out", "aux"]
    for shape in [(1, 3, 64, 64), (3, 3, 71, 45), (2, 3, 33, 130)]:
        batch = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = network(batch)
        for name, actual in zip(("out", "aux"), session.run(None, {"input": batch.numpy()}), strict=True):
            assert actual.shape == (shape[0], 21, *shape[2:])
            np.testing.assert_allclose(actual, expected[name].numpy(), rtol=1e-3, atol=2e-4)
    assert result.parity is not None
    assert result.parity.max_abs_difference < 2e-4


def test_the_card_and_the_declared_shapes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export(ExportOptions(arch="tiny", opset=12, output=path))
    model = onnx.load(path)
    card = ModelCard.read_from(model, "m")
    assert (card.arch, card.opset, card.classes) == ("tiny", 12, VOC_CLASSES)
    assert card.weights is not None
    assert (card.weights["source"], card.weights["random"]) == ("fcn-onnx tiny", False)
    assert card.preprocessing is not None
    assert card.preprocessing["resize"] == "short-side 520"
    assert {"torch", "onnx", "fcn-onnx"} <= set(card.versions)
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.output}
    assert shapes == {name: ["batch", 21, "height", "width"] for name in ("out", "aux")}


def test_without_aux_and_with_a_fixed_size(tmp_path: Path) -> None:
    result = export(ExportOptions(arch="tiny", opset=12, aux=False, size=(64, 96), output=tmp_path / "m.onnx"))
    session = ort.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["out"]
    assert session.get_inputs()[0].shape[1:] == [3, 64, 96]
    assert session.run(None, {"input": np.zeros((2, 3, 64, 96), np.float32)})[0].shape == (2, 21, 64, 96)


def test_random_weights_are_seeded_and_said(tmp_path: Path) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        torch.manual_seed(hash(path.name) % 1000)  # the caller's seed does not matter
        export(ExportOptions(arch="tiny", opset=12, weights="none", output=path))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    card = ModelCard.read_from(onnx.load(paths[0]), "a")
    assert card.weights is not None
    assert card.weights["random"] is True


def test_what_is_up_to_date_is_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    assert not export(ExportOptions(arch="tiny", opset=12, output=path)).skipped
    before = path.stat().st_mtime_ns
    assert export(ExportOptions(arch="tiny", opset=12, output=path)).skipped
    assert path.stat().st_mtime_ns == before
    assert not export(ExportOptions(arch="tiny", opset=12, output=path, aux=False)).skipped
    path.write_bytes(b"junk")
    assert not export(ExportOptions(arch="tiny", opset=12, output=path)).skipped


def test_default_name_is_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert export(ExportOptions(arch="tiny", opset=13)).path == Path("fcn-tiny-13.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["fcn-tiny-13.onnx"]


def test_test_data_is_the_zoos_layout(tmp_path: Path) -> None:
    result = export(ExportOptions(arch="tiny", opset=12, output=tmp_path / "fcn-tiny-12.onnx", test_data=True))
    folder = tmp_path / "fcn-tiny-12" / "test_data_set_0"
    assert sorted(p.name for p in folder.iterdir()) == ["input_0.pb", "output_0.pb", "output_1.pb"]
    tensors = {p.stem: onnx.load_tensor(p) for p in folder.iterdir()}
    assert [tensors[k].name for k in ("input_0", "output_0", "output_1")] == ["input", "out", "aux"]
    session = ort.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"input": numpy_helper.to_array(tensors["input_0"])})
    np.testing.assert_array_equal(outputs[1], numpy_helper.to_array(tensors["output_1"]))
    assert result.test_data == tmp_path / "fcn-tiny-12.tar.gz"
    with tarfile.open(result.test_data) as tar:
        names = tar.getnames()
    assert names == [
        "fcn-tiny-12/fcn-tiny-12.onnx",
        *(f"fcn-tiny-12/test_data_set_0/{n}.pb" for n in ("input_0", "output_0", "output_1")),
    ]
    before = result.test_data.read_bytes()
    export(ExportOptions(arch="tiny", opset=12, output=tmp_path / "fcn-tiny-12.onnx", test_data=True))
    assert result.test_data.read_bytes() == before


@pytest.mark.parametrize("opset", [9, 10, 99])
def test_opsets_out_of_range_are_refused(tmp_path: Path, opset: int) -> None:
    with pytest.raises(UsageError, match="--opset 11 to"):
        export(ExportOptions(arch="tiny", opset=opset, output=tmp_path / "m.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_unknown_architectures_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"resnet50, resnet101, .*tiny"):
        export(ExportOptions(arch="unet"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        export(ExportOptions(arch="tiny", output=tmp_path / "file" / "m.onnx"))


def test_a_difference_from_torch_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export(ExportOptions(arch="tiny", opset=12, output=path))
    model = onnx.load(path)
    bias = next(t for t in model.graph.initializer if t.name.endswith("classifier.4.bias"))
    changed = numpy_helper.to_array(bias).copy()
    changed[3] += 0.05
    bias.CopyFrom(numpy_helper.from_array(changed, bias.name))
    network = build_network("tiny", "DEFAULT").network
    with pytest.raises(ParityError, match="differs from torch by up to"):
        parity.check_parity(network, model, outputs=("out", "aux"), size=None)


def test_parity_is_measured_where_the_network_runs(tmp_path: Path) -> None:
    """One whose sides must be multiples of 32 is not asked for 65×97, and fails if it is."""

    class Picky(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            assert x.shape[2] % 32 == x.shape[3] % 32 == 0, x.shape
            return {"out": 2 * x}

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["out"])],
        "double",
        [value("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [value("out", TensorProto.FLOAT, ["n", 3, "h", "w"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    found = parity.check_parity(Picky(), model, outputs=("out",), size=None, multiple_of=32)
    assert [shape.shape for shape in found.shapes] == [(1, 3, 128, 128), (2, 3, 96, 128), (1, 3, 224, 160)]
    with pytest.raises(AssertionError):
        parity.check_parity(Picky(), model, outputs=("out",), size=None)


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "ATOL", -1.0)
    monkeypatch.setattr(rounding, "OWN_ROUNDINGS", -1)
    with pytest.raises(ParityError):
        export(ExportOptions(arch="tiny", opset=12, output=tmp_path / "m.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_torchvisions_network_at_the_lowest_opset(tmp_path: Path) -> None:
    """The real architecture once, with random weights: parameters as torchvision counts them."""
    result = export(ExportOptions(arch="resnet50", opset=11, weights="none", output=tmp_path / "m.onnx"))
    network = build_network("resnet50", "none").network
    assert sum(p.numel() for p in network.parameters()) == 35_322_218
    assert result.parity is not None


def test_offline_default_weights_say_which_file_to_bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    with pytest.raises(WeightsError) as caught:
        export(ExportOptions(arch="resnet50", output=tmp_path / "m.onnx"))
    assert "--weights fcn_resnet50_coco-" in str(caught.value)


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no route to host")


def test_labels_instead_of_logits(tmp_path: Path) -> None:
    """The argmax of what the ordinary model returns, for both outputs, at any size."""
    plain = export(ExportOptions(arch="tiny", output=tmp_path / "a.onnx")).path
    labelled = export(ExportOptions(arch="tiny", output_labels=True, output=tmp_path / "b.onnx")).path
    sessions = [ort.InferenceSession(str(p), providers=["CPUExecutionProvider"]) for p in (plain, labelled)]
    assert [(o.name, o.type, o.shape) for o in sessions[1].get_outputs()] == [
        (name, "tensor(uint8)", ["batch", "height", "width"]) for name in ("out", "aux")
    ]
    batch = np.random.default_rng(0).standard_normal((2, 3, 49, 70)).astype(np.float32)
    for logits, labels in zip(*(session.run(None, {"input": batch}) for session in sessions), strict=True):
        assert (labels == logits.argmax(1)).all()


@pytest.mark.parametrize(
    ("labels", "half", "form"),
    [(False, False, ("logits", "float32")), (True, False, ("labels", "float32")), (False, True, ("logits", "float16"))],
)
def test_parity_is_of_the_file_that_is_written(tmp_path: Path, labels: bool, half: bool, form: tuple[str, str]) -> None:
    result = export(ExportOptions(arch="tiny", output_labels=labels, fp16=half, output=tmp_path / "m.onnx"))
    parity = result.parity
    assert parity is not None
    assert (parity.returns, parity.precision) == form
    assert (f"in {form[1]}" in str(parity)) == half
    assert ("torch's argmax" in str(parity)) == labels
    network = build_network("tiny", "DEFAULT").network
    session = ort.InferenceSession(str(result.path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    differ, largest, number = 0, 0.0, 0
    for batch, height, width in ((1, 128, 128), (2, 65, 97), (1, 224, 160)):
        values = rng.standard_normal((batch, 3, height, width), np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(values))
        for name, found in zip(("out", "aux"), session.run(["out", "aux"], {"input": values}), strict=True):
            reference = expected[name].numpy()
            own = found if labels else found.argmax(1)
            differ += int((own != reference.argmax(1)).sum())
            number += own.size
            if not labels:
                largest = max(largest, float(np.abs(reference - found).max()))
    assert sum(shape.labels for shape in parity.shapes) == number
    assert result.to_json()["parity"]["labels_differ"] == pytest.approx(differ, abs=2)
    if not labels:
        assert parity.max_abs_difference == pytest.approx(largest, rel=0.05, abs=1e-5)
    if half:
        assert f"{parity.labels_differ} of {number} labels differ" in str(parity)


@pytest.mark.parametrize("form", ["labels", "half"])
def test_a_form_that_is_not_what_it_was_made_from_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """The form goes wrong after the logits were found right: two classes change places, or a bias is off."""

    def broken(model: onnx.ModelProto) -> onnx.ModelProto:
        changed = getattr(forms, {"labels": "with_labels", "half": "in_half_precision"}[form])(model)
        tensors = {t.name: t for t in changed.graph.initializer}
        bias = next(tensors[name] for name in tensors if name.endswith("classifier.4.bias"))
        values = numpy_helper.to_array(bias).copy()
        values[0] -= 0.5
        bias.CopyFrom(numpy_helper.from_array(values, bias.name))
        return changed

    monkeypatch.setattr(exporter, {"labels": "with_labels", "half": "in_half_precision"}[form], broken)
    with pytest.raises(ParityError, match={"labels": "not torch's argmax", "half": "differs from torch"}[form]):
        export(
            ExportOptions(
                arch="tiny", output=tmp_path / "m.onnx", **{{"labels": "output_labels", "half": "fp16"}[form]: True}
            )
        )
    assert list(tmp_path.iterdir()) == []


def test_half_precision_computes_nearly_the_same(tmp_path: Path) -> None:
    plain = export(ExportOptions(arch="tiny", output=tmp_path / "a.onnx")).path
    half = export(ExportOptions(arch="tiny", fp16=True, output=tmp_path / "b.onnx")).path
    assert half.stat().st_size < 0.6 * plain.stat().st_size
    weights = [t for t in onnx.load(half).graph.initializer if len(t.dims) == 4]
    assert {t.data_type for t in weights} == {onnx.TensorProto.FLOAT16}
    batch = np.random.default_rng(0).standard_normal((1, 3, 65, 97)).astype(np.float32)
    outputs = [
        ort.InferenceSession(str(p), providers=["CPUExecutionProvider"]).run(["out"], {"input": batch})[0]
        for p in (plain, half)
    ]
    assert outputs[1].dtype == np.float32
    assert np.abs(outputs[0] - outputs[1]).max() < 0.02 * np.abs(outputs[0]).max()


@pytest.mark.parametrize("size", [(31, 64), (16, 16)])
def test_a_size_below_the_least_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    """VGG-16 halves an image five times, and torch fails on what is left."""
    with pytest.raises(UsageError, match=r"fcn32s takes no side shorter than 32\n.*use 32x\d+"):
        export(ExportOptions(arch="fcn32s", weights="none", size=size, output=tmp_path / "m.onnx"))
    assert not list(tmp_path.iterdir())


def test_a_size_that_the_network_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--size is 100x128.*multiples of 32\n.*use 128x128"):
        export(
            ExportOptions(arch="tiny", size=(100, 128), hints=InputHints(multiple_of=32), output=tmp_path / "m.onnx")
        )
    assert list(tmp_path.iterdir()) == []


def test_which_network_is_said_once() -> None:
    with pytest.raises(UsageError, match="name two networks"):
        ExportOptions(arch="tiny", network="a:b")
    with pytest.raises(UsageError, match="Missing"):
        ExportOptions(weights="none")
    with pytest.raises(UsageError, match="--output-name"):
        ExportOptions(arch="tiny", output_name="x")
    with pytest.raises(UsageError, match="--list makes no model"):
        export(ExportOptions(list_networks=True))


def test_a_recognised_checkpoint_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(build_network("tiny", "DEFAULT").network.state_dict(), tmp_path / "w.pth")
    (tmp_path / "names.txt").write_text("\n".join(f"name {i}" for i in range(21)))
    result = export(ExportOptions(weights="w.pth", classes="names.txt"))
    assert (result.path, result.card.arch, result.card.classes[20]) == (Path("fcn-tiny-12.onnx"), "tiny", "name 20")
    with pytest.raises(UsageError, match=r"no.txt cannot be read"):
        export(ExportOptions(weights="w.pth", classes="no.txt"))


@pytest.mark.parametrize("opset", [11, 13])
def test_squeeze_excitation_and_hard_swish_below_their_opset(tmp_path: Path, opset: int) -> None:
    result = export(
        ExportOptions(
            arch="lraspp_mobilenet_v3_large", opset=opset, weights="none", classes=3, output=tmp_path / "m.onnx"
        )
    )
    model = onnx.load(result.path)
    assert "HardSwish" not in {node.op_type for node in model.graph.node}
    assert [v.name for v in model.graph.output] == ["out"]
    assert result.card.classes == ("class 0", "class 1", "class 2")
