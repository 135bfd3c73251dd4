"""onnxruntime's static quantizer, fed with our ranges and our plan."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from fcn_onnx.errors import QuantizationError
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.files import is_large, load_model
from fcn_onnx.model.graph import float_tensors
from fcn_onnx.quantization.backends import Draft
from fcn_onnx.quantization.plan import Plan

QUANT_FORMATS = {"qoperator": QuantFormat.QOperator, "qdq": QuantFormat.QDQ}
QUANT_TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


def quantize(draft: Draft, plan: Plan) -> onnx.ModelProto:
    """See `Backend`.

    Raises:
        QuantizationError: onnxruntime refuses the model or misses a range.
    """
    assert draft.table is not None
    with scratch() as folder:
        ranges, output = Path(folder, "ranges.json"), Path(folder, "int8.onnx")
        draft.table.save(ranges)
        try:
            with _quiet_root_logger():
                quantize_static(
                    _prepared(draft.model),
                    output,
                    calibration_data_reader=None,
                    calibration_cache_path=ranges,
                    calibrate_method=CalibrationMethod.MinMax,
                    quant_format=QUANT_FORMATS[plan.quant_format],
                    activation_type=QUANT_TYPES[plan.activation_type],
                    weight_type=QUANT_TYPES[plan.weight_type],
                    op_types_to_quantize=list(plan.op_types),
                    nodes_to_exclude=[*plan.float_nodes, *_not_float(draft)],
                    per_channel=plan.per_channel,
                    use_external_data_format=is_large(draft.model),
                    extra_options=_extra_options(draft, plan),
                )
        except OSError:  # of $TMPDIR, not of the model
            raise
        except Exception as error:  # it raises KeyError, ValueError, RuntimeError and onnx's own types
            raise QuantizationError(
                f"onnxruntime cannot quantize the model: {type(error).__name__}: {error}",
                fix="check that the ranges were made for this model (fcn-onnx calibrate)",
            ) from error
        return load_model(output)


def _extra_options(draft: Draft, plan: Plan) -> dict[str, Any]:
    overrides = {
        name: [_override(scale, axis=0) for scale in scales] if plan.per_channel else [_override(scales[0])]
        for name, scales in draft.weight_scales.items()
    }
    options: dict[str, Any] = {"TensorQuantOverrides": overrides}
    if plan.symmetric:
        options |= {
            "ActivationSymmetric": True,
            "AddQDQPairToWeight": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["Conv", "Add", "MaxPool"],
        }
    return options


def _override(scale: np.float32, **axis: int) -> dict[str, Any]:
    return {"scale": scale, "zero_point": np.int8(0), **axis}


def _not_float(draft: Draft) -> list[str]:
    """Nodes on shapes and the like, which share operators with those on images."""
    floats = float_tensors(draft.model)
    return [node.name for node in draft.model.graph.node if node.name and node.output[0] not in floats]


def _prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, marked so that the quantizer does not ask for its own preprocessing; shapes it infers itself."""
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    entry = prepared.metadata_props.add()
    entry.key, entry.value = "onnx.quant.pre_process", "onnxruntime.quant"
    return prepared


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Drop the quantizer's advice, which it logs on the root logger and which does not apply to our graph."""
    root = logging.getLogger()

    def is_advice(record: logging.LogRecord) -> bool:
        return "pre-processing" not in record.getMessage()

    root.addFilter(is_advice)
    try:
        yield
    finally:
        root.removeFilter(is_advice)
