"""Which sums of an int8 model could saturate on x86 without VNNI: counted over its weights, and tried on this CPU.

The count is arithmetic, so it holds whatever the machine at hand runs; `weights.py` says which pairs are added and when
one is safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.errors import QuantizationError
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.macs import OPERATORS
from fcn_onnx.model.uses import group_of
from fcn_onnx.quantization.making import Maker
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.quantization.weights import Rows, is_depthwise, kernel_order, unsafe_in_rows
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.segmenter import Segmenter

PROOF_IMAGES = 4
NOISE_SIZE = (256, 320)

PAIRING = frozenset(
    {"Conv", "Gemm", "MatMul", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm"}
    | {"MatMulIntegerToFloat"}
)
"""Operators that have an int8 kernel; they read their weight directly or through a DequantizeLinear."""


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
        if node.op_type not in PAIRING:
            continue
        name = node.input[OPERATORS[node.op_type].weight]
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


def changed_labels(
    model: Path | onnx.ModelProto,
    batches: Sequence[NDArray[np.float32]],
    interface: Interface = Interface(),
    threads: int = 0,
) -> NDArray[np.int64]:
    """How many labels of each batch differ between onnxruntime's fast and its exact int8 kernel, (N,) int64."""
    fast, exact = (
        [segmenter.labels(segmenter.run(batch), "a batch") for batch in batches]
        for segmenter in (
            Segmenter(model, SessionConfig(threads=threads, exact_int8=exact_int8), interface)
            for exact_int8 in (False, True)
        )
    )
    return np.array([(a != b).sum() for a, b in zip(fast, exact, strict=True)], np.int64)


def compare_kernels(maker: Maker, plan: Plan, table: RangeTable, name: Path, model: Path) -> Saturation:
    """Run `model` on the fast and on the exact kernel, and one with unsafe pairs beside it.

    Args:
        maker, plan, table: what `model` was made by and of.
        name: that it is to get.

    Raises:
        QuantizationError: the two kernels disagree.
    """
    batches = [batch for _, batch in zip(range(PROOF_IMAGES), maker.images.batches(), strict=False)]
    shown = maker.images.preprocessing
    size = batches[0].shape if batches else (1, shown.planes, *(shown.resize.size or NOISE_SIZE))
    ends = (0, 255) if shown.divisor == 1 else (-4, 4)
    batches.append(np.random.default_rng(0).uniform(*ends, size).astype(np.float32))
    changed = changed_labels(model, batches, maker.interface, maker.config.threads)
    if changed.any():
        raise QuantizationError(
            f"{int(changed.sum())} labels of {name} differ between the fast and the exact int8 kernel",
            fix="report this with the model; the session option session.x64quantprecision=1 is exact",
        )
    unsafe = maker.make(replace(plan, pair_safe=False), table).int8
    would = changed_labels(unsafe, batches, maker.interface, maker.config.threads)
    of_images = would[: len(batches) - 1] if len(batches) > 1 else would
    pixels = sum(batch.shape[2] * batch.shape[3] for batch in batches[: len(of_images)])
    return Saturation(len(batches), int(changed.sum()), float(of_images.sum() / pixels))


def _rows(node: onnx.NodeProto, weight: Rows) -> Rows | None:
    """The weight as (sums, products of each) in the kernel's order; None where its kernel adds no pairs."""
    if "Conv" in node.op_type:
        return None if is_depthwise(weight.shape, group_of(node)) else kernel_order(weight)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    rows: Rows = weight if transposed else np.swapaxes(weight, -1, -2)
    return rows.reshape(-1, rows.shape[-1])
