"""The stage `calibrate`: from images, or from the histograms of an earlier pass, to a range table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fcn_onnx.calibration.levels import UNSIGNED
from fcn_onnx.calibration.methods import get_method
from fcn_onnx.calibration.observing import Observed, observe_images, tabulate
from fcn_onnx.calibration.store import Observation
from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.artifact import claim_outputs
from fcn_onnx.jobs.engines import executor_of
from fcn_onnx.jobs.journal import Journals
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.files import data_inputs
from fcn_onnx.model.form import require_float32
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.interface import classes_of, declared_classes, preprocessing_of
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages.naming import find_fp32, table_path
from fcn_onnx.stages.options import CalibrateOptions
from fcn_onnx.stages.running import footprint_of


@dataclass(frozen=True)
class Calibration:
    """The result of `calibrate`.

    Attributes:
        table: a range for every tensor that a quantizer looks up.
        observation: the histograms that it was derived from.
        output: the file of the table.
        skipped: name and reason of each image that could not be read.
    """

    table: RangeTable
    observation: Observation
    output: Path
    skipped: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object that `calibrate --json` writes."""
        return {
            "output": str(self.output),
            "method": self.table.method,
            "levels": self.table.levels,
            "model": self.table.model,
            "images": len(self.table.images),
            "image_names": sorted(self.table.images),
            "skipped": dict(self.skipped),
            "tensors": len(self.table.ranges),
            "observed": len(self.observation.histograms),
            "preprocessing": dict(self.table.preprocessing),
        }


def calibrate(options: CalibrateOptions, *, progress: Progress = SILENT) -> Calibration:
    """Observe the activations of a model on images, or read what was observed before, and choose a range for each.

    Raises:
        UsageError: images and histograms, or neither of the two; no such method.
        ModelError: not an fp32 model that takes images.
        DatasetError, ImageError: an image cannot be read, or none can.
        CalibrationError: an activation is NaN or infinite.
        TableError: not a file of histograms.
    """
    rule = get_method(options.method, options.percentile, options.levels)
    outputs, inputs = files_of(options)
    claim_outputs(outputs, inputs)
    output = outputs["--output"]
    assert output is not None
    if options.source is not None:
        observed = Observed(Observation.load(options.source))
        table = tabulate(observed.observation, rule)
        table.save(output)
    else:
        with Journals(output, wait_s=options.wait, progress=progress) as journals:
            observed = _observed(options, outputs, journals, progress)
            table = tabulate(observed.observation, rule)
            if options.histograms is not None:
                observed.observation.save(options.histograms)
            table.save(output)
    return Calibration(table, observed.observation, output, observed.skipped)


def files_of(options: CalibrateOptions) -> tuple[dict[str, Path | None], dict[str, Path | None]]:
    """What `calibrate` writes, and what it reads beside the images, by what they are called.

    Raises:
        UsageError: images and histograms, or neither of the two; or a model is to be found, and there is not one.
    """
    source, choice = options.source, options.choice
    if (source is None) == (choice is None):
        raise UsageError("images (--data) or histograms (--from)?", fix="give exactly one of the two")
    if source is not None:
        output = options.output or source.with_name(f"{source.stem}-{_rule_name(options)}.json")
        return {"--output": output}, {"the file of histograms": source}
    assert choice is not None
    model = options.model or find_fp32()
    outputs = {"--output": options.output or table_path(model, _rule_name(options)), "--histograms": options.histograms}
    return outputs, {"the model": model, **data_inputs(model, outputs.values()), **choice.inputs()}


def _rule_name(options: CalibrateOptions) -> str:
    """Of the method, in a file's name."""
    return options.method if options.levels == UNSIGNED.name else f"{options.method}-{options.levels}"


def _observed(
    options: CalibrateOptions, outputs: Mapping[str, Path | None], journals: Journals, progress: Progress
) -> Observed:
    assert options.choice is not None  # `files_of`
    fp32 = Model.open(options.model or find_fp32())
    require_float32(fp32.proto, fp32.name)
    interface = settle([fp32], options.interface, progress)
    known = classes_of(fp32.proto, fp32.name, interface), declared_classes(fp32.proto, fp32.name, interface)
    samples = options.choice.choose(progress, *known).samples
    claim_outputs(outputs, {f"the image {sample.name}": sample.file for sample in samples})
    preprocessing = preprocessing_of(fp32.proto, fp32.name, interface)
    footprint = footprint_of([fp32.path], samples, preprocessing, tapped=fp32)
    executor = executor_of(options.running, options.threads, progress, footprint)
    return observe_images(
        fp32,
        samples,
        preprocessing,
        executor=executor,
        threads=options.threads,
        skip_bad_images=options.skip_bad_images,
        journals=journals,
        progress=progress,
    )
