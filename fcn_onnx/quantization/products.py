"""Matrix products in int8 with a float32 result: 8 bits in, and nothing rounded behind.

What onnxruntime's quantizer makes of a MatMul rounds its result too, which a residual stream, a LayerNorm or a Softmax
behind it has no use for; the kernels that return float32 are as fast (docs/quantization.md). They are
MatMulIntegerToFloat in QOperator form, and in QDQ form what onnxruntime fuses: DequantizeLinear on both factors, on the
bias too, and no QuantizeLinear behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from fcn_onnx.calibration.table import Range, RangeTable
from fcn_onnx.errors import QuantizationError
from fcn_onnx.model.contributed import DOMAIN
from fcn_onnx.model.products import Product, stored_products
from fcn_onnx.model.uses import fresh, producers, reads, tensor_names
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.quantization.weights import BIAS_MAX, QuantizedWeight, Request, quantize_weight

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """What 8 bits of an activation mean: (q − zero point) · scale."""

    scale: np.float32
    zero_point: np.uint8

    @classmethod
    def of(cls, given: Range) -> Step:
        """uint8 over a range, as onnxruntime's quantizer has it, so that equal ranges give equal steps."""
        lowest, highest = np.float32(given.lowest), np.float32(given.highest)
        scale = np.float64(highest - lowest) / 255
        if scale < np.finfo(np.float32).tiny:
            return cls(np.float32(1), np.uint8(0))
        return cls(np.float32(scale), np.uint8(np.round(-lowest / scale)))


def quantize_products(
    int8: onnx.ModelProto,
    fp32: onnx.ModelProto,
    plan: Plan,
    table: RangeTable,
    known: dict[Request, QuantizedWeight],
) -> onnx.ModelProto:
    """`int8`, of either form, with the products of the plan in int8 too, in place.

    Args:
        int8: what a backend made, the products still float32.
        fp32: the model after intake.
        known: weights that were rounded before; gets what is rounded now.

    Raises:
        QuantizationError: the table has no range for one of their inputs.
    """
    chosen = {
        name: product
        for name, product in stored_products(fp32.graph).items()
        if product.node.op_type in plan.op_types and name not in plan.float_nodes
    }
    if not chosen:
        return int8
    writer = _Writer(int8.graph, fp32.graph, plan, table, known)
    nodes = list(writer.rewritten(chosen))
    del int8.graph.node[:]
    int8.graph.node.extend(nodes)
    _drop_unread(int8.graph)
    if plan.quant_format == "qoperator" and all(entry.domain != DOMAIN for entry in int8.opset_import):
        int8.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return int8


