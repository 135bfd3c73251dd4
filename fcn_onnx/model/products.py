"""Matrix products with a stored weight: the linear layers of a network."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from fcn_onnx.model.uses import captured, is_op, readers

PRODUCT_OPS = ("Gemm", "MatMul")


@dataclass(frozen=True)
class Product:
    """x · W + b.

    Attributes:
        node: a MatMul, or a Gemm that neither scales nor transposes its data.
        data, weight: names of x, (…, K), and of W.
        transposed: W is stored as (N, K), not (K, N).
        bias: name of b, (N,); None where there is none.
        add: the node behind a MatMul that adds b; None where the product does itself, or there is no b.
    """

    node: onnx.NodeProto
    data: str
    weight: str
    transposed: bool
    bias: str | None
    add: onnx.NodeProto | None


def stored_products(graph: onnx.GraphProto) -> dict[str, Product]:
    """Products of what is computed with a float32 matrix that is stored, by the name of their node."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    found = readers(graph)
    seen = captured(graph) | {value.name for value in graph.output}

    def matrix(name: str) -> onnx.TensorProto | None:
        tensor = stored.get(name)
        return tensor if tensor and len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT else None

    def vector(name: str, length: int) -> bool:
        return name in stored and list(stored[name].dims) == [length]

    products = {}
    for node in graph.node:
        if not is_op(node, *PRODUCT_OPS) or node.input[0] in stored or (weight := matrix(node.input[1])) is None:
            continue
        if is_op(node, "MatMul"):
            reads = found.get(node.output[0], [])
            add = reads[0][0] if len(reads) == 1 and node.output[0] not in seen and is_op(reads[0][0], "Add") else None
            bias = next((n for n in add.input if vector(n, weight.dims[1])), None) if add is not None else None
            products[node.name] = Product(node, node.input[0], node.input[1], False, bias, add if bias else None)
            continue
        given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = given.get("alpha", 1) == 1 and given.get("beta", 1) == 1 and not given.get("transA", 0)
        transposed = bool(given.get("transB", 0))
        length = weight.dims[0 if transposed else 1]
        biased = any(node.input[2:])
        if plain and (not biased or vector(node.input[2], length)):
            bias = node.input[2] if biased else None
            products[node.name] = Product(node, node.input[0], node.input[1], transposed, bias, None)
    return products
