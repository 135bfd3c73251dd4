"""Shapes and element types of inner tensors at one image size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import onnx
from onnx import TypeProto, defs, shape_inference

from fcn_onnx.model.form import image_input
from fcn_onnx.model.uses import STANDARD

Shape = tuple[int | str, ...]

ALL = 1 << 30
FIRST = (0,)
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
} | dict.fromkeys(
    (
        "QLinearLeakyRelu",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "Gelu",
        "FastGelu",
        "QuickGelu",
        "BiasGelu",
        "SkipLayerNormalization",
    ),
    ("Identity", FIRST),
)
"""onnxruntime's contributed operator → the standard one whose result has the same shape, and which inputs it takes.

onnx infers nothing behind an operator it does not know. One that is not listed stays unknown, and so does what follows.
"""


@dataclass(frozen=True)
class TensorType:
    """What onnx infers about one tensor.

    Attributes:
        shape: a dimension that is not known is its name, or "?".
        elem_type: `onnx.TensorProto` data type.
    """

    shape: Shape
    elem_type: int

    @property
    def known(self) -> tuple[int, ...] | None:
        """The shape, or None unless every dimension is a number."""
        numbers = tuple(n for n in self.shape if isinstance(n, int))
        return numbers if len(numbers) == len(self.shape) else None


def tensor_types(model: onnx.ModelProto, size: tuple[int, int]) -> dict[str, TensorType]:
    """Shape and type by tensor name for one image of `size` (height, width); what the model fixes itself stays.

    Constants are among them. A tensor of unknown rank is missing.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    opset = next((entry.version for entry in copy.opset_import if entry.domain in STANDARD), 1)
    for node in copy.graph.node:
        if node.domain == "com.microsoft" and node.op_type in STAND_INS:
            _stand_in(node, opset)
    wanted = (1, *size, 3) if channels_last(model) else (1, 3, *size)
    image = image_input(copy)
    for value, dimension in zip(image.type.tensor_type.shape.dim if image else (), wanted, strict=False):
        if not value.HasField("dim_value"):
            value.dim_value = dimension
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = shape_inference.infer_shapes(copy, data_prop=True).graph
    found = {t.name: TensorType(tuple(t.dims), t.data_type) for t in graph.initializer}
    for value in [*graph.value_info, *graph.output, *graph.input]:
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found.setdefault(value.name, TensorType(_dimensions(kind), kind.elem_type))
    return found


def _stand_in(node: onnx.NodeProto, opset: int) -> None:
    """Make `node` the standard operator that stands for it; one that works channels-last is left as it is."""
    if any(attribute.name == "channels_last" and attribute.i for attribute in node.attribute):
        return
    op_type, wanted = STAND_INS[node.op_type]
    operands = [node.input[index] for index in takewhile(lambda index: index < len(node.input), wanted)]
    known = defs.get_schema(op_type, opset).attributes
    attributes = [attribute for attribute in node.attribute if attribute.name in known]
    node.op_type, node.domain = op_type, ""
    del node.input[:], node.attribute[:]
    node.input.extend(operands)
    node.attribute.extend(attributes)


def declared_shape(value: onnx.ValueInfoProto) -> Shape:
    """The shape that a graph's input or output declares; () where it declares none."""
    return _dimensions(value.type.tensor_type)


def fixed_size(model: onnx.ModelProto) -> tuple[int, int] | None:
    """The one (height, width) that the model takes, whatever its layout; None if it takes any."""
    shape = _image_shape(model)
    height, width = (shape[1:3] if channels_last(model) else shape[2:]) if len(shape) == 4 else ("", "")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def channels_last(model: onnx.ModelProto) -> bool:
    """Whether the model takes (N, H, W, 3) rather than (N, 3, H, W)."""
    shape = _image_shape(model)
    return len(shape) == 4 and shape[3] == 3 != shape[1]


def _image_shape(model: onnx.ModelProto) -> Shape:
    image = image_input(model)
    return declared_shape(image) if image else ()


def _dimensions(kind: TypeProto.Tensor) -> Shape:
    return tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or "?") for d in kind.shape.dim)
