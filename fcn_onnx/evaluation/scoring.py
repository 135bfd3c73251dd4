"""One pass over the images: both models run, timed alternately, and counted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.sample import VOC_CLASSES, Dataset, Sample
from fcn_onnx.errors import ModelError
from fcn_onnx.evaluation.latency import alternate, timed_run
from fcn_onnx.evaluation.protocols import Protocol
from fcn_onnx.journal import Journal
from fcn_onnx.progress import Progress
from fcn_onnx.runtime import Network

FP32, INT8 = "fp32", "int8"


@dataclass
class Tally:
    """What has been counted so far; row i of every array is the i-th image.

    Attributes:
        names: image names, in order.
        counts: (N, columns) int64 for each model.
        latency_ms: (N,) float64 for each model.
        agreement: (N, 2) int64: pixels with the same label, pixels compared.
        seconds: (N, 3) float64: reading and preprocessing, both sessions, scoring.
    """

    names: list[str] = field(default_factory=list)
    counts: dict[str, list[NDArray[np.int64]]] = field(default_factory=lambda: {FP32: [], INT8: []})
    latency_ms: dict[str, list[float]] = field(default_factory=lambda: {FP32: [], INT8: []})
    agreement: list[tuple[int, int]] = field(default_factory=list)
    seconds: list[tuple[float, float, float]] = field(default_factory=list)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything but the names, as arrays for the journal."""
        return {
            "counts_fp32": np.asarray(self.counts[FP32], np.int64),
            "counts_int8": np.asarray(self.counts[INT8], np.int64),
            "latency_fp32": np.asarray(self.latency_ms[FP32]),
            "latency_int8": np.asarray(self.latency_ms[INT8]),
            "agreement": np.asarray(self.agreement, np.int64),
            "seconds": np.asarray(self.seconds),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[np.generic]], names: Sequence[str]) -> Tally:
        """The tally that `arrays` and `names` were taken from."""
        return cls(
            names=list(names),
            counts={m: list(arrays[f"counts_{m}"].astype(np.int64)) for m in (FP32, INT8)},
            latency_ms={m: arrays[f"latency_{m}"].tolist() for m in (FP32, INT8)},
            agreement=[(int(a), int(b)) for a, b in arrays["agreement"].tolist()],
            seconds=[(a, b, c) for a, b, c in arrays["seconds"].tolist()],
        )


def labels_of(logits: NDArray[np.float32], model: str, image: str) -> NDArray[np.uint8]:
    """argmax over classes, (21, H, W) float32 → (H, W) uint8; the lowest label wins a tie.

    Raises:
        ModelError: the output has another number of classes, or is not finite.
    """
    if logits.ndim != 3 or len(logits) != len(VOC_CLASSES):
        raise ModelError(
            f"the output `out` of {model} has shape {logits.shape} for {image}, not (21, H, W)",
            fix="use a model of the 21 VOC classes that returns logits",
        )
    if not (np.isfinite(logits.min()) and np.isfinite(logits.max())):
        raise ModelError(
            f"{model} returns values that are not finite for {image}",
            fix="the model is broken: export or quantize it again",
        )
    labels: NDArray[np.uint8] = logits.argmax(0).astype(np.uint8)
    return labels


def score_images(
    networks: Mapping[str, Network],
    dataset: Dataset,
    samples: Sequence[Sample],
    protocol: Protocol,
    journal: Journal,
    progress: Progress,
) -> Tally:
    """Run, time and count both models on every sample; continues what `journal` holds.

    Raises:
        ImageError, DatasetError: an image or its truth cannot be read.
        ModelError: an output is not what the protocol scores.
    """
    state = journal.load()
    tally = Tally.restore(state.arrays, state.done) if state else Tally()
    finished = len(tally.names)
    remaining = samples[finished:]
    if remaining:
        _warm_up(networks, remaining[0], protocol)
    for sample in progress.track(remaining, total=len(samples), label="validating", done=finished):
        _score_one(networks, dataset, sample, protocol, tally)
        journal.save(tally.arrays, tally.names)
    return tally


def _warm_up(networks: Mapping[str, Network], sample: Sample, protocol: Protocol) -> None:
    batch = protocol.preprocessing(read_rgb(sample.path))
    for network in networks.values():
        network.run(batch, ["out"])


def _score_one(
    networks: Mapping[str, Network], dataset: Dataset, sample: Sample, protocol: Protocol, tally: Tally
) -> None:
    started = time.perf_counter()
    batch = protocol.preprocessing(read_rgb(sample.path))
    grid = (batch.shape[2], batch.shape[3])
    truth = protocol.read_truth(dataset, sample, grid)
    loaded = time.perf_counter()
    labels: dict[str, NDArray[np.uint8]] = {}
    sessions = 0.0
    for model in alternate((FP32, INT8), len(tally.names)):
        outputs, milliseconds = timed_run(networks[model], batch, ["out"])
        tally.latency_ms[model].append(milliseconds)
        sessions += milliseconds / 1e3
        labels[model] = labels_of(outputs["out"][0], networks[model].name, sample.name)
        if labels[model].shape != grid:
            raise ModelError(
                f"{networks[model].name} returns {labels[model].shape} for an input of {grid}",
                fix="use a model whose output has the size of its input",
            )
    for model in (FP32, INT8):
        tally.counts[model].append(protocol.metric.count(truth, labels[model]))
    tally.agreement.append((int((labels[FP32] == labels[INT8]).sum()), labels[FP32].size))
    tally.names.append(sample.name)
    tally.seconds.append((loaded - started, sessions, time.perf_counter() - loaded - sessions))
