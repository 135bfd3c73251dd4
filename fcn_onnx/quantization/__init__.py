"""Quantization: a plan, ranges and a backend make an int8 model."""

from fcn_onnx.quantization.backends import BACKENDS
from fcn_onnx.quantization.plan import FORMATS, TARGETS, Plan, Target, make_plan
from fcn_onnx.quantization.writing import Quantized, up_to_date, write_int8

__all__ = [
    "BACKENDS",
    "FORMATS",
    "TARGETS",
    "Plan",
    "Quantized",
    "Target",
    "make_plan",
    "up_to_date",
    "write_int8",
]
