"""`calibrate` and `derive`: from images, or from the histograms of an earlier pass, to a range table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fcn_onnx.calibration.collector import Pass, observe
from fcn_onnx.calibration.observed import observed_tensors
from fcn_onnx.calibration.store import Observation
from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.calibration.thresholds import DEFAULT_METHOD, Method, get_method, range_of
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample, digests
from fcn_onnx.errors import ImageError, ModelError, UsageError
from fcn_onnx.jobs.artifact import claim_outputs, job_digest, versions
from fcn_onnx.jobs.bounds import COUNT, THREADS
from fcn_onnx.jobs.executor import EXECUTORS
from fcn_onnx.jobs.journal import NONE_KEPT, Journals
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.form import require_float32
from fcn_onnx.model.graph import is_quantized
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.onnxruntime import measured_cpu


@dataclass(frozen=True)
class Calibration:
    """The result of `calibrate` and `derive`.

    Attributes:
        table: a range for every tensor that a quantizer looks up.
        observation: the histograms that it was derived from.
        skipped: name and reason of each image that could not be read.
        output: the file the table was written to, if any.
    """

    table: RangeTable
    observation: Observation
    skipped: Mapping[str, str] = field(default_factory=dict)
    output: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that `calibrate --json` writes."""
        return {
            "output": str(self.output) if self.output else None,
            "method": self.table.method,
            "model": self.table.model,
            "images": len(self.table.images),
            "image_names": sorted(self.table.images),
            "skipped": dict(self.skipped),
            "tensors": len(self.table.ranges),
            "observed": len(self.observation.histograms),
            "preprocessing": dict(self.table.preprocessing),
        }


def calibrate(
    model: Path | Model,
    samples: Sequence[Sample],
    *,
    method: str = DEFAULT_METHOD,
    percentile: float | None = None,
    preprocessing: Preprocessing | None = None,
    output: Path | None = None,
    histograms: Path | None = None,
    skip_bad_images: bool = False,
    workers: int = 1,
    threads: int = 0,
    journals: Journals = NONE_KEPT,
    progress: Progress = SILENT,
) -> Calibration:
    """Observe the activations of `model` on images and choose a range for each.

    One pass in constant memory, whatever the number and the sizes of the images; the same images give the same
    table, bit for bit, in any order and with any number of workers.

    Args:
        model: fp32 ONNX file, or one that is open.
        samples: images, each once.
        method: a name in `METHODS`.
        percentile: for the method of that name, instead of its default; percent.
        preprocessing: None means the model's own, `preprocessing_of`.
        output: writes the table there.
        histograms: writes the histograms there, from which `derive` makes any method's table.
        skip_bad_images: images that cannot be read are listed in the result instead of being an error.
        workers: processes that share the images and the threads.
        threads: in all; 0 means all cores.
        journals: where the histograms so far are kept, so that an interrupted run continues, until the caller has what
            is made from them on disk.

    Raises:
        UsageError: no image, or no such method.
        ModelError: not an fp32 model that takes images.
        ImageError: an image cannot be read, or none can.
        CalibrationError: an activation is NaN or infinite.
    """
    rule = get_method(method, percentile)
    COUNT.require("--workers", workers)
    THREADS.require("--threads", threads)
    if not samples:
        raise UsageError("no image to calibrate with", fix="give at least one")
    photographs = {f"the image {sample.name}": sample.file for sample in samples}
    path = model if isinstance(model, Path) else model.path
    claim_outputs({"--output": output, "--histograms": histograms}, {"the model": path, **photographs})
    fp32 = Model.open(model) if isinstance(model, Path) else model
    if is_quantized(fp32.proto):
        raise ModelError(f"{fp32.name} is quantized already", fix="calibrate the fp32 model it was made from")
    require_float32(fp32.proto, fp32.name)
    preprocessing = preprocessing or preprocessing_of(fp32.proto, fp32.name)
    observed = observed_tensors(fp32.taken)
    images = {sample.name: digest for sample, digest in zip(samples, digests(samples, progress), strict=True)}
    job = job_digest(
        "calibrate",
        "pillow",
        model=fp32.digest,
        preprocessing=preprocessing.to_json(),
        images=images,
        cpu=measured_cpu().kernels(),
    )
    collected = observe(
        Pass(fp32, observed.tensors, observed.conv_inputs, preprocessing, threads),
        samples,
        executor=EXECUTORS["local"](workers, progress),
        skip_bad_images=skip_bad_images,
        journal=journals.of(job),
        progress=progress,
    )
    if not collected.done:
        raise ImageError(f"none of the {len(samples)} images can be read", fix="check the data folder")
    skipped = {sample.name: collected.skipped[sample.name] for sample in samples if sample.name in collected.skipped}
    for name, reason in skipped.items():
        progress.note(f"skipped {name}: {reason}")
    observation = Observation(
        statistics=collected.statistics,
        carried=observed.carried,
        model=fp32.digest,
        preprocessing=preprocessing.to_json(),
        images={name: images[name] for name in sorted(collected.done)},
        versions=versions(),
    )
    if histograms is not None:
        observation.save(histograms)
    return _tabulate(observation, rule, output, skipped)


def derive(
    histograms: Path, *, method: str = DEFAULT_METHOD, percentile: float | None = None, output: Path | None = None
) -> Calibration:
    """A method's table from the histograms that `calibrate` wrote, without any image.

    Args:
        histograms: the file.
        method, percentile, output: as for `calibrate`.

    Raises:
        UsageError: no such method.
        TableError: not a file of histograms.
    """
    rule = get_method(method, percentile)
    claim_outputs({"--output": output}, {"the file of histograms": histograms})
    return _tabulate(Observation.load(histograms), rule, output, {})


def _tabulate(observation: Observation, rule: Method, output: Path | None, skipped: Mapping[str, str]) -> Calibration:
    chosen = {name: range_of(histogram, rule) for name, histogram in observation.histograms.items()}
    table = RangeTable(
        ranges={name: chosen[source] for name, source in observation.carried.items()},
        method=rule.name,
        model=observation.model,
        preprocessing=observation.preprocessing,
        images=observation.images,
        versions=observation.versions,
        means={
            name: tuple(means.mean().astype(np.float32).tolist())
            for name, means in observation.statistics.means.items()
        },
    )
    if output is not None:
        table.save(output)
    return Calibration(table, observation, skipped, output)
