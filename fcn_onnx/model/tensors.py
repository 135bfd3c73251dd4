"""The tensors that a model file holds, and whether each has the values that its dimensions say.

onnx's shape inference and onnxruntime's optimiser read that many, whether they are there or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod

import onnx
from onnx import SparseTensorProto, TensorProto, helper, numpy_helper

from fcn_onnx.errors import ModelError

PACKED_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}
"""Types of which several values share a byte."""

FIELDS: Mapping[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.COMPLEX64: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.COMPLEX128: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.STRING: "string_data",
}
"""Where the values of a type are that are not raw; those of all others are in `int32_data`."""

PAIRS = frozenset({TensorProto.COMPLEX64, TensorProto.COMPLEX128})


def tensors_of(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor that holds values, those in nodes, in their subgraphs and in functions among them."""
    yield from _in_graph(model.graph)
    for function in model.functions:
        yield from _in_nodes(function.node)


def sparse_tensors_of(model: onnx.ModelProto) -> Iterator[SparseTensorProto]:
    """Every sparse tensor, likewise; those in functions are left out, as nothing here runs them."""
    yield from _sparse_in(model.graph)


def tensor_bytes(tensor: TensorProto) -> int:
    """Bytes of the values of a numeric tensor, read off its shape and type; 0 for strings.

    Raises:
        ValueError: no such type is known.
    """
    if tensor.data_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0
    return int(prod(tensor.dims) * _bits(tensor.data_type) + 7) // 8


def require_whole(model: onnx.ModelProto, name: str) -> None:
    """Check that every tensor inside of the file has as many values as its dimensions say.

    Raises:
        ModelError: one has not; or its dimensions or its type are none; `name` says in which file.
    """
    found = "a sparse tensor"
    try:
        for tensor in tensors_of(model):
            found = f"the tensor {tensor.name!r}"
            _check(tensor)
        for sparse in sparse_tensors_of(model):
            found = f"the sparse tensor {sparse.values.name!r}"
            _check_sparse(sparse)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{found} of {name} {error}", fix="make the model again; this file is damaged") from error


def _check(tensor: TensorProto) -> None:
    """Raise ValueError, whose words follow the tensor's name, where its values are not those that it says."""
    if any(length < 0 for length in tensor.dims):
        raise ValueError(f"has the dimensions {list(tensor.dims)}")
    if tensor.data_location == TensorProto.EXTERNAL:
        return  # its file is looked at when it is read
    count = prod(tensor.dims)
    if tensor.HasField("raw_data"):
        expected, there = tensor_bytes(tensor), len(tensor.raw_data)
        if expected != there and (there or tensor.data_type != TensorProto.STRING):
            raise ValueError(f"holds {there} bytes, and its dimensions {list(tensor.dims)} need {expected}")
        return
    values = len(getattr(tensor, FIELDS.get(tensor.data_type, "int32_data")))
    wanted = 2 * count if tensor.data_type in PAIRS else count
    if tensor.data_type not in FIELDS and _bits(tensor.data_type) < 8:
        wanted = -(-count * _bits(tensor.data_type) // 8)
    if values != wanted:
        raise ValueError(f"holds {values} values, and its dimensions {list(tensor.dims)} need {wanted}")


def _check_sparse(sparse: SparseTensorProto) -> None:
    """Likewise; its values and indices as such have been checked, and are numbers."""
    dims, values = list(sparse.dims), list(sparse.values.dims)
    if len(values) != 1 or any(length < 1 for length in dims) or sparse.indices.data_type != TensorProto.INT64:
        raise ValueError(f"has the dimensions {dims} and values of the dimensions {values}")
    if list(sparse.indices.dims) not in ([values[0]], [values[0], len(dims)]):
        raise ValueError(f"has {values[0]} values and indices of the dimensions {list(sparse.indices.dims)}")
    if TensorProto.EXTERNAL in (sparse.values.data_location, sparse.indices.data_location):
        raise ValueError("keeps its values in another file, which is not read")
    indices = numpy_helper.to_array(sparse.indices)
    limits = [prod(dims)] if indices.ndim == 1 else dims
    if indices.size and ((indices < 0).any() or (indices.reshape(-1, len(limits)) >= limits).any()):
        raise ValueError(f"has an index outside of its dimensions {dims}")


def _bits(data_type: int) -> int:
    """Of one value. Raises ValueError where no such type is known."""
    try:
        name = TensorProto.DataType.Name(data_type)
        return PACKED_BITS.get(name) or 8 * int(helper.tensor_dtype_to_np_dtype(data_type).itemsize)
    except (ValueError, KeyError) as error:
        raise ValueError(f"is of the unknown type {data_type}") from error


def _in_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _in_nodes(graph.node)


def _in_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in _sparse(attribute):
            yield from (sparse.values, sparse.indices)
        for inner in _graphs(attribute):
            yield from _in_graph(inner)


def _sparse_in(graph: onnx.GraphProto) -> Iterator[SparseTensorProto]:
    yield from graph.sparse_initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from _sparse(attribute)
        for inner in _graphs(attribute):
            yield from _sparse_in(inner)


def _sparse(attribute: onnx.AttributeProto) -> list[SparseTensorProto]:
    own = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    return own + list(attribute.sparse_tensors)


def _graphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    return ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)
