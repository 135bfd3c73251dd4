"""onnxruntime's contributed operators, as far as their shapes go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

import onnx
from onnx import defs

from fcn_onnx.model.uses import STANDARD

DOMAIN = "com.microsoft"
ALL = 1 << 30
FIRST = (0,)
ELEMENTWISE = {"QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "Gelu", "FastGelu", "QuickGelu", "BiasGelu"}
STAND_INS: Mapping[str, tuple[str, Sequence[int]]] = {
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearConcat": ("Concat", range(2, ALL, 3)),
    "QLinearWhere": ("Where", (0, 1, 4)),
    "QLinearAveragePool": ("AveragePool", FIRST),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", FIRST),
    "QuantizeLinear": ("QuantizeLinear", (0, 1, 2)),
    "DequantizeLinear": ("DequantizeLinear", (0, 1, 2)),
    "QGemm": ("Gemm", (0, 3)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "FusedConv": ("Conv", (0, 1)),
    "FusedGemm": ("Gemm", (0, 1)),
    "SkipLayerNormalization": ("Identity", FIRST),
    **dict.fromkeys(ELEMENTWISE, ("Identity", FIRST)),
}
"""Contributed operator → the standard one whose result has the same shape, and which inputs of it that takes."""


def standard_node(node: onnx.NodeProto, opset: int) -> onnx.NodeProto | None:
    """The node itself if its operator is standard, or one whose results have the same shape; None if none is known.

    One that works channels-last has none.
    """
    if node.domain in STANDARD:
        return node
    moved = any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute)
    if node.domain != DOMAIN or node.op_type not in STAND_INS or moved:
        return None
    op_type, wanted = STAND_INS[node.op_type]
    known = defs.get_schema(op_type, opset).attributes
    return onnx.NodeProto(
        op_type=op_type,
        input=[node.input[index] for index in takewhile(lambda index: index < len(node.input), wanted)],
        output=node.output,
        attribute=[attribute for attribute in node.attribute if attribute.name in known],
    )
