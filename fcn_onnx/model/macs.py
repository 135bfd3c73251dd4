"""What multiplies in a graph: which operators, how many multiply-accumulates, and whether on 8-bit integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import onnx
from onnx import TensorProto

from fcn_onnx.model.form import image_input
from fcn_onnx.model.shapes import TensorType

EIGHT_BITS = frozenset({TensorProto.INT8, TensorProto.UINT8})
MOVERS = frozenset({"Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
"""What moves values without changing them: a dequantized tensor is one behind these too."""

Dimensions = tuple[int, ...]
Count = Callable[[Dimensions, Dimensions, Dimensions, bool], int]
"""(shape of the data, of the weight, of the result; whether the data is transposed) → multiply-accumulates."""


def _convolution(data: Dimensions, weight: Dimensions, result: Dimensions, transposed: bool) -> int:
    """Every pixel of the result takes the whole weight (M, C/group, *kernel) once."""
    return prod(weight) * result[0] * prod(result[2:])


def _transposed_convolution(data: Dimensions, weight: Dimensions, result: Dimensions, transposed: bool) -> int:
    """Every pixel of the input takes the whole weight (C, M/group, *kernel) once."""
    return prod(weight) * data[0] * prod(data[2:])


def _product(data: Dimensions, weight: Dimensions, result: Dimensions, transposed: bool) -> int:
    """Every element of the result, whatever the batch dimensions, is a sum over the inner dimension."""
    return prod(result) * (data[-2] if transposed else data[-1])


@dataclass(frozen=True)
class Operator:
    """An operator that multiplies.

    Attributes:
        count: its multiply-accumulates.
        weight: index of the input with the weight, or the second factor; the first is input 0.
        bias: index of the input with the bias; None where it takes none.
        weight_scale: index of the input with the scale of an 8-bit weight.
        integer: it computes on 8-bit integers by itself.
    """

    count: Count
    weight: int = 1
    bias: int | None = None
    weight_scale: int | None = None
    integer: bool = False


OPERATORS: Mapping[str, Operator] = {
    "Conv": Operator(_convolution, bias=2),
    "FusedConv": Operator(_convolution, bias=2),
    "DeformConv": Operator(_convolution, bias=3),
    "ConvInteger": Operator(_convolution, integer=True),
    "QLinearConv": Operator(_convolution, weight=3, bias=8, weight_scale=4, integer=True),
    "ConvTranspose": Operator(_transposed_convolution, bias=2),
    "Gemm": Operator(_product, bias=2),
    "FusedGemm": Operator(_product, bias=2),
    "QGemm": Operator(_product, weight=3, bias=6, weight_scale=4, integer=True),
    "MatMul": Operator(_product),
    "MatMulInteger": Operator(_product, integer=True),
    "MatMulIntegerToFloat": Operator(_product, bias=6, weight_scale=3, integer=True),
    "DynamicQuantizeMatMul": Operator(_product, bias=4, weight_scale=2, integer=True),
    "QLinearMatMul": Operator(_product, weight=3, weight_scale=4, integer=True),
}
INTEGER_OPS = frozenset(op for op, operator in OPERATORS.items() if operator.integer)
CONVS = frozenset({"Conv", "FusedConv", "ConvInteger", "QLinearConv"})


@dataclass(frozen=True)
class Multiplication:
    """One node that multiplies.

    Attributes:
        name: of the node, as `node_names` has it.
        op_type: its operator, as the file has it.
        macs: multiply-accumulates of one image at the size asked for; None where onnx infers too few shapes.
        int8: whether both factors are 8-bit integers in the file.
    """

    name: str
    op_type: str
    macs: int | None
    int8: bool


def multiplications(
    model: onnx.ModelProto, types: Mapping[str, TensorType]
) -> Iterator[tuple[onnx.NodeProto, Multiplication]]:
    """Every node of `model` that multiplies, in graph order.

    Args:
        types: of the tensors, for the image that is counted. A batch of N counts an Nth.
    """
    image = image_input(model)
    shape = types[image.name].shape if image and image.name in types else ()
    images = shape[0] if len(shape) == 4 and isinstance(shape[0], int) and shape[0] > 0 else 1
    exact = _dequantized(model, types)
    for node, name in zip(model.graph.node, node_names(model), strict=True):
        if (operator := OPERATORS.get(node.op_type)) is None:
            continue
        data, weight = node.input[0], node.input[operator.weight]
        shapes = [types[name].known if name in types else None for name in (data, weight, node.output[0])]
        known = [shape for shape in shapes if shape is not None]
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        macs = operator.count(known[0], known[1], known[2], transposed) // images if len(known) == 3 else None
        int8 = operator.integer or {data, weight} <= exact
        yield node, Multiplication(name, node.op_type, macs, int8)


def node_names(model: onnx.ModelProto) -> list[str]:
    """A name for each node, in graph order: its own, or `Operator(result)` where it has none or shares it."""
    named = Counter(node.name for node in model.graph.node)
    return [
        node.name if node.name and named[node.name] == 1 else f"{node.op_type}({node.output[0]})"
        for node in model.graph.node
    ]


def _dequantized(model: onnx.ModelProto, types: Mapping[str, TensorType]) -> frozenset[str]:
    """Float tensors that hold what 8-bit integers say, exactly: results of DequantizeLinear, moved or not.

    It does not matter whether the integers are stored or made by a QuantizeLinear, as TensorRT wants its weights.
    """
    found: set[str] = set()
    for node in model.graph.node:
        source = node.input[0] if node.input else ""
        if node.op_type == "DequantizeLinear":
            if source in types and types[source].elem_type in EIGHT_BITS:
                found.add(node.output[0])
        elif node.op_type in MOVERS and source in found:
            found.add(node.output[0])
    return frozenset(found)
