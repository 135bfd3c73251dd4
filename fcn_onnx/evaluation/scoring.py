"""One pass over the images: all models run, timed in turns, and counted."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset, Sample, by_name
from fcn_onnx.evaluation.grids import Truth
from fcn_onnx.evaluation.protocol import Protocol
from fcn_onnx.evaluation.regions import Ground, flat_truth
from fcn_onnx.evaluation.sparse import SparseCounts, SparseRows
from fcn_onnx.jobs.executor import Executor, Names
from fcn_onnx.jobs.fold import fold
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.jobs.records import Arrays, Record
from fcn_onnx.model.interface import Interface
from fcn_onnx.report.gallery import most_changed
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig
from fcn_onnx.runtime.segmenter import Labels, Segmenter
from fcn_onnx.runtime.timing import alternate, timed

SCORERS = 2
"""Outputs that are scored at once: each may be upsampled on the way, and memory should not grow with the rows."""


@dataclass(frozen=True)
class Entrant:
    """A row: a model in a runtime.

    Attributes:
        name: unlike any other row's.
        model: the file.
        runtime: what runs it.
    """

    name: str
    model: Path
    runtime: str = DEFAULT_RUNTIME


@dataclass(frozen=True)
class Scored:
    """What one image came to, in R rows; the first row is the reference.

    Attributes:
        name: of the image.
        counts: (R, columns) int64, each row's counts by the protocol.
        latency_ms: (R,) float64.
        agreement: (R, 2) int64: pixels with the reference's label, and pixels compared.
        regions: (R, G, 2C + 1) int64, each row's `Ground.count`.
        ground: (G, C + 2) int64, what these are of: `Ground.counts`.
        seconds: (3,) float64: reading and preprocessing, all sessions, scoring.
        labels: (H, W) uint8 of each row, which no journal keeps.
    """

    name: str
    counts: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    agreement: NDArray[np.int64]
    regions: NDArray[np.int64]
    ground: NDArray[np.int64]
    seconds: NDArray[np.float64]
    labels: tuple[Labels, ...] = field(default=(), repr=False)

    def to_arrays(self) -> Arrays:
        """All but the name and the labels, for the journal."""
        return {key: getattr(self, key) for key in ARRAYS}

    @classmethod
    def from_arrays(cls, name: str, arrays: Arrays) -> Scored:
        """The inverse of `to_arrays`."""
        counts, latency_ms, agreement, regions, ground, seconds = (arrays[key] for key in ARRAYS)
        return cls(name, counts, latency_ms, agreement, regions, ground, seconds)


ARRAYS = ("counts", "latency_ms", "agreement", "regions", "ground", "seconds")
COUNTED = ("counts", "regions", "ground")  # these grow with the classes


@dataclass(frozen=True)
class Tally:
    """What has been counted of N images in R rows.

    Attributes:
        rows: names of the rows, the reference first.
        images: names of the images, in order.
        counts: of each row, (N, columns).
        latency_ms: (R, N) float64.
        agreement: (R, N, 2) int64.
        regions: of each row, (N, G, 2C + 1).
        ground: (N, G, C + 2).
        seconds: (N, 3) float64.
        labels: (H, W) uint8 of each row, by the name of an image: of those that a candidate changes most.
    """

    rows: tuple[str, ...]
    images: tuple[str, ...]
    counts: Sequence[SparseCounts]
    latency_ms: NDArray[np.float64]
    agreement: NDArray[np.int64]
    regions: Sequence[SparseCounts]
    ground: SparseCounts
    seconds: NDArray[np.float64]
    labels: Mapping[str, tuple[Labels, ...]] = field(default_factory=dict, repr=False)


class Scores:
    """What every image came to, without zeros, and the labels of those that a candidate changes most.

    Args:
        rows: names of the rows, the reference first.
        kept: of how many images labels are kept for each candidate; they are the large part.

    Attributes:
        labels: by image; of images that a journal brought there are none.
    """

    def __init__(self, rows: Sequence[str], kept: int) -> None:
        self.labels: dict[str, tuple[Labels, ...]] = {}
        self._rows = tuple(rows)
        self._numbers: dict[str, int] = {}
        self._counted = {key: SparseRows() for key in COUNTED}
        self._shapes = {"latency_ms": (len(rows),), "agreement": (len(rows), 2), "seconds": (3,)}
        self._measured: dict[str, array[Any]] = {
            key: array(kind) for key, kind in zip(self._shapes, "dqd", strict=True)
        }
        self._agreement: dict[str, NDArray[np.int64]] = {}
        self._kept = kept

    @property
    def done(self) -> Iterable[str]:
        """See `State.done`."""
        return self._numbers.keys()

    def add(self, names: Names, result: Scored) -> None:
        """See `State.add`."""
        (name,) = names
        self._take(name, result)
        self.labels[name], self._agreement[name] = result.labels, result.agreement
        held, rows = list(self.labels), np.stack(list(self._agreement.values()), axis=1)
        most = {held[index] for row in rows[1:] for index in most_changed(row, self._kept)}
        for other in set(held) - most:
            del self.labels[other], self._agreement[other]

    def keep(self, names: Names, journal: Journal) -> None:
        """See `State.keep`."""
        (name,) = names
        journal.append(Record(names, self._one(name).to_arrays()))

    def restore(self, record: Record) -> None:
        """See `State.restore`."""
        (name,) = record.done
        self._take(name, Scored.from_arrays(name, record.arrays))

    def tally(self, images: Iterable[str]) -> Tally:
        """Of these images, in their order."""
        names = tuple(images)
        order = [self._numbers[name] for name in names]
        counts, regions, ground = (rows.taken(order) for rows in self._counted.values())
        latency_ms, agreement, seconds = (
            np.array(values).reshape(-1, *self._shapes[key])[order] for key, values in self._measured.items()
        )
        return Tally(
            rows=self._rows,
            images=names,
            counts=[counts.part(row) for row in range(len(self._rows))],
            latency_ms=np.ascontiguousarray(latency_ms.T),
            agreement=np.ascontiguousarray(agreement.swapaxes(0, 1)),
            regions=[regions.part(row) for row in range(len(self._rows))],
            ground=ground,
            seconds=seconds,
            labels=self.labels,
        )

    def _take(self, name: str, result: Scored) -> None:
        """All of it or, with a ValueError, nothing; what was there of the image is no longer looked at."""
        for key, rows in self._counted.items():
            rows.require(getattr(result, key))
        for key in self._measured:
            values = getattr(result, key)
            if values.shape != self._shapes[key] or values.dtype != np.dtype(self._measured[key].typecode):
                raise ValueError(f"{key} of {self._shapes[key]} was expected, not {values.dtype} {values.shape}")
        for key, rows in self._counted.items():
            rows.append(getattr(result, key))
        for key, kept in self._measured.items():
            kept.extend(getattr(result, key).ravel().tolist())
        self._numbers[name] = len(self._measured["seconds"]) // 3 - 1

    def _one(self, name: str) -> Scored:
        number = self._numbers[name]
        arrays: dict[str, NDArray[Any]] = {key: rows.one(number) for key, rows in self._counted.items()}
        for key, values in self._measured.items():
            size = prod(shape := self._shapes[key])
            arrays[key] = np.array(values[number * size : (number + 1) * size]).reshape(shape)
        return Scored.from_arrays(name, arrays)


Turn = tuple[Sample, int]
"""An image and its number, which decides who goes first."""


@dataclass(frozen=True)
class Contest:
    """The task that scores an image.

    Attributes:
        entrants: the reference, and its candidates.
        interface: of all.
        preprocessing: makes the input that all see.
        dataset, protocol: the truth, and how it is scored.
        threads: of each session; 0 means all cores.
        opened: the entrants' sessions of so many threads, where this process has them; another one opens its own.
    """

    entrants: tuple[Entrant, ...]
    interface: Interface
    preprocessing: Preprocessing
    dataset: Dataset
    protocol: Protocol
    threads: int
    opened: Sequence[Segmenter] = ()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"opened": ()}

    def load(self, turn: Turn) -> Turn:
        """Nothing: an image is read in its turn, as nothing may run beside a session that is timed."""
        return turn

    def open(self) -> Callable[[Turn], Scored]:
        """What scores the n-th image, with the sessions open."""
        return Match(self)


class Match:
    """The rows in their sessions, which take turns on every image: ABC, CBA, ….

    Outputs are scored while no session runs, so that latencies are undisturbed, and two at once.
    """

    def __init__(self, contest: Contest) -> None:
        self._contest = contest
        config = SessionConfig(threads=contest.threads)
        self._segmenters = contest.opened or [
            Segmenter(row.model, config, contest.interface, row.runtime) for row in contest.entrants
        ]
        self._warm: set[int] = set()
        self._scorers = ThreadPoolExecutor(SCORERS, thread_name_prefix="scoring")

    def __call__(self, turn: Turn) -> Scored:
        """Show the image to all rows, and count what they make of it."""
        (sample, index), contest = turn, self._contest
        started = time.perf_counter()
        photograph = sample.read()
        batch = contest.preprocessing(photograph, sample.name)
        truth = contest.protocol.read_truth(contest.dataset, sample, contest.protocol.grid(photograph))
        loaded = time.perf_counter()
        values, latency_ms = self._run(batch, index)

        def counted(row: int) -> tuple[Labels, NDArray[np.int64]]:
            value = values.pop(row)  # a row's output is let go when it is scored
            segmenter = self._segmenters[row]
            seen = contest.protocol.predicted(segmenter, value, photograph, contest.preprocessing, sample.name)
            return seen.labels, contest.protocol.metric.count(truth, *seen)

        labels, counts = zip(*self._scorers.map(counted, range(len(self._segmenters))), strict=True)
        agreement = [(int((labels[0] == own).sum()), own.size) for own in labels]
        ground = self._ground(truth, labels[0], photograph)
        regions = list(self._scorers.map(partial(ground.count, labels[0]), labels))
        sessions = latency_ms.sum() / 1e3
        return Scored(
            name=sample.name,
            counts=np.stack(counts),
            latency_ms=latency_ms,
            agreement=np.array(agreement, np.int64),
            regions=np.stack(regions),
            ground=ground.counts(),
            seconds=np.array([loaded - started, sessions, time.perf_counter() - loaded - sessions]),
            labels=labels,
        )

    def _ground(self, truth: Truth, reference: Labels, photograph: Image.Image) -> Ground:
        """Where the truth has borders and objects, or, where it is unknown, the reference."""
        dataset = self._contest.dataset
        borders = flat_truth(truth) if dataset.labelled else reference
        pixels = photograph.width * photograph.height
        return Ground.of(borders, dataset.label_space, pixels, known=dataset.labelled)

    def _run(self, batch: NDArray[np.float32], index: int) -> tuple[dict[int, NDArray[Any]], NDArray[np.float64]]:
        """Each row's output, and its session's time in ms."""
        values: dict[int, NDArray[Any]] = {}
        latency_ms = np.zeros(len(self._segmenters))
        for row in alternate(range(len(self._segmenters)), index):
            run = partial(self._segmenters[row].run, batch)
            if row not in self._warm:  # the first run of a session allocates and packs
                run()
                self._warm.add(row)
            values[row], latency_ms[row] = timed(run)
        return values, latency_ms


def score_images(
    contest: Contest,
    samples: Sequence[Sample],
    *,
    executor: Executor,
    journal: Journal,
    progress: Progress,
    kept: int = 0,
) -> Tally:
    """Run, time and count all rows on every sample; continues what `journal` holds.

    Any number of workers counts the same; their sessions share the threads, so their latencies are those of a busy
    machine.

    Args:
        kept: of how many images, for each candidate, labels are kept; see `Tally`.

    Raises:
        ImageError, DatasetError: an image or its truth cannot be read.
        ModelError: an output is not what the protocol scores.
        WorkerError: a worker process died.
    """
    threads = executor.share(SessionConfig(threads=contest.threads).thread_count)
    scores = Scores([entrant.name for entrant in contest.entrants], kept)
    items = {name: (sample, index) for index, (name, sample) in enumerate(by_name(samples).items())}
    fold(
        replace(contest, threads=threads),
        items,
        scores,
        executor=executor,
        journal=journal,
        progress=progress,
        label="validating",
    )
    return scores.tally(items)
