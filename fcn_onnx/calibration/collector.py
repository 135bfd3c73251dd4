"""One pass over the images: the model runs, its activations are counted and let go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.calibration.counting import Count, best_after, why_slow
from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.means import ChannelMeans
from fcn_onnx.calibration.store import Histograms, Statistics
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample, by_name
from fcn_onnx.errors import CalibrationError, ImageError
from fcn_onnx.jobs.executor import Executor, Names
from fcn_onnx.jobs.fold import Sum, fold
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.jobs.records import Arrays
from fcn_onnx.model.model import Model
from fcn_onnx.model.taps import with_taps
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import SessionConfig

Batch = NDArray[np.float32]
Loaded = tuple[str, Batch | ImageError]


@dataclass(frozen=True)
class Pass:
    """What is observed, and how: the task that counts one image.

    Attributes:
        model: fp32.
        tensors: names of the tensors to count, inputs of the model among them.
        conv_inputs: names of those whose channels' means are taken.
        preprocessing: from photograph to input.
        threads: of this process; 0 means all cores.
    """

    model: Model
    tensors: tuple[str, ...]
    conv_inputs: tuple[str, ...]
    preprocessing: Preprocessing
    threads: int

    def load(self, sample: Sample) -> Loaded:
        """An image's name and the model's input for it, or why there is none."""
        try:
            return sample.name, self.preprocessing.read(sample)
        except ImageError as error:
            return sample.name, error

    def open(self) -> Callable[[Loaded], Statistics | ImageError]:
        """A function to the statistics of all tensors."""
        proto = self.model.taken.model
        inputs = {value.name for value in proto.graph.input}
        inner = [name for name in dict.fromkeys([*self.tensors, *self.conv_inputs]) if name not in inputs]
        config = SessionConfig(threads=self.threads)
        multiple_of = self.preprocessing.multiple_of
        network = Network(with_taps(proto, inner), config, name=self.model.name, multiple_of=multiple_of)
        pool = ThreadPoolExecutor(config.thread_count, thread_name_prefix="count")
        counted = 0

        def count(loaded: Loaded) -> Statistics | ImageError:
            nonlocal counted
            image, batch = loaded
            if isinstance(batch, ImageError):
                return batch
            shown = network.form.padded(batch)
            values = network.run(batch, inner) | {name: shown for name in self.tensors if name in inputs}
            observed = {name: values[name] for name in self.tensors}
            histograms = _histograms(observed, best_after(counted), pool, image)
            counted += sum(value.size for value in observed.values())
            means = pool.map(ChannelMeans.of, [values[name] for name in self.conv_inputs])
            return Statistics(histograms, dict(zip(self.conv_inputs, means, strict=True)))

        return count

    def joined(self, results: Sequence[tuple[str, Statistics | ImageError]]) -> list[tuple[Names, Any]]:
        """Statistics as one, and each image that could not be read alone: see `Joining`."""
        together, names = Statistics(), []
        bad: list[tuple[Names, Any]] = []
        for name, result in results:
            if isinstance(result, ImageError):
                bad.append(((name,), result))
            else:
                together.add(result)
                names.append(name)
        return [*([(tuple(names), together)] if names else []), *bad]


class Collected(Sum[Statistics | ImageError]):
    """What has been observed so far.

    Args:
        skip_bad_images: list them in `skipped` instead of raising what they are.

    Attributes:
        statistics: over all images in `done`.
        skipped: name and reason of each image that could not be read.
    """

    def __init__(self, *, skip_bad_images: bool) -> None:
        super().__init__()
        self.statistics = Statistics()
        self.skipped: dict[str, str] = {}
        self._skip_bad_images = skip_bad_images

    def add(self, names: Names, result: Statistics | ImageError) -> None:
        if not isinstance(result, ImageError):
            self.statistics.add(result)
            self.done += names
        elif self._skip_bad_images:
            self.skipped |= dict.fromkeys(names, result.what)
        else:
            raise result

    def to_arrays(self) -> Arrays:
        return self.statistics.to_arrays()

    def from_arrays(self, arrays: Arrays) -> None:
        self.statistics = Statistics.from_arrays(arrays)


def observe(
    work: Pass,
    samples: Sequence[Sample],
    *,
    executor: Executor,
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
        WorkerError: a worker process died.
    """
    threads = executor.share(SessionConfig(threads=work.threads).thread_count)
    collected = Collected(skip_bad_images=skip_bad_images)
    slow = why_slow()
    if slow:
        progress.note(slow)
    fold(
        replace(work, threads=threads),
        by_name(samples),
        collected,
        executor=executor,
        journal=journal,
        progress=progress,
        label="calibrating",
    )
    return collected


def _histograms(values: Mapping[str, Batch], way: Count, pool: ThreadPoolExecutor, image: str) -> Histograms:
    """One image's histograms; the largest tensors are counted first, so that no thread is left with one."""

    def count(name: str) -> Histogram | None:
        try:
            return Histogram.of(values[name], way)
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
