"""Evaluation: protocols, counts, scores, paired comparison, latency.

`validate` compares an int8 model with its fp32 original; `benchmark` only times models.
"""

from fcn_onnx.evaluation.benchmark import Benchmark, benchmark
from fcn_onnx.evaluation.judge import Judge
from fcn_onnx.evaluation.kernels import changed_labels
from fcn_onnx.evaluation.output_error import OutputError
from fcn_onnx.evaluation.protocols import PROTOCOLS, Protocol, get_protocol
from fcn_onnx.evaluation.result import Validation
from fcn_onnx.evaluation.selection import select_images
from fcn_onnx.evaluation.validation import validate

__all__ = [
    "PROTOCOLS",
    "Benchmark",
    "Judge",
    "OutputError",
    "Protocol",
    "Validation",
    "benchmark",
    "changed_labels",
    "get_protocol",
    "select_images",
    "validate",
]
