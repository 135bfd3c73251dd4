"""Stages put together: data opened, images drawn, one stage's result handed to the next."""

from fcn_onnx.pipeline.calibrating import calibrate_data, plot_histograms
from fcn_onnx.pipeline.quantizing import quantize
from fcn_onnx.pipeline.running import RunResult, demo_recipe, run
from fcn_onnx.pipeline.validating import validate_and_report, validate_candidates

__all__ = [
    "RunResult",
    "calibrate_data",
    "demo_recipe",
    "plot_histograms",
    "quantize",
    "run",
    "validate_and_report",
    "validate_candidates",
]
