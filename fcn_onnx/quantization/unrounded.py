"""Pointwise convolutions in int8 whose sums stay float32: what an Add takes from them is rounded no more.

Half of what 8 bits cost lies in what goes into the residual Adds. A convolution that feeds one need not run in fp32 for
that: the kernel of a matrix product adds up in int32 as that of a convolution does, and returns float32. A 1×1
convolution is such a product, of the pixels by the channels, between two Transposes of which onnxruntime's optimiser
merges most. (ConvInteger returns int32 too, but runs 2.5 to 3.5 times as long as QLinearConv, and what scales its sums
is no part of it.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.errors import QuantizationError
from fcn_onnx.model.contributed import DOMAIN
from fcn_onnx.model.uses import fresh, group_of, is_op, keep_nodes, producers, tensor_names
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.quantization.products import Step
from fcn_onnx.quantization.weights import QuantizedWeight

CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
END = np.iinfo(np.int64).max


def pointwise_convs(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Names of the convolutions by a stored (M, C, 1, 1), of one group and without padding, in graph order."""
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    return tuple(
        node.name
        for node in graph.node
        if is_op(node, "Conv") and shapes.get(node.input[1], [])[2:] == [1, 1] and group_of(node) == 1
        if not any(_attribute(node, "pads")) and _attribute(node, "auto_pad") in ((), b"NOTSET", b"VALID")
    )


def leave_unrounded(
    int8: onnx.ModelProto, plan: Plan, table: RangeTable, weights: Mapping[str, QuantizedWeight]
) -> onnx.ModelProto:
    """`int8`, of either form, in which the convolutions `plan.unrounded` are still float, with these in int8, in place.

    Args:
        weights: rounded, by initializer.

    Raises:
        QuantizationError: the table has no range for one of their inputs.
    """
    if not plan.unrounded:
        return int8
    writer = _Writer(int8.graph, plan, table, weights)
    keep_nodes(int8.graph, list(writer.rewritten(frozenset(plan.unrounded))))
    if plan.quant_format == "qoperator" and all(entry.domain != DOMAIN for entry in int8.opset_import):
        int8.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return int8


def read_floats(int8: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """`int8`, in which what stays fp32 reads from what stays fp32 as it is, in place.

    Where something in int8 reads a tensor too, both quantizers of onnxruntime give all its readers the rounded one.
    """
    made = producers(int8.graph)

    def computes_float(node: onnx.NodeProto | None) -> bool:
        return node is not None and node.name in plan.float_nodes

    for node in int8.graph.node:
        for index, name in enumerate(node.input if node.name in plan.float_nodes else ()):
            while (dequantize := made.get(name)) is not None and dequantize.op_type == "DequantizeLinear":
                quantize = made.get(dequantize.input[0])
                if quantize is None or quantize.op_type != "QuantizeLinear":
                    break
                if not computes_float(made.get(quantize.input[0])):
                    break
                node.input[index] = name = quantize.input[0]
    return int8


class _Writer:
    """Rewrites the nodes of one graph, and stores what they need in it."""

    def __init__(
        self, graph: onnx.GraphProto, plan: Plan, table: RangeTable, weights: Mapping[str, QuantizedWeight]
    ) -> None:
        self.graph, self.plan, self.table, self.weights = graph, plan, table, weights
        self.made = producers(graph)
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.taken = tensor_names(graph) | {node.name for node in graph.node}
        self.rounded: dict[str, tuple[str, str, str]] = {}  # 8 bits, scale and zero point by float tensor

    def rewritten(self, chosen: Collection[str]) -> Iterator[onnx.NodeProto]:
        for node in self.graph.node:
            if node.name in chosen:
                yield from self._product(node)
            else:
                yield node

    def _product(self, conv: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        yield from self._round(conv.input[0])
        q, scale, zero_point = self.rounded[conv.input[0]]
        strides = _attribute(conv, "strides") or (1, 1)
        if any(stride > 1 for stride in strides):
            ends = (np.array(value, np.int64) for value in ((0, 0), (END, END), (2, 3), strides))
            stored = [self._store(value, f"{conv.name}_{what}") for value, what in zip(ends, SLICED, strict=True)]
            yield self._node("Slice", [q, *stored], q := self._new(f"{q}_taken"))
        yield self._node("Transpose", [q], q := self._new(f"{q}_last"), perm=CHANNELS_LAST)
        weight, name = self.weights[conv.input[1]], f"{conv.input[1]}_matrix"
        values = np.ascontiguousarray(weight.q.reshape(len(weight.q), -1).T)
        of = weight.scale if self.plan.per_channel else weight.scale[0]
        factors = [
            self._store(values, name),
            self._store(of, f"{name}_scale"),
            self._store(np.zeros(of.shape, np.int8), f"{name}_zero_point"),
        ]
        bias, sums = list(filter(None, conv.input[2:])), self._new(f"{conv.output[0]}_last")
        if self.plan.quant_format == "qoperator":
            inputs = [q, factors[0], scale, factors[1], zero_point, factors[2], *bias]
            yield helper.make_node("MatMulIntegerToFloat", inputs, [sums], conv.name, domain=DOMAIN)
        else:
            axis = {"axis": 1} if self.plan.per_channel else {}
            yield self._node("DequantizeLinear", [q, scale, zero_point], data := self._new(f"{q}_dequantized"))
            yield self._node("DequantizeLinear", factors, matrix := self._new(f"{name}_dequantized"), **axis)
            yield helper.make_node("MatMul", [data, matrix], [sums], conv.name)
        if self.plan.quant_format == "qoperator" or not bias:
            yield self._node("Transpose", [sums], conv.output[0], perm=CHANNELS_FIRST)
            return
        # behind the Transpose: right behind the product, onnxruntime would make a float Gemm of both
        yield self._node("Transpose", [sums], first := self._new(f"{conv.output[0]}_first"), perm=CHANNELS_FIRST)
        column = self._store(numpy_helper.to_array(self.stored[bias[0]]).reshape(-1, 1, 1), f"{bias[0]}_column")
        yield self._node("Add", [first, column], conv.output[0])

    def _round(self, tensor: str) -> Iterator[onnx.NodeProto]:
        """See that `rounded` has the 8 bits of a tensor: those that it was dequantized from, or its own."""
        if tensor in self.rounded:
            return
        maker = self.made.get(tensor)
        if maker is not None and maker.op_type == "DequantizeLinear":
            self.rounded[tensor] = (maker.input[0], maker.input[1], maker.input[2])
            return
        if tensor not in self.table.ranges:
            raise QuantizationError(
                f"the range table has no range for {tensor}", fix="make it again with `fcn-onnx calibrate`"
            )
        step = Step.of(self.table.ranges[tensor])
        names = (self._store(step.scale, f"{tensor}_scale"), self._store(step.zero_point, f"{tensor}_zero_point"))
        q = self._new(f"{tensor}_quantized")
        self.rounded[tensor] = (q, *names)
        yield self._node("QuantizeLinear", [tensor, *names], q)

    def _node(self, op_type: str, inputs: Sequence[str], result: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(op_type, inputs, [result], f"{result}_made", **attributes)

    def _new(self, wanted: str) -> str:
        return fresh(wanted, self.taken)

    def _store(self, value: NDArray[Any] | np.generic, wanted: str) -> str:
        name = self._new(wanted)
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name


SLICED = ("starts", "ends", "axes", "steps")


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    found = [helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name]
    return found[0] if found else ()
