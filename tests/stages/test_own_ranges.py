"""TI's models trained for int8: what their clips mean, against a simulation of that training written out in torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from ti_small import Small, export, half_up, photographs
from torch import Tensor
from toys import save

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import Interface
from fcn_onnx.quantization.writing import Quantized
from fcn_onnx.runtime.onnxruntime import executed_graph
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

TI = Interface(mean=(128 / 255,) * 3, std=(64 / 255,) * 3)


@pytest.fixture(scope="module")
def network() -> Small:
    return Small().eval()


@pytest.fixture(scope="module")
def exported(network: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As TI writes it: opset 11, one size, no names. The clipped logits are an output too, so that codes are seen."""
    return export(network, tmp_path_factory.mktemp("ti") / "small_qat.onnx")


class Notes(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def imported(model: Path, output: Path, progress: Progress | None = None, **options: Any) -> Quantized:
    labels = onnx.load(model).graph.output[-1].name
    interface = replace(TI, output_name=labels)
    chosen = QuantizeOptions(model=model, output=output, **({"target": "vnni", "interface": interface} | options))
    return quantize(chosen, progress=progress or Notes())


def run(path: Path, batch: Tensor, optimised: bool = True) -> tuple[NDArray[Any], NDArray[Any]]:
    options = ort.SessionOptions()
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")  # this machine may be one without VNNI
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    logits, labels = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
    return np.asarray(logits), np.asarray(labels)


@pytest.mark.parametrize("quant_format", ["qdq", "qoperator"])
def test_it_means_what_training_simulated(network: Small, exported: Path, tmp_path: Path, quant_format: str) -> None:
    """To the last code, with ties rounded to even, as ONNX rounds. TI rounds them up: that moves a code by one at a
    tie, and what follows from it."""
    notes = Notes()
    result = imported(exported, tmp_path / "int8.onnx", notes, format=quant_format)
    assert "ranges from 13 clips to powers of two, as in training for int8 (TI's)" in notes.lines
    assert not any("no clip says" in line or "not rounded" in line for line in notes.lines)
    assert result.facts.int8_macs_share == 1
    assert result.facts.quant_format == quant_format
    executed = [node.op_type for node in executed_graph(tmp_path / "int8.onnx").graph.node]
    assert executed.count("QLinearConv") == 8
    assert not {"Conv", "FusedConv"} & set(executed)
    for image in photographs().split(1):
        with torch.no_grad():
            even, up = (network.double().simulated(image.double(), how) for how in (torch.round, half_up))
            plain = network.float()(image)
        for optimised in (True, False):
            logits, labels = run(tmp_path / "int8.onnx", image, optimised)
            np.testing.assert_array_equal(logits, even[0].numpy())
            np.testing.assert_array_equal(labels, even[1].numpy())
        codes = np.abs(logits - up[0].numpy()) * 128 / 32
        assert codes.max() <= 3
        assert (labels == up[1].numpy()).mean() > 0.98
        assert len(np.unique(labels)) > 2
        assert np.abs(logits - plain[0].numpy()).max() > 32 / 128 / 2  # it is not the float network either


def test_scales_are_powers_of_two_and_zero_points_are_zero_or_128(exported: Path, tmp_path: Path) -> None:
    """Of every scale: `--per-channel` has one for each channel, and no other option changes that."""
    for name, options in {
        "tensor": {},
        "channel": {"per_channel": True, "format": "qoperator"},
        "safe": {"target": "avx2"},
        "kept": {"keep_float": ("/merge/",)},
    }.items():
        path = tmp_path / f"{name}.onnx"
        result = imported(exported, path, **options)
        stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
        scales = [value for key, value in stored.items() if key.endswith("scale")]
        assert len(scales) > 15
        assert all((np.frexp(value)[0] == 0.5).all() for value in scales)
        zeros = [value for key, value in stored.items() if key.endswith("zero_point") and value.dtype == np.uint8]
        assert {int(value) for value in zeros} == {0, 128}
        assert any(value.size > 1 for value in scales) == (name == "channel") == bool(result.facts.per_channel)
        assert [node.name for node in result.facts.in_fp32] == (["/merge/Conv"] if name == "kept" else [])


def test_for_avx2_only_weights_that_would_saturate_differ(network: Small, exported: Path, tmp_path: Path) -> None:
    own, safe = (imported(exported, tmp_path / f"{target}.onnx", target=target) for target in ("vnni", "avx2"))
    weights = [
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(result.path).graph.initializer}
        for result in (own, safe)
    ]
    moved = [key for key, value in weights[0].items() if not np.array_equal(value, weights[1][key])]
    assert own.proof is not None
    assert safe.proof is not None
    assert own.proof.pairs.unsafe_count > 0
    assert safe.proof.pairs.unsafe_count == 0
    assert len([key for key in moved if key.endswith("weight_quantized")]) == len(own.proof.pairs.unsafe)
    (image,) = photographs(1).split(1)
    assert (run(own.path, image)[1] == run(safe.path, image)[1]).mean() > 0.9


