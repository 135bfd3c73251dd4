"""One pass over the images: both models run, timed alternately, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset, Sample, by_name
from fcn_onnx.evaluation.protocols import Protocol
from fcn_onnx.jobs.executor import Executor
from fcn_onnx.jobs.fold import Rows, fold
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.jobs.records import Arrays
from fcn_onnx.model.interface import Interface
from fcn_onnx.runtime.onnxruntime import SessionConfig
from fcn_onnx.runtime.segmenter import Labels, Segmenter
from fcn_onnx.runtime.timing import alternate, timed

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

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Tally:
        """Of images in this order."""
        return cls(
            names=[row.name for row in rows],
            counts={model: [row.counts[model] for row in rows] for model in (FP32, INT8)},
            latency_ms={model: [row.latency_ms[model] for row in rows] for model in (FP32, INT8)},
            agreement=[row.agreement for row in rows],
            seconds=[row.seconds for row in rows],
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything but the names, as arrays."""
        return {
            "counts_fp32": np.asarray(self.counts[FP32], np.int64),
            "counts_int8": np.asarray(self.counts[INT8], np.int64),
            "latency_fp32": np.asarray(self.latency_ms[FP32]),
            "latency_int8": np.asarray(self.latency_ms[INT8]),
            "agreement": np.asarray(self.agreement, np.int64),
            "seconds": np.asarray(self.seconds),
        }


@dataclass(frozen=True)
class Row:
    """What one image came to; the fields are those of `Tally`, for one image."""

    name: str
    counts: Mapping[str, NDArray[np.int64]]
    latency_ms: Mapping[str, float]
    agreement: tuple[int, int]
    seconds: tuple[float, float, float]

    def to_arrays(self) -> Arrays:
        """All but the name, for the journal."""
        return {
            "counts": np.stack([self.counts[FP32], self.counts[INT8]]),
            "latency_ms": np.array([self.latency_ms[FP32], self.latency_ms[INT8]]),
            "agreement": np.array(self.agreement, np.int64),
            "seconds": np.array(self.seconds),
        }

    @classmethod
    def from_arrays(cls, name: str, arrays: Arrays) -> Row:
        """The inverse of `to_arrays`."""
        (counts_fp32, counts_int8), (latency_fp32, latency_int8) = arrays["counts"], arrays["latency_ms"].tolist()
        same, compared = arrays["agreement"].tolist()
        loading, sessions, scoring = arrays["seconds"].tolist()
        return cls(
            name=name,
            counts={FP32: counts_fp32, INT8: counts_int8},
            latency_ms={FP32: latency_fp32, INT8: latency_int8},
            agreement=(same, compared),
            seconds=(loading, sessions, scoring),
        )


Turn = tuple[Sample, int]
"""An image and its number, which decides who goes first."""


@dataclass(frozen=True)
class Contest:
    """The task that scores an image.

    Attributes:
        models: file by name, `FP32` and `INT8`.
        interface: of both.
        preprocessing: makes the input that both see.
        dataset, protocol: the truth, and how it is scored.
        threads: of each session; 0 means all cores.
    """

    models: Mapping[str, Path]
    interface: Interface
    preprocessing: Preprocessing
    dataset: Dataset
    protocol: Protocol
    threads: int

    def load(self, turn: Turn) -> Turn:
        """Nothing: an image is read in its turn, as nothing may run beside a session that is timed."""
        return turn

    def open(self) -> Callable[[Turn], Row]:
        """Open the sessions, and return what scores the n-th image; the models take turns, AB, BA, ….

        Both models' outputs are scored at once, and while no session runs, so that latencies are undisturbed.
        """
        config = SessionConfig(threads=self.threads)
        segmenters = {name: Segmenter(path, config, self.interface) for name, path in self.models.items()}
        warm: set[str] = set()
        both = ThreadPoolExecutor(2, thread_name_prefix="scoring")

        def score(turn: Turn) -> Row:
            sample, index = turn
            started = time.perf_counter()
            photograph = read_rgb(sample.path)
            batch = self.preprocessing(photograph, sample.name)
            truth = self.protocol.read_truth(self.dataset, sample, self.protocol.grid(photograph))
            loaded = time.perf_counter()
            values, latency_ms = {}, {}
            for name in alternate((FP32, INT8), index):
                run = partial(segmenters[name].run, batch)
                if name not in warm:  # the first run of a session allocates and packs
                    run()
                    warm.add(name)
                values[name], latency_ms[name] = timed(run)

            def counted(name: str) -> tuple[Labels, NDArray[np.int64]]:
                labels = self.protocol.labels(
                    segmenters[name], values[name], photograph, self.preprocessing, sample.name
                )
                return labels, self.protocol.metric.count(truth, labels)

            (a, counts_fp32), (b, counts_int8) = both.map(counted, (FP32, INT8))
            sessions = sum(latency_ms.values()) / 1e3
            return Row(
                name=sample.name,
                counts={FP32: counts_fp32, INT8: counts_int8},
                latency_ms=latency_ms,
                agreement=(int((a == b).sum()), a.size),
                seconds=(loaded - started, sessions, time.perf_counter() - loaded - sessions),
            )

        return score


def score_images(
    contest: Contest, samples: Sequence[Sample], *, executor: Executor, journal: Journal, progress: Progress
) -> Tally:
    """Run, time and count both models on every sample; continues what `journal` holds.

    Any number of workers counts the same; their sessions share the threads, so their latencies are those of a busy
    machine.

    Raises:
        ImageError, DatasetError: an image or its truth cannot be read.
        ModelError: an output is not what the protocol scores.
        WorkerError: a worker process died.
    """
    threads = max(1, SessionConfig(threads=contest.threads).thread_count // executor.workers)
    rows = Rows(Row.to_arrays, Row.from_arrays)
    items = {name: (sample, index) for index, (name, sample) in enumerate(by_name(samples).items())}
    fold(
        replace(contest, threads=threads),
        items,
        rows,
        executor=executor,
        journal=journal,
        progress=progress,
        label="validating",
    )
    return Tally.of(rows.in_order(items))
