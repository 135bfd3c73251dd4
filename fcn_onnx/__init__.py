"""fcn-onnx: export a segmentation network to ONNX, quantize it to int8, and prove that int8 did not break it.

Each stage is one function; the command of the same name does nothing but parse, call it and print:

    export     torch network                 → ONNX model
    calibrate  fp32 model + images           → range table
    quantize   fp32 model + images or ranges → int8 model
    validate   both models + labelled images → comparison and report
    compare    two reports                   → what got worse
    open_report                              a report.json, as types
    benchmark, predict, inspect              one model or several, looked at
    bundle                                   a model → a folder that serves it
    sensitivity                              what each layer's int8 costs

The functions are loaded when first used, so `import fcn_onnx` is cheap and needs no torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fcn_onnx.data.choice import ImageChoice, ImageSource
    from fcn_onnx.jobs.engines import Running
    from fcn_onnx.model.interface import Interface
    from fcn_onnx.stages.benchmark import benchmark
    from fcn_onnx.stages.bundle import bundle
    from fcn_onnx.stages.bundle_options import BundleOptions
    from fcn_onnx.stages.calibrate import calibrate
    from fcn_onnx.stages.compare import compare
    from fcn_onnx.stages.export import export
    from fcn_onnx.stages.inspect import fidelity, inspect
    from fcn_onnx.stages.model_card import model_card
    from fcn_onnx.stages.options import (
        BenchmarkOptions,
        CalibrateOptions,
        ExportOptions,
        InspectOptions,
        PredictOptions,
        QuantizeOptions,
        SensitivityOptions,
        ValidateOptions,
    )
    from fcn_onnx.stages.predict import predict
    from fcn_onnx.stages.quantize import quantize
    from fcn_onnx.stages.report import open_report
    from fcn_onnx.stages.report_options import CompareOptions, ModelCardOptions
    from fcn_onnx.stages.run import run
    from fcn_onnx.stages.sensitivity import sensitivity
    from fcn_onnx.stages.validate import validate

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
"""onnxruntime reads it when it is imported, and else opens a database in ~/.cache and begins to report home."""

_HOMES = {
    "fcn_onnx.data.choice": ("ImageChoice", "ImageSource"),
    "fcn_onnx.jobs.engines": ("Running",),
    "fcn_onnx.model.interface": ("Interface",),
    "fcn_onnx.stages.bundle_options": ("BundleOptions",),
    "fcn_onnx.stages.inspect": ("fidelity", "inspect"),
    "fcn_onnx.stages.report": ("open_report",),
    "fcn_onnx.stages.report_options": ("CompareOptions", "ModelCardOptions"),
    "fcn_onnx.stages.options": (
        "BenchmarkOptions",
        "CalibrateOptions",
        "ExportOptions",
        "InspectOptions",
        "PredictOptions",
        "QuantizeOptions",
        "SensitivityOptions",
        "ValidateOptions",
    ),
} | {
    f"fcn_onnx.stages.{stage}": (stage,)
    for stage in (
        *(
            "benchmark",
            "bundle",
            "calibrate",
            "compare",
            "export",
            "model_card",
            "predict",
            "quantize",
            "run",
        ),
        "sensitivity",
        "validate",
    )
}

__all__ = [
    "BenchmarkOptions",
    "BundleOptions",
    "CalibrateOptions",
    "CompareOptions",
    "ExportOptions",
    "ImageChoice",
    "ImageSource",
    "InspectOptions",
    "Interface",
    "ModelCardOptions",
    "PredictOptions",
    "QuantizeOptions",
    "Running",
    "SensitivityOptions",
    "ValidateOptions",
    "benchmark",
    "bundle",
    "calibrate",
    "compare",
    "export",
    "fidelity",
    "inspect",
    "model_card",
    "open_report",
    "predict",
    "quantize",
    "run",
    "sensitivity",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes longer than all else here

        return version("fcn-onnx")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
