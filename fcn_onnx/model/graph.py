"""Facts read off an ONNX graph: what it is made of, what it costs, how it is quantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import onnx

from fcn_onnx.model.inference import inferred, skeleton
from fcn_onnx.model.macs import CONVS, INTEGER_OPS, OPERATORS, Multiplication, multiplications
from fcn_onnx.model.shapes import Shape, TensorType, declared_shape, fixed_size, tensor_types

MULTIPLES = (32, 64, 128)
QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"}) | INTEGER_OPS


@dataclass(frozen=True)
class GraphFacts:
    """What a model is made of.

    Attributes:
        opsets: version by domain (`""` is the default domain).
        inputs, outputs: shape by name; a dynamic dimension is its name.
        op_counts: nodes by operator.
        parameters: elements of the constant weights and biases of what multiplies.
        quant_format: `none`, `qoperator` or `qdq`.
        per_channel: whether any weight has a scale per output channel; None where nothing is quantized.
        multiplications: every node that multiplies, in graph order.
        size: the (height, width) that `macs` are for.
    """

    opsets: Mapping[str, int]
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    op_counts: Mapping[str, int]
    parameters: int
    quant_format: str
    per_channel: bool | None
    multiplications: tuple[Multiplication, ...]
    size: tuple[int, int]

    @property
    def convs(self) -> tuple[Multiplication, ...]:
        """The convolutions, transposed ones not among them."""
        return tuple(node for node in self.multiplications if node.op_type in CONVS)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one image; None unless those of every node are known."""
        known = [node.macs for node in self.multiplications if node.macs is not None]
        return sum(known) if len(known) == len(self.multiplications) else None

    @property
    def int8_macs_share(self) -> float | None:
        """Share of `macs` that multiplies 8-bit integers; None where `macs` is None or 0."""
        total = self.macs
        return sum(node.macs or 0 for node in self.multiplications if node.int8) / total if total else None

    @property
    def in_fp32(self) -> tuple[Multiplication, ...]:
        """What does not multiply 8-bit integers, the costliest first."""
        return tuple(sorted((m for m in self.multiplications if not m.int8), key=lambda m: -(m.macs or 0)))

    @property
    def fp32_by_operator(self) -> dict[str, tuple[Multiplication, ...]]:
        """The same by operator, the one whose nodes cost most together first."""
        found: dict[str, list[Multiplication]] = {}
        for node in self.in_fp32:
            found.setdefault(node.op_type, []).append(node)
        ordered = sorted(found.items(), key=lambda item: -sum(node.macs or 0 for node in item[1]))
        return {op_type: tuple(nodes) for op_type, nodes in ordered}

    def share_of(self, node: Multiplication) -> float | None:
        """Share of `macs` that is this node's; None where `macs` is None or 0."""
        total = self.macs
        return (node.macs or 0) / total if total else None


@dataclass(frozen=True)
class Graph:
    """A model, and what is read off its graph, each once; nobody changes it.

    Attributes:
        model: after intake, for whoever quantizes it.
    """

    model: onnx.ModelProto

    @cached_property
    def inferred(self) -> onnx.GraphProto:
        """The same with types, and shapes as far as they can be inferred, in `value_info`; large constants left out."""
        return inferred(self.model)

    def typed(self) -> onnx.ModelProto:
        """A copy of the model without its initializers, with the types of inner tensors and of outputs."""
        bare = skeleton(self.model)
        for own, found in (
            (bare.graph.value_info, self.inferred.value_info),
            (bare.graph.output, self.inferred.output),
        ):
            del own[:]
            own.extend(found)
        return bare

    @cached_property
    def floats(self) -> frozenset[str]:
        """Names of the float32 tensors that flow through the graph, constants left out."""
        constants = {tensor.name for tensor in self.model.graph.initializer}
        constants |= {name for node in self.model.graph.node if node.op_type == "Constant" for name in node.output}
        return frozenset(
            value.name
            for value in [*self.inferred.input, *self.inferred.value_info, *self.inferred.output]
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name not in constants
        )


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether any node computes on, or converts to, 8-bit integers."""
    return any(node.op_type in QUANTIZERS for node in model.graph.node)


def read_facts(model: onnx.ModelProto, size: tuple[int, int] = (520, 520)) -> GraphFacts:
    """Facts of `model`, its costs at one image of `size` (height, width); a fixed-size model keeps its own.

    A network that does not fit `size`, such as an encoder–decoder whose skips meet only at multiples of 32, is counted
    at the next larger one of `MULTIPLES` that it fits.
    """
    size = fixed_size(model) or size
    facts = _facts_at(model, size)
    for multiple in MULTIPLES if facts.macs is None else ():
        fitting = _facts_at(model, (-(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple))
        if fitting.macs is not None:
            return fitting
    return facts


def _facts_at(model: onnx.ModelProto, size: tuple[int, int]) -> GraphFacts:
    types = tensor_types(model, size)
    found = list(multiplications(model, types))
    return GraphFacts(
        opsets={entry.domain: entry.version for entry in model.opset_import},
        inputs={value.name: declared_shape(value) for value in model.graph.input},
        outputs={value.name: declared_shape(value) for value in model.graph.output},
        op_counts=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        parameters=_parameters(model, [node for node, _ in found], types),
        quant_format=_quant_format(model),
        per_channel=_per_channel(model, [node for node, _ in found], types),
        multiplications=tuple(facts for _, facts in found),
        size=size,
    )


def float_tensors(model: onnx.ModelProto) -> frozenset[str]:
    """Names of the float32 tensors that flow through the graph, constants left out."""
    return Graph(model).floats


def activation_bytes(model: onnx.ModelProto, size: tuple[int, int]) -> int:
    """Bytes of all float32 tensors that nodes write for one image of `size` (height, width)."""
    types = tensor_types(model, size)
    written = (types[name].shape for node in model.graph.node for name in node.output if name in types)
    return sum(4 * prod(n for n in shape if isinstance(n, int)) for shape in written if len(shape) == 4)


def _parameters(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], types: Mapping[str, TensorType]) -> int:
    """Elements of the constants that these nodes multiply with and add, one that several read counted once."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if all(name in constants for name in node.input if name):
            constants.update(node.output)
    read: dict[str, int] = {}
    for node in nodes:
        operator = OPERATORS[node.op_type]
        for index in (operator.weight, operator.bias):
            name = node.input[index] if index is not None and index < len(node.input) else ""
            if name in constants and name in types:
                read[name] = prod(types[name].known or ())
    return sum(read.values())


def _quant_format(model: onnx.ModelProto) -> str:
    ops = {node.op_type for node in model.graph.node}
    if ops & INTEGER_OPS:
        return "qoperator"
    return "qdq" if ops & QUANTIZERS else "none"


def _per_channel(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], types: Mapping[str, TensorType]
) -> bool | None:
    """Whether one of these nodes has a weight of several scales; None where none of them has a scale."""
    dequantized = {node.output[0]: node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    scales = []
    for node in nodes:
        operator = OPERATORS[node.op_type]
        if operator.weight_scale is not None:
            scales.append(node.input[operator.weight_scale])
        elif (weight := node.input[operator.weight]) in dequantized:
            scales.append(dequantized[weight])
    return any(prod(types[name].known or ()) > 1 for name in scales if name in types) if scales else None
