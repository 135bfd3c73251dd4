"""Facts read off an ONNX graph: what it is made of, what it costs, how it is quantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import onnx

QUANTIZED_CONVS = frozenset({"QLinearConv", "ConvInteger"})
CONVS = QUANTIZED_CONVS | {"Conv"}
QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearMatMul", "MatMulInteger"}) | QUANTIZED_CONVS


@dataclass(frozen=True)
class ConvFacts:
    """One convolution.

    Attributes:
        name: node name.
        macs: multiply-accumulates of one image at the size asked for; None where onnx infers no output shape.
        int8: whether its weights and input are 8-bit integers in the file.
    """

    name: str
    macs: int | None
    int8: bool


@dataclass(frozen=True)
class GraphFacts:
    """What a model is made of.

    Attributes:
        opsets: version by domain (`""` is the default domain).
        inputs, outputs: shape by name; a dynamic dimension is its name.
        op_counts: nodes by operator.
        parameters: elements of weights and biases (initializers of convolutions).
        quant_format: `none`, `qoperator` or `qdq`.
        per_channel: whether any weight has a scale per output channel; None where nothing is quantized.
        convs: every convolution, in graph order.
        size: the (height, width) that `macs` are for.
    """

    opsets: Mapping[str, int]
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    op_counts: Mapping[str, int]
    parameters: int
    quant_format: str
    per_channel: bool | None
    convs: tuple[ConvFacts, ...]
    size: tuple[int, int]

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of all convolutions for one image; None unless every one is known."""
        known = [conv.macs for conv in self.convs if conv.macs is not None]
        return sum(known) if len(known) == len(self.convs) else None

    @property
    def int8_macs_share(self) -> float | None:
        """Share of `macs` whose convolution is int8; None where `macs` is None or 0."""
        total = self.macs
        return sum(conv.macs or 0 for conv in self.convs if conv.int8) / total if total else None


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether any node computes on, or converts to, 8-bit integers."""
    return any(node.op_type in QUANTIZERS for node in model.graph.node)


def read_facts(model: onnx.ModelProto, size: tuple[int, int] = (520, 520)) -> GraphFacts:
    """Facts of `model`, its costs at one image of `size` (height, width); a fixed-size model keeps its own."""
    size = fixed_size(model) or size
    initializers = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    dequantized = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    shapes = _shapes(model, size) | initializers
    convs = []
    parameters = 0
    for node in model.graph.node:
        if node.op_type not in CONVS:
            continue
        weight_input, bias_input = (3, 8) if node.op_type == "QLinearConv" else (1, 2)
        weight = node.input[weight_input]
        stored = dequantized.get(weight, weight)
        weight_shape = initializers.get(stored, ())
        output = shapes.get(node.output[0], ())
        pixels = [d for d in output[2:] if isinstance(d, int)]
        macs = prod(weight_shape) * prod(pixels) if len(pixels) == 2 and weight_shape else None
        parameters += prod(weight_shape) if weight_shape else 0
        if len(node.input) > bias_input and weight_shape:
            parameters += weight_shape[0]
        int8 = node.op_type in QUANTIZED_CONVS or (weight in dequantized and node.input[0] in dequantized)
        convs.append(ConvFacts(node.name, macs, int8))
    return GraphFacts(
        opsets={entry.domain: entry.version for entry in model.opset_import},
        inputs={value.name: _shape(value) for value in model.graph.input},
        outputs={value.name: _shape(value) for value in model.graph.output},
        op_counts=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        parameters=parameters,
        quant_format=_quant_format(model),
        per_channel=_per_channel(model, initializers),
        convs=tuple(convs),
        size=size,
    )


def float_tensors(model: onnx.ModelProto) -> frozenset[str]:
    """Names of the float32 tensors that flow through the graph, constants left out."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    return frozenset(
        value.name
        for value in [*graph.input, *graph.value_info, *graph.output]
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name not in constants
    )


def activation_bytes(model: onnx.ModelProto, size: tuple[int, int]) -> int:
    """Bytes of all float32 tensors that nodes write for one image of `size` (height, width)."""
    shapes = _shapes(model, size)
    written = (shapes.get(name, ()) for node in model.graph.node for name in node.output)
    return sum(4 * prod(n for n in shape if isinstance(n, int)) for shape in written if len(shape) == 4)


def _quant_format(model: onnx.ModelProto) -> str:
    ops = {node.op_type for node in model.graph.node}
    if ops & QUANTIZED_CONVS:
        return "qoperator"
    return "qdq" if ops & QUANTIZERS else "none"


def _per_channel(model: onnx.ModelProto, initializers: Mapping[str, tuple[int, ...]]) -> bool | None:
    """Looks at the scales of convolution weights."""
    scales = {node.output[0]: node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    found = [node.input[4] for node in model.graph.node if node.op_type == "QLinearConv"]
    found += [scales[node.input[1]] for node in model.graph.node if node.op_type == "Conv" and node.input[1] in scales]
    return any(prod(initializers.get(name, ())) > 1 for name in found) if found else None


def fixed_size(model: onnx.ModelProto) -> tuple[int, int] | None:
    """The one (height, width) that the model takes, whatever its layout; None if it takes any."""
    shape = _shape(model.graph.input[0]) if model.graph.input else ()
    height, width = (shape[1:3] if channels_last(model) else shape[2:]) if len(shape) == 4 else ("", "")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def channels_last(model: onnx.ModelProto) -> bool:
    """Whether the model takes (N, H, W, 3) rather than (N, 3, H, W)."""
    shape = _shape(model.graph.input[0]) if model.graph.input else ()
    return len(shape) == 4 and shape[3] == 3 != shape[1]


def _shapes(model: onnx.ModelProto, size: tuple[int, int]) -> dict[str, tuple[int | str, ...]]:
    """Shapes of inner tensors for one image of `size`, from onnx's own shape inference.

    onnx does not know onnxruntime's contributed operators, so in this copy each of them is an Identity of
    its first input: right for the elementwise ones (QLinearAdd, QLinearMul, QLinearLeakyRelu, …).
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.domain not in ("", "ai.onnx"):
            first = node.input[0]
            del node.input[:], node.attribute[:]
            node.input.append(first)
            node.op_type, node.domain = "Identity", ""
    wanted = (1, *size, 3) if channels_last(model) else (1, 3, *size)
    for value, dimension in zip(copy.graph.input[0].type.tensor_type.shape.dim, wanted, strict=False):
        if not value.HasField("dim_value"):
            value.dim_value = dimension
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(copy, data_prop=True)
    values = [*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input]
    return {value.name: _shape(value) for value in values}


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or "?") for d in dims)
