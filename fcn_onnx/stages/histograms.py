"""What was observed, drawn with every method's threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.methods import METHODS
from fcn_onnx.calibration.store import Observation
from fcn_onnx.calibration.thresholds import squared_errors
from fcn_onnx.jobs.artifact import claim_outputs, write_text
from fcn_onnx.report.histograms import TensorPlot, to_histogram_page


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
