"""From a data folder to a range table, and what was observed drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.store import Observation
from fcn_onnx.calibration.thresholds import METHODS, squared_errors
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.artifact import claim_outputs, write_text
from fcn_onnx.jobs.journal import Journals
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.files import data_inputs
from fcn_onnx.model.form import require_float32
from fcn_onnx.model.model import Model
from fcn_onnx.report.histograms import TensorPlot, to_histogram_page
from fcn_onnx.runtime.interface import classes_of, preprocessing_of
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages.calibrate import Calibration, calibrate
from fcn_onnx.stages.naming import find_fp32, table_path
from fcn_onnx.stages.options import CalibrateOptions


def calibrate_data(options: CalibrateOptions, *, progress: Progress = SILENT) -> Calibration:
    """Choose images and calibrate.

    Raises:
        UsageError: no images are chosen.
        FcnOnnxError: what `calibrate` raises.
    """
    if options.choice is None:
        raise UsageError("no images to calibrate with", fix="give --data")
    model = options.model or find_fp32()
    output = options.output or table_path(model, options.method)
    outputs = {"--output": output, "--histograms": options.histograms}
    claim_outputs(outputs, {"the model": model, **data_inputs(model, outputs.values()), **options.choice.inputs()})
    fp32 = Model.open(model)
    require_float32(fp32.proto, fp32.name)
    interface = settle([fp32], options.interface, progress)
    preprocessing = preprocessing_of(fp32.proto, fp32.name, interface)
    samples = options.choice.choose(progress, classes_of(fp32.proto, fp32.name, interface))
    with Journals(output, wait_s=options.wait, progress=progress) as journals:
        return calibrate(
            fp32,
            samples,
            method=options.method,
            percentile=options.percentile,
            output=output,
            histograms=options.histograms,
            skip_bad_images=options.skip_bad_images,
            workers=options.workers,
            journals=journals,
            preprocessing=preprocessing,
            threads=options.threads,
            progress=progress,
        )


def plot_histograms(histograms: Path, output: Path | None = None) -> tuple[TensorPlot, ...]:
    """Every tensor of a file of histograms with every method's threshold; `output` gets a page that draws them.

    Raises:
        TableError: not a file of histograms.
    """
    claim_outputs({"--plot": output}, {"the file of histograms": histograms})
    observation = Observation.load(histograms)
    plots = tuple(_plot(name, histogram) for name, histogram in observation.histograms.items())
    if output is not None:
        title = f"Activations of {observation.model[:19]}… on {len(observation.images)} images"
        write_text(output, to_histogram_page(title, plots))
    return plots


def _plot(name: str, histogram: Histogram) -> TensorPlot:
    thresholds = {method.name: method.threshold(histogram) for method in METHODS.values()}
    errors = squared_errors(histogram, np.array([histogram.max_magnitude, *thresholds.values()]))
    return TensorPlot(
        name=name,
        counts=histogram.counts,
        lowest=histogram.lowest_edge,
        width=histogram.width,
        thresholds=thresholds,
        errors={
            method: float(error / errors[0]) if errors[0] else 1.0
            for method, error in zip(thresholds, errors[1:], strict=True)
        },
    )
