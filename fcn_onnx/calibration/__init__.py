"""The stage `calibrate`: an fp32 model and images become a range for every activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_onnx.artifact import digest_file, digest_json, require_writable, versions
from fcn_onnx.calibration.collector import observe
from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.observed import Observed, observed_tensors
from fcn_onnx.calibration.thresholds import METHODS, Method, range_of
from fcn_onnx.card import ModelCard
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.graph import is_quantized
from fcn_onnx.journal import Journal
from fcn_onnx.progress import SILENT, Progress
from fcn_onnx.ranges import RangeTable
from fcn_onnx.runtime import load_model

__all__ = ["METHODS", "Calibration", "Histogram", "Method", "Observed", "calibrate", "observed_tensors"]


@dataclass(frozen=True)
class Calibration:
    """The result of `calibrate`.

    Attributes:
        table: a range for every tensor that a quantizer looks up.
        images: names of the images that were observed, in order.
        observed: how many tensors were observed; the others carry one of their ranges.
        output: the file the table was written to, if any.
    """

    table: RangeTable
    images: tuple[str, ...]
    observed: int
    output: Path | None

    def to_json(self) -> dict[str, Any]:
        """The object that `calibrate --json` writes."""
        return {
            "output": str(self.output) if self.output else None,
            "method": self.table.method,
            "model": self.table.model,
            "images": len(self.images),
            "image_names": list(self.images),
            "tensors": len(self.table.ranges),
            "observed": self.observed,
            "preprocessing": dict(self.table.preprocessing),
        }


def calibrate(
    model: Path,
    samples: Sequence[Sample],
    *,
    method: str = "minmax",
    preprocessing: Preprocessing | None = None,
    output: Path | None = None,
    journal: Path | None = None,
    threads: int = 0,
    progress: Progress = SILENT,
) -> Calibration:
    """Observe the activations of `model` on images and choose a range for each.

    One pass in constant memory, whatever the number and the sizes of the images; the same images give the same
    table in any order.

    Args:
        model: fp32 ONNX file.
        samples: images, each once.
        method: a name in `METHODS`.
        preprocessing: None means what the model's card says, or else short side 520 and ImageNet's normalisation.
        output: writes the table there.
        journal: where the histograms so far are kept, so that an interrupted run continues.
        threads: of the session; 0 means all cores.

    Raises:
        UsageError: no image, or no such method.
        ModelError: not an fp32 model that takes images.
        ImageError: an image cannot be read.
        CalibrationError: an activation is NaN or infinite.
    """
    if method not in METHODS:
        raise UsageError(f"no method is called {method!r}", fix=f"choose one of: {', '.join(METHODS)}")
    if not samples:
        raise UsageError("no image to calibrate on", fix="name at least one")
    if output is not None:
        require_writable(output)
    proto = load_model(model)
    if is_quantized(proto):
        raise ModelError(f"{model} is quantized already", fix="calibrate the fp32 model it was made from")
    rules = preprocessing or own_preprocessing(ModelCard.read_from(proto, str(model)), str(model))
    observed = observed_tensors(proto)
    digest = digest_file(model)
    images = {sample.name: digest_file(sample.path) for sample in samples}
    job = digest_json(
        {
            "stage": "calibrate",
            "model": digest,
            "preprocessing": rules.to_json(),
            "images": images,
            "versions": versions(),
        }
    )
    with Journal(journal, job, progress=progress) as record:
        histograms = observe(model, observed, samples, rules, threads=threads, journal=record, progress=progress)
    chosen = {name: range_of(histogram, METHODS[method]) for name, histogram in histograms.items()}
    table = RangeTable(
        ranges={name: chosen[source] for name, source in observed.carried.items()},
        method=method,
        model=digest,
        preprocessing=rules.to_json(),
        images=images,
        versions=versions(),
    )
    if output is not None:
        table.save(output)
    return Calibration(table, tuple(s.name for s in samples), len(observed.tensors), output)


def own_preprocessing(card: ModelCard, name: str) -> Preprocessing:
    """What the model's card says, or the default where it says nothing.

    Raises:
        ModelError: the card says something that cannot be read.
    """
    if card.preprocessing is None:
        return Preprocessing()
    try:
        return Preprocessing.from_json(dict(card.preprocessing))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the preprocessing recorded in {name} cannot be read: {error}", fix="export the model again"
        ) from error
