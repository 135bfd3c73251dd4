"""One pass over the images: the model runs, its activations are counted and let go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.observed import Observed
from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.prefetch import prefetch
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import CalibrationError
from fcn_onnx.journal import Journal
from fcn_onnx.progress import Progress
from fcn_onnx.runtime import Network, SessionConfig, load_model, with_taps

Histograms = dict[str, Histogram]


def observe(
    model: Path,
    observed: Observed,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    *,
    threads: int,
    journal: Journal,
    progress: Progress,
) -> Histograms:
    """A histogram for each observed tensor, over all samples; continues what `journal` holds.

    Memory is that of one image, whatever their number: its activations are counted, on all threads, before the
    next one runs. (Counting while the next one runs is no faster, as both want all cores, and holds two images.)

    Raises:
        ImageError: an image cannot be read.
        CalibrationError: an activation is NaN or infinite; names the tensor and the image.
    """
    proto = load_model(model)
    inputs = {value.name for value in proto.graph.input}
    inner = [name for name in observed.tensors if name not in inputs]
    config = SessionConfig(threads=threads, arena=False)
    network = Network(with_taps(proto, inner), config, name=str(model))
    del proto
    state = journal.load()
    histograms = _from_arrays(state.arrays) if state else {}
    done = list(state.done) if state else []
    finished = set(done)
    remaining = [sample for sample in samples if sample.name not in finished]

    def load(sample: Sample) -> NDArray[np.float32]:
        return preprocessing(read_rgb(sample.path))

    with ThreadPoolExecutor(config.thread_count, thread_name_prefix="observe") as pool:
        for sample, batch in progress.track(
            prefetch(load, remaining), total=len(samples), label="calibrating", done=len(done)
        ):
            values = network.run(batch, inner) | {name: batch for name in observed.tensors if name in inputs}
            for name, histogram in _count(values, pool, sample).items():
                histograms[name] = histograms[name] + histogram if name in histograms else histogram
            done.append(sample.name)
            journal.save(lambda: _to_arrays(histograms), done)
            del values
    return histograms


def _count(values: Mapping[str, NDArray[np.float32]], pool: ThreadPoolExecutor, sample: Sample) -> Histograms:
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
                f"tensor {name} holds NaN or infinity for {sample.name}",
                fix="the fp32 model is broken, or the image is: check both with `fcn-onnx predict`",
            )
        found[name] = histogram
    return found


def _to_arrays(histograms: Mapping[str, Histogram]) -> dict[str, NDArray[np.generic]]:
    """Histograms as arrays that `_from_arrays` reads."""
    names = sorted(histograms)
    return {
        "names": np.array(names),
        "exponents": np.array([histograms[n].exponent for n in names], np.int64),
        "bounds": np.array([(histograms[n].minimum, histograms[n].maximum) for n in names]),
        "counts": np.stack([histograms[n].counts for n in names]),
    }


def _from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Histograms:
    """The inverse of `_to_arrays`."""
    rows = zip(arrays["names"], arrays["exponents"], arrays["bounds"], arrays["counts"], strict=True)
    return {
        str(name): Histogram(int(exponent), counts, float(low), float(high))
        for name, exponent, (low, high), counts in rows
    }
