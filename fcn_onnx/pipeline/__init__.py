"""Stages put together: data opened, images drawn, one stage's result handed to the next."""

from fcn_onnx.pipeline.calibrating import calibrate_data, plot_histograms
from fcn_onnx.pipeline.quantizing import quantize
from fcn_onnx.pipeline.running import RunResult, demo_recipe, inputs_of, outputs_of, run
from fcn_onnx.pipeline.validating import candidates_files, report_files, validate_and_report, validate_candidates

__all__ = [
    "RunResult",
    "calibrate_data",
    "candidates_files",
    "demo_recipe",
    "inputs_of",
    "outputs_of",
    "plot_histograms",
    "quantize",
    "report_files",
    "run",
    "validate_and_report",
    "validate_candidates",
]
