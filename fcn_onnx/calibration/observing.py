"""From images to what was observed on them, kept and continued; and from that to a range table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fcn_onnx.calibration.collector import Collected, Pass, observe
from fcn_onnx.calibration.levels import UNSIGNED
from fcn_onnx.calibration.methods import Method
from fcn_onnx.calibration.observed import observed_tensors
from fcn_onnx.calibration.store import Observation
from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.calibration.thresholds import range_of
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample, digests
from fcn_onnx.errors import ImageError, ModelError, UsageError
from fcn_onnx.jobs.artifact import job_digest, versions
from fcn_onnx.jobs.executor import Executor, Here
from fcn_onnx.jobs.journal import NONE_KEPT, Journals
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.form import require_float32
from fcn_onnx.model.graph import is_quantized
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.onnxruntime import measured_cpu


@dataclass(frozen=True)
class Observed:
    """What one pass over the images gave.

    Attributes:
        observation: the statistics of every tensor that a quantizer looks up.
        skipped: name and reason of each image that could not be read.
    """

    observation: Observation
    skipped: Mapping[str, str] = field(default_factory=dict)


def observe_images(
    fp32: Model,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    *,
    executor: Executor | None = None,
    threads: int = 0,
    skip_bad_images: bool = False,
    journals: Journals = NONE_KEPT,
    progress: Progress = SILENT,
) -> Observed:
    """Observe the activations of a model on images.

    One pass in constant memory, whatever the number and the sizes of the images; the same images give the same
    statistics, bit for bit, in any order and on any executor.

    Args:
        samples: images, each once.
        executor: who shares the images; by default this process.
        threads: in all; 0 means all cores.
        skip_bad_images: images that cannot be read are listed in the result instead of being an error.
        journals: where the statistics so far are kept, so that an interrupted run continues, until the caller has what
            is made from them on disk.

    Raises:
        UsageError: no image.
        ModelError: not an fp32 model that takes images.
        ImageError: an image cannot be read, or none can.
        CalibrationError: an activation is NaN or infinite.
    """
    if not samples:
        raise UsageError("no image to calibrate with", fix="give at least one")
    _require_fp32(fp32)
    executor = executor or Here()
    tensors = observed_tensors(fp32.taken)
    images = {sample.name: digest for sample, digest in zip(samples, digests(samples, progress), strict=True)}
    collected = observe(
        pass_of(fp32, preprocessing, threads),
        samples,
        executor=executor,
        skip_bad_images=skip_bad_images,
        journal=journals.of(observing_job(fp32, images, preprocessing)),
        progress=progress,
    )
    if not collected.done:
        raise ImageError(f"none of the {len(samples)} images can be read", fix="check the data folder")
    observation = Observation(
        statistics=collected.statistics,
        carried=tensors.carried,
        model=fp32.digest,
        preprocessing=preprocessing.to_json(),
        images={name: images[name] for name in sorted(collected.done)},
        versions=versions() | ({"workers": "; ".join(executor.remarks)} if executor.remarks else {}),
    )
    return Observed(observation, _skipped(samples, collected, progress))


def observing_job(fp32: Model, images: Mapping[str, str], preprocessing: Preprocessing) -> str:
    """What an observation depends on: its digest. `images` are digests by name."""
    said, kernels = preprocessing.to_json(), measured_cpu().kernels()
    return job_digest("calibrate", "pillow", model=fp32.digest, preprocessing=said, images=dict(images), cpu=kernels)


def pass_of(fp32: Model, preprocessing: Preprocessing, threads: int = 0) -> Pass:
    """The task that observes an image."""
    tensors = observed_tensors(fp32.taken)
    return Pass(fp32, tensors.tensors, tensors.conv_inputs, preprocessing, threads)


def _require_fp32(model: Model) -> None:
    if is_quantized(model.proto):
        raise ModelError(f"{model.name} is quantized already", fix="calibrate the fp32 model it was made from")
    require_float32(model.proto, model.name)


def _skipped(samples: Sequence[Sample], collected: Collected, progress: Progress) -> dict[str, str]:
    """What could not be read, in the order of the images, and said."""
    skipped = {sample.name: collected.skipped[sample.name] for sample in samples if sample.name in collected.skipped}
    for name, reason in skipped.items():
        progress.note(f"skipped {name}: {reason}")
    return skipped


def tabulate(observation: Observation, rule: Method) -> RangeTable:
    """A range for every tensor that a quantizer looks up, chosen by a method's rule."""
    chosen = {name: range_of(histogram, rule) for name, histogram in observation.histograms.items()}
    return RangeTable(
        ranges={name: chosen[source] for name, source in observation.carried.items()},
        method=rule.name,
        model=observation.model,
        preprocessing=observation.preprocessing,
        images=observation.images,
        versions=observation.versions,
        levels=rule.levels.name if rule.levels else UNSIGNED.name,
        means={
            name: tuple(means.mean().astype(np.float32).tolist())
            for name, means in observation.statistics.means.items()
        },
    )
