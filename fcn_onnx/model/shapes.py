"""Shapes and element types of inner tensors at one image size.

onnx infers the shapes of a whole model in one call, but follows sizes that the graph computes only through a few
operators, and none through division. So the graph is walked here node by node: onnx infers each one, and what small
tensors hold (shapes, scales, axes) is computed by onnx's reference on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, TypeProto, checker, defs, helper, numpy_helper, shape_inference

from fcn_onnx.model.contributed import standard_node
from fcn_onnx.model.form import image_input, image_layout
from fcn_onnx.model.uses import STANDARD, subgraphs

Shape = tuple[int | str, ...]

SMALL = 4096
"""Elements of the largest tensor whose values are followed: no shape is longer."""
QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""What makes no shape, though its inputs are often small constants."""


@dataclass(frozen=True)
class TensorType:
    """What is known about one tensor.

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
    walk = _Walk(model)
    image = image_input(model)
    layout = image_layout(model)
    wanted = (1, *size, layout.channels) if layout.channels_last else (1, layout.channels, *size)
    for value in model.graph.input:
        kind = TypeProto()
        kind.CopyFrom(value.type)
        for dimension, length in zip(kind.tensor_type.shape.dim, wanted if value == image else (), strict=False):
            if not dimension.HasField("dim_value"):
                dimension.dim_value = length
        walk.types.setdefault(value.name, kind)  # an initializer may be listed as an input
    for node in model.graph.node:
        walk.visit(node)
    return {
        name: TensorType(_dimensions(kind.tensor_type), kind.tensor_type.elem_type)
        for name, kind in walk.types.items()
        if kind.tensor_type.HasField("shape")
    }


class _Walk:
    """What is known of the tensors so far: their types, and of small ones what they hold."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.opset = next((self.opsets[domain] for domain in STANDARD if domain in self.opsets), 1)
        self.imports = [helper.make_opsetid("", self.opset)]
        self.ir_version = model.ir_version
        self.types: dict[str, TypeProto] = {}
        self.values: dict[str, TensorProto] = {}
        for tensor in model.graph.initializer:
            self._hold(tensor.name, tensor)

    def visit(self, node: onnx.NodeProto) -> None:
        """Learn what can be known of the node's results."""
        standard = standard_node(node, self.opset)
        if standard is None:
            return
        found = self._values(standard)
        if found is not None:
            for name, value in zip(node.output, found, strict=False):
                self._hold(name, numpy_helper.from_array(np.asarray(value), name))
            return
        self.types.update(self._inferred(standard))

    def _hold(self, name: str, tensor: TensorProto) -> None:
        self.types[name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        if int(np.prod(tensor.dims)) <= SMALL:
            self.values[name] = tensor

    def _values(self, node: onnx.NodeProto) -> list[Any] | None:
        """What the results hold; None where that is not known, or no shape."""
        if node.op_type in ("Shape", "Size"):
            return self._measured(node)
        read = [name for name in node.input if name]
        known = all(name in self.values for name in read) and (read or node.op_type == "Constant")
        if not known or node.op_type in QUANTIZERS or any(subgraphs(node)):
            return None
        from onnx.reference import ReferenceEvaluator

        given = {name: numpy_helper.to_array(self.values[name]) for name in read}
        try:
            return list(ReferenceEvaluator(self._alone(node)).run(None, given))
        except Exception:  # it raises whatever numpy does; the shape may still be inferred
            return None

    def _measured(self, node: onnx.NodeProto) -> list[Any] | None:
        kind = self.types.get(node.input[0] if node.input else "", TypeProto()).tensor_type
        if not kind.HasField("shape"):
            return None
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        dimensions = _dimensions(kind)[attributes.get("start", 0) : attributes.get("end")]
        if not all(isinstance(length, int) for length in dimensions):
            return None
        lengths = np.array(dimensions, np.int64)
        return [lengths if node.op_type == "Shape" else lengths.prod()]

    def _inferred(self, node: onnx.NodeProto) -> Mapping[str, TypeProto]:
        """Types of the results, as far as onnx knows them."""
        unknown = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        types = {name: self.types.get(name, unknown) for name in node.input if name}
        held = {name: self.values[name] for name in types if name in self.values}
        try:
            found = self._by_schema(node, types, held)
        except checker.ValidationError:  # a stand-in takes no 8-bit integers, which only this way of inferring minds
            found = None
        except (shape_inference.InferenceError, defs.SchemaError, ValueError, TypeError):  # also of types that are none
            return {}
        if found is None:
            alone = self._alone(node, types)
            alone.graph.initializer.extend(held.values())
            try:
                graph = shape_inference.infer_shapes(alone).graph
            except shape_inference.InferenceError:
                return {}
            found = {value.name: value.type for value in graph.output}
        return {name: kind for name, kind in found.items() if kind.HasField("tensor_type")}

    def _by_schema(
        self, node: onnx.NodeProto, types: Mapping[str, TypeProto], held: dict[str, TensorProto]
    ) -> Mapping[str, TypeProto] | None:
        """None for an operator that onnx defines by others."""
        schema = defs.get_schema(node.op_type, self.opset)
        if not schema.has_type_and_shape_inference_function:
            return None
        seen = {**self.types, **types} if any(subgraphs(node)) else dict(types)
        found: Mapping[str, TypeProto] = shape_inference.infer_node_outputs(
            schema, node, seen, held, opset_imports=self.imports, ir_version=self.ir_version
        )
        return found

    def _alone(self, node: onnx.NodeProto, types: Mapping[str, TypeProto] | None = None) -> onnx.ModelProto:
        """A model of this node, which may be evaluated or inferred."""
        kinds = types or {name: self.types[name] for name in node.input if name}
        inputs = [helper.make_value_info(name, kind) for name, kind in kinds.items()]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "alone", inputs, outputs)
        return helper.make_model(graph, opset_imports=self.imports, ir_version=self.ir_version)


def declared_shape(value: onnx.ValueInfoProto) -> Shape:
    """The shape that a graph's input or output declares; () where it declares none."""
    return _dimensions(value.type.tensor_type)


def fixed_size(model: onnx.ModelProto) -> tuple[int, int] | None:
    """The one (height, width) that the model takes, whatever its layout; None if it takes any."""
    shape = _image_shape(model)
    height, width = (shape[1:3] if image_layout(model).channels_last else shape[2:]) if len(shape) == 4 else ("", "")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _image_shape(model: onnx.ModelProto) -> Shape:
    image = image_input(model)
    return declared_shape(image) if image else ()


def _dimensions(kind: TypeProto.Tensor) -> Shape:
    return tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or "?") for d in kind.shape.dim)
