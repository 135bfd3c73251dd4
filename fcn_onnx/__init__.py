"""fcn-onnx: export a segmentation network to ONNX, quantize it to int8, and prove that int8 did not break it.

Each stage is one function; the command of the same name does nothing but parse, call it and print:

    export     torch network                 → ONNX model
    calibrate  fp32 model + images           → range table
    quantize   fp32 model + images or ranges → int8 model
    validate   both models + labelled images → comparison and report
    benchmark, predict, inspect              one model or several, looked at

The functions are loaded when first used, so `import fcn_onnx` is cheap and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fcn_onnx.calibration import calibrate
    from fcn_onnx.evaluation import benchmark, validate
    from fcn_onnx.exporter import export
    from fcn_onnx.inspection import inspect
    from fcn_onnx.pipeline import quantize, run
    from fcn_onnx.prediction import predict

__version__ = version("fcn-onnx")
__all__ = ["benchmark", "calibrate", "export", "inspect", "predict", "quantize", "run", "validate"]

_HOMES = {
    "benchmark": "fcn_onnx.evaluation",
    "calibrate": "fcn_onnx.calibration",
    "export": "fcn_onnx.exporter",
    "inspect": "fcn_onnx.inspection",
    "predict": "fcn_onnx.prediction",
    "quantize": "fcn_onnx.pipeline",
    "run": "fcn_onnx.pipeline",
    "validate": "fcn_onnx.evaluation",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
