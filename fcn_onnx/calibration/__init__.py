"""The stage `calibrate`: an fp32 model and images become a range for every activation."""

from fcn_onnx.calibration.histogram import Histogram
from fcn_onnx.calibration.observed import Observed, observed_tensors
from fcn_onnx.calibration.stage import Calibration, calibrate, derive
from fcn_onnx.calibration.store import Observation
from fcn_onnx.calibration.thresholds import DEFAULT_METHOD, METHODS, Method, get_method, range_of, squared_errors

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "Calibration",
    "Histogram",
    "Method",
    "Observation",
    "Observed",
    "calibrate",
    "derive",
    "get_method",
    "observed_tensors",
    "range_of",
    "squared_errors",
]
