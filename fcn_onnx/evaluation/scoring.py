"""One pass over the images: both models run, timed alternately, and counted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.evaluation.latency import alternate, timed
from fcn_onnx.evaluation.protocols import Protocol
from fcn_onnx.journal import Journal
from fcn_onnx.progress import Progress
from fcn_onnx.segmenter import Segmenter, on_grid

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


def score_images(
    segmenters: Mapping[str, Segmenter],
    preprocessing: Preprocessing,
    dataset: Dataset,
    samples: Sequence[Sample],
    protocol: Protocol,
    journal: Journal,
    progress: Progress,
) -> Tally:
    """Run, time and count both models on every sample; continues what `journal` holds.

    Both see the same input, made by `preprocessing`; labels of another size are brought to the protocol's grid.

    Raises:
        ImageError, DatasetError: an image or its truth cannot be read.
        ModelError: an output is not what the protocol scores.
    """
    state = journal.load()
    tally = Tally.restore(state.arrays, state.done) if state else Tally()
    finished = len(tally.names)
    remaining = samples[finished:]
    if remaining:
        batch = preprocessing(read_rgb(remaining[0].path))
        for segmenter in segmenters.values():
            segmenter.run(batch)
    for sample in progress.track(remaining, total=len(samples), label="validating", done=finished):
        _score_one(segmenters, preprocessing, dataset, sample, protocol, tally)
        journal.save(tally.arrays, tally.names)
    return tally


def _score_one(
    segmenters: Mapping[str, Segmenter],
    preprocessing: Preprocessing,
    dataset: Dataset,
    sample: Sample,
    protocol: Protocol,
    tally: Tally,
) -> None:
    started = time.perf_counter()
    photograph = read_rgb(sample.path)
    batch, grid = preprocessing(photograph), protocol.grid(photograph)
    truth = protocol.read_truth(dataset, sample, grid)
    loaded = time.perf_counter()
    labels: dict[str, NDArray[np.uint8]] = {}
    sessions = 0.0
    for model in alternate((FP32, INT8), len(tally.names)):
        segmenter = segmenters[model]
        value, milliseconds = timed(lambda segmenter=segmenter: segmenter.run(batch))  # type: ignore[misc]
        tally.latency_ms[model].append(milliseconds)
        sessions += milliseconds / 1e3
        labels[model] = on_grid(segmenter.labels(value, sample.name), grid)
    for model in (FP32, INT8):
        tally.counts[model].append(protocol.metric.count(truth, labels[model]))
    tally.agreement.append((int((labels[FP32] == labels[INT8]).sum()), labels[FP32].size))
    tally.names.append(sample.name)
    tally.seconds.append((loaded - started, sessions, time.perf_counter() - loaded - sessions))