class _Writer:
    """Rewrites the nodes of one graph, and stores what they need in it."""

    def __init__(
        self,
        int8: onnx.GraphProto,
        fp32: onnx.GraphProto,
        plan: Plan,
        table: RangeTable,
        known: dict[Request, QuantizedWeight],
    ) -> None:
        self.graph, self.plan, self.table, self.known = int8, plan, table, known
        self.original = {tensor.name: tensor for tensor in fp32.initializer}
        self.made = producers(int8)
        self.taken = tensor_names(int8) | {node.name for node in int8.node}
        self.inputs: dict[str, tuple[str, str, str]] = {}
        self.scales: dict[str, np.float32] = {}
        self.quantized = {tensor.name: tensor for tensor in int8.initializer}

    def rewritten(self, chosen: Mapping[str, Product]) -> Iterator[onnx.NodeProto]:
        """The nodes, those of the products in their int8 form."""
        adds = {product.add.name: product for product in chosen.values() if product.add is not None}
        qdq = self.plan.quant_format == "qdq"
        for node in self.graph.node:
            if node.name in chosen:
                product = chosen[node.name]
                yield from self._quantize(node.input[0], product.data)
                yield from self._dequantizing(node, product) if qdq else [self._integer_to_float(node, product)]
            elif node.name in adds and qdq:
                product = adds[node.name]
                assert product.bias is not None  # it is the Add's
                bias, dequantize = self._bias(product, product.bias)
                node.input[list(node.input).index(product.bias)] = bias
                yield dequantize
                yield node
            else:
                yield node

    def _quantize(self, tensor: str, data: str) -> Iterator[onnx.NodeProto]:
        """See that `inputs` has the 8 bits of a tensor, their scale and their zero point; `data` is its first name."""
        if data in self.inputs:
            return
        maker = self.made.get(tensor)
        if maker is not None and maker.op_type == "DequantizeLinear":
            self.inputs[data] = (maker.input[0], maker.input[1], maker.input[2])
            self.scales[data] = np.float32(numpy_helper.to_array(self.quantized[maker.input[1]]).item())
            return
        if data not in self.table.ranges:
            raise QuantizationError(
                f"the range table has no range for {data}", fix="make it again with `fcn-onnx calibrate`"
            )
        step = Step.of(self.table.ranges[data])
        self.scales[data] = step.scale
        names = (self._store(step.scale, f"{data}_scale"), self._store(step.zero_point, f"{data}_zero_point"))
        q = fresh(f"{data}_quantized", self.taken)
        self.inputs[data] = (q, *names)
        yield helper.make_node("QuantizeLinear", [tensor, *names], [q], q)

    def _weight(self, product: Product) -> QuantizedWeight:
        """(N, K), a scale for each of the N sums; coarse enough that the bias fits int32."""
        values = numpy_helper.to_array(self.original[product.weight])
        rows = values if product.transposed else np.ascontiguousarray(values.T)
        least = np.zeros(len(rows))
        if product.bias is not None:
            bias = numpy_helper.to_array(self.original[product.bias]).astype(np.float64)
            least = np.abs(bias) / (float(self.scales[product.data]) * BIAS_MAX)
            least[least <= np.abs(rows).max(1) / 128] = 0
        request = Request(product.weight, self.plan.per_channel, self.plan.pair_safe, least.tobytes(), quantize_weight)
        if request not in self.known:
            self.known[request] = quantize_weight(
                rows, per_channel=request.per_channel, pair_safe=request.pair_safe, least=least
            )
        return self.known[request]

    def _integer_to_float(self, node: onnx.NodeProto, product: Product) -> onnx.NodeProto:
        """The QOperator form. An Add behind a MatMul stays as it is; the bias of a Gemm is the product's own."""
        weight = self._weight(product)
        q, scale, zero_point = self.inputs[product.data]
        stored = [
            self._store(np.ascontiguousarray(weight.q.T), f"{product.weight}_quantized"),
            self._store(weight.scale, f"{product.weight}_scale"),
            self._store(np.zeros(len(weight.scale), np.int8), f"{product.weight}_zero_point"),
        ]
        inputs = [q, stored[0], scale, stored[1], zero_point, stored[2]]
        bias = [product.bias] if product.bias is not None and product.add is None else []
        return helper.make_node("MatMulIntegerToFloat", [*inputs, *bias], node.output, node.name, domain=DOMAIN)

    def _dequantizing(self, node: onnx.NodeProto, product: Product) -> Iterator[onnx.NodeProto]:
        """The QDQ form."""
        weight = self._weight(product)
        data = fresh(f"{product.data}_dequantized", self.taken)
        yield helper.make_node("DequantizeLinear", self.inputs[product.data], [data], data)
        stored = weight.q if product.transposed else np.ascontiguousarray(weight.q.T)
        q = self._store(stored, f"{product.weight}_quantized")
        name, dequantize = self._dequantize(q, weight.scale, np.int8, axis=0 if product.transposed else 1)
        yield dequantize
        node.input[0], node.input[1] = data, name
        if product.bias is not None and product.add is None:
            node.input[2], dequantize = self._bias(product, product.bias)
            yield dequantize
        yield node

    def _bias(self, product: Product, bias: str) -> tuple[str, onnx.NodeProto]:
        """A bias in steps of what it is added to, int32, and what dequantizes it."""
        scale = (self.scales[product.data] * self._weight(product).scale).astype(np.float32)
        values = numpy_helper.to_array(self.original[bias]).astype(np.float64)
        q = self._store(np.rint(values / scale).astype(np.int32), f"{bias}_quantized")
        return self._dequantize(q, scale, np.int32, axis=0)

    def _dequantize(self, q: str, scale: Floats, kind: type[np.integer[Any]], axis: int) -> tuple[str, onnx.NodeProto]:
        """A DequantizeLinear of something stored, and what it makes."""
        per_channel = self.plan.per_channel
        of = scale if per_channel else scale[0]
        names = [self._store(of, f"{q}_scale"), self._store(np.zeros(of.shape, kind), f"{q}_zero_point")]
        node = helper.make_node("DequantizeLinear", [q, *names], [fresh(f"{q}_dequantized", self.taken)])
        node.name = node.output[0]
        if per_channel:
            node.attribute.append(helper.make_attribute("axis", axis))
        return node.output[0], node

    def _store(self, value: NDArray[Any] | np.generic, wanted: str) -> str:
        name = fresh(wanted, self.taken)
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Initializers that nothing reads."""
    read = {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    if len(kept) != len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)
