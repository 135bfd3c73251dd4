"""One pass over the images: the model runs, its activations are counted and let go."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.means import ChannelMeans
from fcn_onnx.calibration.store import Histograms, Statistics
from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import CalibrationError, ImageError
from fcn_onnx.jobs.prefetch import prefetch
from fcn_onnx.journal import Journal
from fcn_onnx.model.files import load_model
from fcn_onnx.model.intake import take_in
from fcn_onnx.progress import Progress
from fcn_onnx.runtime import Network, SessionConfig, with_taps

Batch = NDArray[np.float32]


@dataclass(frozen=True)
class Pass:
    """What is observed, and how: everything that a process needs to count one image.

    Attributes:
        model: fp32 ONNX file.
        tensors: names of the tensors to count, inputs of the model among them.
        conv_inputs: names of those whose channels' means are taken.
        preprocessing: from photograph to input.
        threads: of this process; 0 means all cores.
    """

    model: Path
    tensors: tuple[str, ...]
    conv_inputs: tuple[str, ...]
    preprocessing: Preprocessing
    threads: int

    def load(self, sample: Sample) -> Batch | ImageError:
        """The model's input for an image, or why there is none."""
        try:
            return self.preprocessing(read_rgb(sample.path))
        except ImageError as error:
            return error


@dataclass
class Collected:
    """What has been observed so far.

    Attributes:
        statistics: over all images that were observed.
        done: names of those images.
        skipped: name and reason of each image that could not be read.
    """

    statistics: Statistics = field(default_factory=Statistics)
    done: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def observe(
    work: Pass,
    samples: Sequence[Sample],
    *,
    workers: int,
    skip_bad_images: bool,
    journal: Journal,
    progress: Progress,
) -> Collected:
    """Statistics of each tensor, over all samples; continues what `journal` holds.

    Memory is that of one image a worker, whatever their number: its activations are counted, on all threads,
    before the next one runs. (Counting while the next one runs is no faster, as both want all cores, and holds
    two images.) Any number of workers gives the same statistics, as merging is exact.

    Raises:
        ImageError: an image cannot be read, unless they are skipped.
        CalibrationError: an activation is NaN or infinite; names the tensor and the image.
    """
    state = journal.load()
    collected = Collected(Statistics.from_arrays(state.arrays), list(state.done)) if state else Collected()
    finished = set(collected.done)
    remaining = [sample for sample in samples if sample.name not in finished]
    counted = _here(work, remaining) if workers == 1 else _in_workers(work, remaining, workers)
    for sample, found in progress.track(counted, total=len(samples), label="calibrating", done=len(finished)):
        if isinstance(found, ImageError):
            if not skip_bad_images:
                raise found
            collected.skipped[sample.name] = found.what
            continue
        collected.statistics.add(found)
        collected.done.append(sample.name)
        journal.save(collected.statistics.to_arrays, collected.done)
    return collected


def _here(work: Pass, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Statistics | ImageError]]:
    """Count in this process; the next images are decoded meanwhile."""
    count = counter(work)
    for sample, batch in prefetch(work.load, samples):
        yield sample, batch if isinstance(batch, ImageError) else count(batch, sample.name)


def _in_workers(
    work: Pass, samples: Sequence[Sample], workers: int
) -> Iterator[tuple[Sample, Statistics | ImageError]]:
    """Count in processes of their own, which share the threads."""
    threads = max(1, SessionConfig(threads=work.threads).thread_count // workers)
    share = replace(work, threads=threads)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    try:
        yield from zip(samples, pool.map(_count_one, [share] * len(samples), samples), strict=True)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _count_one(work: Pass, sample: Sample) -> Statistics | ImageError:
    """One image's statistics, in a worker."""
    batch = work.load(sample)
    return batch if isinstance(batch, ImageError) else _worker_counter(work)(batch, sample.name)


def counter(work: Pass) -> Callable[[Batch, str], Statistics]:
    """A function from a batch and its image's name to the statistics of all tensors."""
    proto = take_in(load_model(work.model), str(work.model))
    inputs = {value.name for value in proto.graph.input}
    inner = [name for name in dict.fromkeys([*work.tensors, *work.conv_inputs]) if name not in inputs]
    config = SessionConfig(threads=work.threads, arena=False)
    network = Network(with_taps(proto, inner), config, name=str(work.model), multiple_of=work.preprocessing.multiple_of)
    pool = ThreadPoolExecutor(config.thread_count, thread_name_prefix="count")

    def count(batch: Batch, image: str) -> Statistics:
        shown = network.form.padded(batch)
        values = network.run(batch, inner) | {name: shown for name in work.tensors if name in inputs}
        histograms = _histograms({name: values[name] for name in work.tensors}, pool, image)
        means = pool.map(ChannelMeans.of, [values[name] for name in work.conv_inputs])
        return Statistics(histograms, dict(zip(work.conv_inputs, means, strict=True)))

    return count


_worker_counter = cache(counter)
"""A worker opens its session once, and keeps it for as long as it lives."""


def _histograms(values: Mapping[str, Batch], pool: ThreadPoolExecutor, image: str) -> Histograms:
    """One image's histograms; the largest tensors are counted first, so that no thread is left with one."""

    def count(name: str) -> Histogram | None:
        try:
            return Histogram.of(values[name])
        except ValueError:
            return None  # the first in graph order is the one to name

    names = sorted(values, key=lambda name: -values[name].size)
    counted = dict(zip(names, pool.map(count, names), strict=True))
    found: Histograms = {}
    for name in values:
        histogram = counted[name]
        if histogram is None:
            raise CalibrationError(
                f"tensor {name} holds NaN or infinity for {image}",
                fix="the fp32 model is broken, or the image is: check both with `fcn-onnx predict`",
            )
        found[name] = histogram
    return found
