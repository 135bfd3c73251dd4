"""Constant nodes become initializers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from fcn_onnx.errors import ModelError
from fcn_onnx.model.uses import fresh, is_op, keep_nodes, tensor_names

Values = Callable[[onnx.AttributeProto], TensorProto]

FORMS: Mapping[str, Values] = {
    "value": lambda given: given.t,
    "value_float": lambda given: numpy_helper.from_array(np.array(given.f, np.float32)),
    "value_floats": lambda given: numpy_helper.from_array(np.array(given.floats, np.float32)),
    "value_int": lambda given: numpy_helper.from_array(np.array(given.i, np.int64)),
    "value_ints": lambda given: numpy_helper.from_array(np.array(given.ints, np.int64)),
    "value_string": lambda given: numpy_helper.from_array(np.array(given.s, object)),
    "value_strings": lambda given: numpy_helper.from_array(np.array(list(given.strings), object)),
}


def lift_constants(graph: onnx.GraphProto, name: str) -> None:
    """Give every Constant node's value to an initializer of its output's name; those in subgraphs stay.

    A constant that is an output of the graph keeps an Identity, as an output needs a node.

    Raises:
        ModelError: a constant is sparse.
    """
    outputs = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        if not is_op(node, "Constant"):
            kept.append(node)
            continue
        (attribute,) = node.attribute
        if attribute.name not in FORMS:
            raise ModelError(f"{name}: the constant {node.output[0]!r} is sparse", fix="export it as a dense tensor")
        tensor = graph.initializer.add()
        tensor.CopyFrom(FORMS[attribute.name](attribute))
        tensor.name = node.output[0]
        if tensor.name in outputs:
            tensor.name = fresh(f"{tensor.name}_value", tensor_names(graph))
            kept.append(onnx.helper.make_node("Identity", [tensor.name], [node.output[0]], node.name))
    keep_nodes(graph, kept)
