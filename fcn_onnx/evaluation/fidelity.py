"""How far an int8 model is from its fp32 original, layer by layer and image by image, without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.graph import float_tensors
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.model.taps import with_taps
from fcn_onnx.report.markup import table
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.segmenter import Segmenter, on_grid
from fcn_onnx.runtime.settling import settle

RECTIFIERS = frozenset({"Relu", "Clip"})
COMPARED = frozenset({"Conv", "Relu", "Clip", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat"})


@dataclass(frozen=True)
class Fidelity:
    """The result of `compare_layers`; the worst come first.

    Attributes:
        sqnr_db: signal-to-quantization-noise ratio by tensor, 10 · log₁₀(Σx² / Σ(x − x̂)²), dB over all images; infinite
            where int8 is exact, such as in a channel that is always 0.
        flipped: share of the labels that differ by image.
    """

    sqnr_db: Mapping[str, float]
    flipped: Mapping[str, float]

    @property
    def label_agreement(self) -> float:
        """Mean over images of the share of labels that are the same."""
        return 1 - float(np.mean(list(self.flipped.values())))

    def worst(self, most: int = 10) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """For the terminal and notebooks: a header, and the worst rows below it, of tensors and of images."""
        tensors = [(name, f"{ratio:.1f}") for name, ratio in [*self.sqnr_db.items()][:most]]
        images = [(name, f"{100 * share:.2f} %") for name, share in [*self.flipped.items()][:most]]
        return {("worst tensors", "SQNR dB"): tensors, ("worst images", "labels flipped"): images}

    def _repr_html_(self) -> str:
        return "\n".join(table(header, rows) for header, rows in self.worst().items())

    def to_json(self) -> dict[str, Any]:
        """The object that `inspect FP32 INT8 --json` writes; a ratio that is not finite is null, and counted."""
        return {
            "label_agreement": self.label_agreement,
            "sqnr_db": {name: ratio if isfinite(ratio) else None for name, ratio in self.sqnr_db.items()},
            "sqnr_not_finite": sum(not isfinite(ratio) for ratio in self.sqnr_db.values()),
            "flipped": dict(self.flipped),
        }


@dataclass(frozen=True)
class Stored:
    """An activation as the int8 model holds it: (q − zero) · scale."""

    tensor: str
    scale: float
    zero: int
    kind: int

    def restored(self, q: NDArray[Any]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = (q.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)
        return values


def compare_layers(
    fp32: Path,
    int8: Path,
    samples: Sequence[Sample],
    *,
    interface: Interface = Interface(),
    threads: int = 0,
    progress: Progress = SILENT,
) -> Fidelity:
    """Run both models on the same images and compare every activation that the int8 model holds in 8 bits.

    Args:
        fp32, int8: an original and a model that onnxruntime's quantizer or Neural Compressor made of it.
        samples: images; labels are not needed.
        interface: of the models, where they do not say it themselves.

    Raises:
        UsageError: no image.
        ModelError: the int8 model holds no activation of the fp32 model.
    """
    if not samples:
        raise UsageError("no image to compare on", fix="give at least one")
    models = Model.open(fp32), Model.open(int8)
    original, quantized = (model.proto for model in models)
    stored = stored_activations(original, quantized)
    if not stored:
        raise ModelError(
            f"no activation of {fp32} is in 8 bits in {int8}", fix="name an int8 model that was made from this one"
        )
    config = SessionConfig(threads=threads)
    interface = settle(models, interface, progress)
    segmenter, other = (Segmenter(model, config, interface) for model in models)
    names = list(stored)
    multiple_of = segmenter.network.form.multiple_of
    kinds = {s.tensor: s.kind for s in stored.values()}
    taps = Network(with_taps(original, [*names, segmenter.output]), config, name=str(fp32), multiple_of=multiple_of)
    int8_taps = Network(
        with_taps(quantized, [*kinds, other.output], kinds), config, name=str(int8), multiple_of=multiple_of
    )
    signal, noise = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    flipped = {}
    for sample in progress.track(samples, total=len(samples), label="comparing"):
        batch = segmenter.preprocessing.read(sample)
        exact, rough = taps.run(batch), int8_taps.run(batch)
        for name in names:
            x = exact[name]
            signal[name] += float(np.square(x, dtype=np.float64).sum())
            difference = stored[name].restored(rough[stored[name].tensor]) - x
            noise[name] += float(np.square(difference, dtype=np.float64).sum())
        before = segmenter.labels(segmenter.cropped(exact[segmenter.output], batch), sample.name)
        labels = other.labels(other.cropped(rough[other.output], batch), sample.name)
        after = on_grid(labels, (before.shape[0], before.shape[1]))
        flipped[sample.name] = float((before != after).mean())
    ratios = {name: _decibel(signal[name], noise[name]) for name in names}
    return Fidelity(
        dict(sorted(ratios.items(), key=lambda item: item[1])),
        dict(sorted(flipped.items(), key=lambda item: -item[1])),
    )


def _decibel(signal: float, noise: float) -> float:
    if not noise:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def stored_activations(original: onnx.ModelProto, quantized: onnx.ModelProto) -> dict[str, Stored]:
    """Where each activation of the original is found in the int8 model.

    Quantizers keep the name: `x` has its scale in `x_scale` and its zero point in `x_zero_point`, and is held in the
    output of a QuantizeLinear that reads it (QDQ) or in `x_quantized` (QOperator). What only a rectifier reads has been
    rectified by its range already, so it is the rectifier's result that is compared.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in original.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    held = {node.input[0]: node.output[0] for node in quantized.graph.node if node.op_type == "QuantizeLinear"}
    written = {name for node in quantized.graph.node for name in node.output}
    floats = float_tensors(original)
    found = {}
    for node in original.graph.node:
        name = node.output[0]
        place = held.get(name, f"{name}_quantized")
        scale, zero = constants.get(f"{name}_scale"), constants.get(f"{name}_zero_point")
        if node.op_type not in COMPARED or name not in floats or place not in written or not scale or not zero:
            continue
        if zero.data_type not in (TensorProto.UINT8, TensorProto.INT8):
            continue
        values = numpy_helper.to_array(scale), numpy_helper.to_array(zero)
        following = readers.get(name, [])
        rectified = len(following) == 1 and following[0].op_type in RECTIFIERS
        shown = following[0].output[0] if rectified else name
        found[shown] = Stored(place, float(values[0].ravel()[0]), int(values[1].ravel()[0]), zero.data_type)
    return found