def test_it_is_up_to_date_until_something_changes(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    assert not imported(exported, path).skipped
    assert imported(exported, path).skipped
    assert not imported(exported, path, format="qoperator").skipped
    assert not imported(exported, path, format="qoperator", per_channel=True).skipped
    assert ModelCard.read_from(onnx.load(path), "it").quantization["method"] == "clips"  # type: ignore[index]


def test_half_of_the_clips_are_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    for node in clips[1::2]:
        del node.input[1:]
        node.op_type = "Relu"
    half = save(model, tmp_path / "half.onnx")
    with pytest.raises(
        UsageError, match=r"--ranges\); the 7 clips of .*half.onnx say no range of \d+ tensors"
    ) as caught:
        imported(half, tmp_path / "int8.onnx")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.parametrize("change", ["none", "relu6", "quantized", "method", "neural-compressor"])
def test_what_brings_no_ranges_is_refused_as_ever(exported: Path, tmp_path: Path, change: str) -> None:
    model, options = onnx.load(exported), {}
    if change in ("none", "relu6"):
        for node in (node for node in model.graph.node if node.op_type == "Clip"):
            if change == "none":
                node.op_type = "Relu"
                del node.input[1:]
            else:
                node.input[2] = "six"
        model.graph.initializer.append(numpy_helper.from_array(np.array(6, np.float32), "six"))
    elif change == "quantized":
        imported(exported, tmp_path / "before.onnx")
        model = onnx.load(tmp_path / "before.onnx")
    else:
        options = {"method": "minmax"} if change == "method" else {"backend": change}
    path = save(model, tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="ranges come either") as caught:
        imported(path, tmp_path / "int8.onnx", **options)
    assert caught.value.what == "ranges come either from images (--data) or from a table (--ranges)"


def test_tensorrt_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tensorrt wants activations of zero point 0"):
        imported(exported, tmp_path / "int8.onnx", target="tensorrt")


def test_an_input_without_clip_gets_what_holds_every_photograph(exported: Path, tmp_path: Path) -> None:
    """(x - 128) / 64 of 0 … 255 are the signed codes of ±2 themselves."""
    model = onnx.load(exported)
    (first,) = [node for node in model.graph.node if model.graph.input[0].name in node.input]
    assert first.op_type == "Clip"
    for node in model.graph.node:
        node.input[:] = [first.input[0] if name == first.output[0] else name for name in node.input]
    model.graph.node.remove(first)
    notes = Notes()
    imported(save(model, tmp_path / "bare.onnx"), tmp_path / "bare-int8.onnx", notes)
    assert any("no clip says the range of" in line and "-2 … 1.98438" in line for line in notes.lines)
    imported(exported, tmp_path / "int8.onnx")
    for image in photographs(2).split(1):
        for found, expected in zip(
            run(tmp_path / "bare-int8.onnx", image), run(tmp_path / "int8.onnx", image), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
