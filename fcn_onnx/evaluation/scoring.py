"""One pass over the images: both models run, timed alternately, and counted."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.evaluation.latency import alternate, timed
from fcn_onnx.evaluation.protocols import Protocol
from fcn_onnx.journal import Journal
from fcn_onnx.progress import Progress
from fcn_onnx.runtime import SessionConfig
from fcn_onnx.segmenter import Interface, Labels, Segmenter

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

    def add(self, row: Row) -> None:
        """Append one image."""
        self.names.append(row.name)
        for model in (FP32, INT8):
            self.counts[model].append(row.counts[model])
            self.latency_ms[model].append(row.latency_ms[model])
        self.agreement.append(row.agreement)
        self.seconds.append(row.seconds)

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


@dataclass(frozen=True)
class Row:
    """What one image came to; the fields are those of `Tally`, for one image."""

    name: str
    counts: Mapping[str, NDArray[np.int64]]
    latency_ms: Mapping[str, float]
    agreement: tuple[int, int]
    seconds: tuple[float, float, float]


@dataclass(frozen=True)
class Contest:
    """Everything that a process needs to score an image.

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

    def scorer(self) -> Callable[[Sample, int], Row]:
        """Open the sessions, and return what scores the n-th image; the models take turns, AB, BA, ….

        Both models' outputs are scored at once, and while no session runs, so that latencies are undisturbed.
        """
        config = SessionConfig(threads=self.threads)
        segmenters = {name: Segmenter(path, config, self.interface) for name, path in self.models.items()}
        warm: set[str] = set()
        both = ThreadPoolExecutor(2, thread_name_prefix="scoring")

        def score(sample: Sample, index: int) -> Row:
            started = time.perf_counter()
            photograph = read_rgb(sample.path)
            batch = self.preprocessing(photograph)
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
    contest: Contest, samples: Sequence[Sample], *, workers: int, journal: Journal, progress: Progress
) -> Tally:
    """Run, time and count both models on every sample; continues what `journal` holds.

    Any number of workers counts the same; their sessions share the threads, so their latencies are those of a busy
    machine.

    Raises:
        ImageError, DatasetError: an image or its truth cannot be read.
        ModelError: an output is not what the protocol scores.
    """
    state = journal.load()
    tally = Tally.restore(state.arrays, state.done) if state else Tally()
    finished = len(tally.names)
    remaining = [(sample, index) for index, sample in enumerate(samples)][finished:]
    rows = _here(contest, remaining) if workers == 1 or not remaining else _in_workers(contest, remaining, workers)
    for row in progress.track(rows, total=len(samples), label="validating", done=finished):
        tally.add(row)
        journal.save(tally.arrays, tally.names)
    return tally


def _here(contest: Contest, items: Sequence[tuple[Sample, int]]) -> Iterator[Row]:
    score = contest.scorer() if items else None
    return (score(sample, index) for sample, index in items if score)


def _in_workers(contest: Contest, items: Sequence[tuple[Sample, int]], workers: int) -> Iterator[Row]:
    threads = max(1, SessionConfig(threads=contest.threads).thread_count // workers)
    share = replace(contest, threads=threads)
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_open_worker, initargs=(share,)
    )
    try:
        yield from pool.map(_score_in_worker, *zip(*items, strict=True))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: list[Callable[[Sample, int], Row]] = []
"""A worker's scorer: opened once, kept for as long as the process lives."""


def _open_worker(contest: Contest) -> None:
    _worker[:] = [contest.scorer()]


def _score_in_worker(sample: Sample, index: int) -> Row:
    return _worker[0](sample, index)
