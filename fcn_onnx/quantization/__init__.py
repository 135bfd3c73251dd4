"""Quantization: a plan, ranges and a backend make an int8 model."""

from fcn_onnx.quantization.backends import BACKENDS, Goal, Images, get_backend
from fcn_onnx.quantization.plan import FORMATS, TARGETS, Plan, Target, keep_float, make_plan
from fcn_onnx.quantization.proving import Made, Proof
from fcn_onnx.quantization.refining import Refinement, refine
from fcn_onnx.quantization.saturation import Saturation
from fcn_onnx.quantization.search import Found, search
from fcn_onnx.quantization.writing import Quantized, make_int8, up_to_date, write_int8

__all__ = [
    "BACKENDS",
    "FORMATS",
    "TARGETS",
    "Found",
    "Goal",
    "Images",
    "Made",
    "Plan",
    "Proof",
    "Quantized",
    "Refinement",
    "Saturation",
    "Target",
    "get_backend",
    "keep_float",
    "make_int8",
    "make_plan",
    "refine",
    "search",
    "up_to_date",
    "write_int8",
]
