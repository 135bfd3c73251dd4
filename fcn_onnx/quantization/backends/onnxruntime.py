"""onnxruntime's static quantizer, fed with our ranges and our plan.

Its two quantizers are called as `quantize_static` calls them, but on a model in memory whose types are known: that
function writes the model to a file, infers its shapes, and reads the ranges from another file.
"""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.errors import QuantizationError
from fcn_onnx.model.products import PRODUCT_OPS
from fcn_onnx.quantization.backends.draft import Draft
from fcn_onnx.quantization.islands import RECTIFIERS
from fcn_onnx.quantization.plan import Plan

QUANT_TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
TYPED = "onnx.infer"
"""The metadata by which the quantizers know that they need not infer types."""


def quantize(draft: Draft, plan: Plan) -> onnx.ModelProto:
    """See `Backend`.

    Raises:
        QuantizationError: onnxruntime refuses the model or misses a range.
    """
    assert draft.table is not None
    model = onnx.ModelProto()
    model.CopyFrom(draft.model)
    marks = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, marks | {TYPED: "onnxruntime.quant"})
    # per channel, 7 bits, …: what both quantizers take, in their order
    form = (plan.per_channel, False)
    choices: tuple[Any, ...] = (
        QUANT_TYPES[plan.weight_type],
        QUANT_TYPES[plan.activation_type],
        _ranges(draft.table),
        [],
        [*plan.float_nodes, *_not_float(draft.model), *_not_fused(draft.model)],
        [op for op in plan.op_types if op not in PRODUCT_OPS],  # `products.py` does them better
        _extra_options(draft, plan),
    )
    try:
        if plan.quant_format == "qoperator":
            quantizer = _Quantizer(model, *form, QuantizationMode.QLinearOps, True, *choices)
        else:
            quantizer = QDQQuantizer(model, *form, *choices)
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    except Exception as error:  # it raises KeyError, ValueError, RuntimeError and onnx's own types
        raise QuantizationError(
            f"onnxruntime cannot quantize the model: {type(error).__name__}: {error}",
            fix="check that the ranges were made for this model (fcn-onnx calibrate)",
        ) from error
    quantized: onnx.ModelProto = quantizer.model.model
    del quantized.metadata_props[:]
    onnx.helper.set_model_props(quantized, marks)
    return quantized


class _Quantizer(ONNXQuantizer):  # type: ignore[misc]
    """The library's, which rounds a weight in Python, channel by channel; of a stand-in every channel is 1."""

    def quantize_weight_per_channel_impl(self, name: str, kind: int, axis: int, *others: Any) -> tuple[str, str, str]:
        (weight,) = (tensor for tensor in self.model.initializer() if tensor.name == name)
        told = self.extra_options["TensorQuantOverrides"].get(name, ())
        if len(told) != weight.dims[axis] or len(told) != prod(weight.dims):
            names: tuple[str, str, str] = super().quantize_weight_per_channel_impl(name, kind, axis, *others)
            return names
        q, zero_point, scale = f"{name}_quantized", f"{name}_zero_point", f"{name}_scale"
        values: dict[str, NDArray[Any]] = {
            scale: np.array([channel["scale"] for channel in told], np.float32),
            zero_point: np.zeros(len(told), np.int8),
            q: np.ones(weight.dims, np.int8),
        }
        self.model.initializer_extend([numpy_helper.from_array(value, of) for of, value in values.items()])
        return q, zero_point, scale


def _ranges(table: RangeTable) -> TensorsData:
    """For onnxruntime the ranges are final whatever the method, and that is what its MinMax means."""
    return TensorsData(
        CalibrationMethod.MinMax,
        {
            name: TensorData(lowest=np.array([r.lowest], np.float32), highest=np.array([r.highest], np.float32))
            for name, r in sorted(table.ranges.items())
        },
    )


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


def _not_float(model: onnx.ModelProto) -> list[str]:
    """Nodes on shapes and the like, which share operators with those on images."""
    graph = model.graph
    floats = {
        value.name
        for value in [*graph.input, *graph.value_info, *graph.output]
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    return [node.name for node in graph.node if node.output[0] not in floats]


def _not_fused(model: onnx.ModelProto) -> list[str]:
    """Rectifiers of what is read elsewhere too, or returned: they stay nodes of their own.

    The QOperator quantizer leaves every rectifier out whose input is quantized, and gives what reads it the input
    instead, as if what made the input clipped; but with several readers it does not. Both quantizers give an output of
    the graph the range of the only rectifier behind it.
    """
    graph = model.graph
    reads = Counter(name for node in graph.node for name in node.input)
    reads.update(value.name for value in graph.output)
    return [node.name for node in graph.node if node.op_type in RECTIFIERS and reads[node.input[0]] > 1]
