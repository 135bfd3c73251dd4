"""One pass over the images: the model runs, its activations are counted and let go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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

    Memory is that of two images, whatever their number: while one runs, the one before it is counted.

    Raises:
        ImageError: an image cannot be read.
        CalibrationError: an activation is NaN or infinite; names the tensor and the image.
    """
    proto = load_model(model)
    inputs = {value.name for value in proto.graph.input}
    inner = [name for name in observed.tensors if name not in inputs]
    network = Network(with_taps(proto, inner), SessionConfig(threads=threads, arena=False), name=str(model))
    state = journal.load()
    histograms = _from_arrays(state.arrays) if state else {}
    done = list(state.done) if state else []
    finished = set(done)
    remaining = [sample for sample in samples if sample.name not in finished]

    def load(sample: Sample) -> NDArray[np.float32]:
        return preprocessing(read_rgb(sample.path))

    def settle(count: Future[None] | None, sample: Sample | None) -> None:
        if count is not None and sample is not None:
            count.result()
            done.append(sample.name)
            journal.save(lambda: _to_arrays(histograms), done)

    counting: Future[None] | None = None
    counted: Sample | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="observe") as pool:
        batches: Iterator[tuple[Sample, NDArray[np.float32]]] = prefetch(load, remaining)
        for sample, batch in progress.track(
            batches, total=len(samples), label="calibrating", done=len(samples) - len(remaining)
        ):
            values = network.run(batch, inner) | {name: batch for name in observed.tensors if name in inputs}
            settle(counting, counted)
            counting, counted = pool.submit(_count, histograms, values, sample), sample
            del values
        settle(counting, counted)
    return histograms


def _count(histograms: Histograms, values: dict[str, NDArray[np.float32]], sample: Sample) -> None:
    for name in list(values):
        try:
            new = Histogram.of(values.pop(name))
        except ValueError as error:
            raise CalibrationError(
                f"tensor {name} holds NaN or infinity for {sample.name}",
                fix="the fp32 model is broken, or the image is: check both with `fcn-onnx predict`",
            ) from error
        histograms[name] = histograms[name] + new if name in histograms else new


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
