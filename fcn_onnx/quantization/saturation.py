"""Which sums of a written int8 model could saturate on x86 without VNNI, counted over its weights.

Arithmetic, so it holds whatever the machine at hand runs; `weights.py` says which pairs are added and when one is safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from fcn_onnx.errors import QuantizationError
from fcn_onnx.quantization.weights import Rows, group_of, is_depthwise, kernel_order, unsafe_in_rows

WEIGHT_INPUT = {
    "Conv": 1,
    "ConvInteger": 1,
    "QLinearConv": 3,
    "MatMul": 1,
    "MatMulInteger": 1,
    "QLinearMatMul": 3,
    "Gemm": 1,
    "QGemm": 3,
}
"""Where each operator that has an int8 kernel reads its weight, directly or through a DequantizeLinear."""


@dataclass(frozen=True)
class Pairs:
    """The pairs of int8 weights that a kernel without VNNI multiplies and adds in int16.

    Attributes:
        count: all of them.
        unsafe: by node, how many can saturate; nodes without such a pair are left out.
    """

    count: int
    unsafe: Mapping[str, int]

    @property
    def unsafe_count(self) -> int:
        """How many can saturate in the whole model."""
        return sum(self.unsafe.values())


@dataclass(frozen=True)
class Saturation:
    """The trial that this CPU's fast int8 kernel computes the model exactly, and what it was spared.

    Attributes:
        inputs: compared between the fast and the exact kernel: calibration images, and one of noise at full range.
        labels_changed: between the two.
        flips_without: share of the calibration images' labels that would change if weights were merely rounded.
    """

    inputs: int
    labels_changed: int
    flips_without: float


def read_pairs(model: onnx.ModelProto) -> Pairs:
    """Count the pairs in every int8 weight of `model`, in either form.

    Weights that are uint8 are left out: their kernel is exact. So are weights that are float32 in the file.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    dequantized = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    count, unsafe = 0, {}
    for node in model.graph.node:
        if node.op_type not in WEIGHT_INPUT:
            continue
        name = node.input[WEIGHT_INPUT[node.op_type]]
        tensor = stored.get(dequantized.get(name, name))
        if tensor is None or tensor.data_type != onnx.TensorProto.INT8:
            continue
        rows = _rows(node, numpy_helper.to_array(tensor))
        if rows is None:
            continue
        count += len(rows) * (rows.shape[1] // 2)
        if found := unsafe_in_rows(rows):
            unsafe[node.name] = found
    return Pairs(count, unsafe)


def require_pair_safe(pairs: Pairs) -> None:
    """Refuse weights that can saturate.

    Raises:
        QuantizationError: there is such a pair.
    """
    if pairs.unsafe:
        raise QuantizationError(
            f"{pairs.unsafe_count} pairs of weights can saturate, though they were chosen not to, "
            f"first in {next(iter(pairs.unsafe))}",
            fix="report this with the model; --target vnni does without",
        )


def _rows(node: onnx.NodeProto, weight: Rows) -> Rows | None:
    """The weight as (sums, products of each) in the kernel's order; None where its kernel adds no pairs."""
    if "Conv" in node.op_type:
        return None if is_depthwise(weight.shape, group_of(node)) else kernel_order(weight)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    rows: Rows = weight if transposed else np.swapaxes(weight, -1, -2)
    return rows.reshape(-1, rows.shape[-1])
