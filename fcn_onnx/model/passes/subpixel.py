"""Learned upsampling as a convolution: onnxruntime has no 8-bit ConvTranspose."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from fcn_onnx.model.uses import captured, fresh, group_of, is_op, keep_nodes, readers, tensor_names

POINTWISE = ("Relu", "Clip", "LeakyRelu")
"""These commute with moving values: before the move, onnxruntime fuses them into the convolution."""

MOST_ZEROS = 2.0
"""The convolution's weight is at most this many times as large as the one it stands for; the rest of it is 0."""

TO_THE_END = np.iinfo(np.int64).max
Array = NDArray[np.float32]


def spread_transposed(graph: onnx.GraphProto, kept: Collection[str]) -> None:
    """Write a ConvTranspose of stride s as a Conv to s² as many channels, a DepthToSpace, and a Slice where it crops.

    A pixel z = s · u + r of the uncropped result is Σⱼ x[u − j] · W[s · j + r], so the pixels of each phase r are a
    convolution of x by every s-th weight, mirrored (Shi et al., "Is the deconvolution layer the same as a convolutional
    layer?", 2016). The same sums, in another order. A rectifier that alone reads the result comes before the move. The
    Conv has the node's name.

    Args:
        kept: names of nodes that stay.
    """
    values = {tensor.name: tensor for tensor in graph.initializer}
    found = readers(graph)
    seen = captured(graph) | {value.name for value in graph.output}
    taken = tensor_names(graph) | {node.name for node in graph.node}
    nodes: list[onnx.NodeProto] = []
    gone: set[str] = set()
    for node in graph.node:
        if node.name in gone:
            continue
        form = _form(node, values) if node.name not in kept else None
        if form is None:
            nodes.append(node)
            continue
        reads = found.get(node.output[0], [])
        alone = len(reads) == 1 and node.output[0] not in seen and reads[0][1] == 0
        rectifier = reads[0][0] if alone and is_op(reads[0][0], *POINTWISE) else None
        if rectifier is not None:
            gone.add(rectifier.name)
        nodes += _spread(graph, node, form, rectifier, values, taken)
    keep_nodes(graph, nodes)


@dataclass(frozen=True)
class _Form:
    """A ConvTranspose that can be spread.

    Attributes:
        weight: (C, M, kH, kW).
        stride: of both axes.
        begin: rows and columns that are cropped at the top and at the left.
        end: of those that the convolution makes, cropped at the bottom and at the right.
    """

    weight: Array
    stride: int
    begin: tuple[int, int]
    end: tuple[int, int]

    @property
    def taps(self) -> tuple[int, int]:
        """Rows and columns of the convolution's kernel."""
        height, width = (-(-side // self.stride) for side in self.weight.shape[2:])
        return height, width

    def phases(self) -> Array:
        """The convolution's weight (s² · M, C, ⌈kH / s⌉, ⌈kW / s⌉), in the order in which DepthToSpace wants it."""
        inputs, outputs, *kernel = self.weight.shape
        stride, (high, wide) = self.stride, self.taps
        whole = np.zeros((inputs, outputs, high * stride, wide * stride), np.float32)
        whole[:, :, : kernel[0], : kernel[1]] = self.weight
        apart = whole.reshape(inputs, outputs, high, stride, wide, stride)[:, :, ::-1, :, ::-1]
        return np.ascontiguousarray(apart.transpose(3, 5, 1, 0, 2, 4)).reshape(-1, inputs, high, wide)


def _form(node: onnx.NodeProto, values: Mapping[str, onnx.TensorProto]) -> _Form | None:
    """How `node` is spread; None where it is no such ConvTranspose, or would be mostly zeros."""
    if not is_op(node, "ConvTranspose") or any(name not in values for name in node.input[1:] if name):
        return None
    tensor = values[node.input[1]]
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    plain = given.get("auto_pad", b"NOTSET") == b"NOTSET" and "output_shape" not in given and group_of(node) == 1
    if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) != 4 or not plain:
        return None
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    if strides[0] != strides[1] or strides[0] < 2 or any(step != 1 for step in dilations):
        return None
    weight, stride = numpy_helper.to_array(tensor), int(strides[0])
    pads, more = given.get("pads", [0] * 4), given.get("output_padding", [0, 0])
    surplus = [-side % stride for side in weight.shape[2:]]
    end = tuple(surplus[axis] + pads[2 + axis] - more[axis] for axis in (0, 1))
    form = _Form(weight, stride, (pads[0], pads[1]), (end[0], end[1]))
    zeros = np.prod([taps * stride for taps in form.taps]) / np.prod(weight.shape[2:])
    return form if min(end) >= 0 and zeros <= MOST_ZEROS else None


def _spread(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    form: _Form,
    rectifier: onnx.NodeProto | None,
    values: Mapping[str, onnx.TensorProto],
    taken: set[str],
) -> list[onnx.NodeProto]:
    """Conv, the rectifier, DepthToSpace, Slice; the last of them writes what the first two nodes wrote."""
    result = (rectifier or node).output[0]

    def stored(value: NDArray[np.generic], wanted: str) -> str:
        name = fresh(wanted, taken)
        graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    last = node.input[1]
    parameters = [stored(form.phases(), f"{last}_phases")]
    if any(node.input[2:]):
        bias = numpy_helper.to_array(values[node.input[2]])
        parameters.append(stored(np.tile(bias, form.stride**2), f"{node.input[2]}_phases"))
    high, wide = form.taps
    phases = fresh(f"{node.output[0]}_phases", taken)
    pads = [high - 1, wide - 1] * 2
    conv = helper.make_node(
        "Conv", [node.input[0], *parameters], [phases], node.name, kernel_shape=[high, wide], pads=pads
    )
    nodes = [conv]
    if rectifier is not None:
        active = fresh(f"{result}_phases", taken)
        rectifier.input[0], rectifier.output[0], phases = phases, active, active
        nodes.append(rectifier)
    cropped = any(form.begin) or any(form.end)
    whole = fresh(f"{result}_whole", taken) if cropped else result
    nodes.append(helper.make_node("DepthToSpace", [phases], [whole], fresh(whole, taken), blocksize=form.stride))
    if cropped:
        ends = [-crop if crop else TO_THE_END for crop in form.end]
        bounds = [(list(form.begin), "begin"), (ends, "end"), ([2, 3], "axes")]
        given = [stored(np.array(value, np.int64), f"{result}_{name}") for value, name in bounds]
        nodes.append(helper.make_node("Slice", [whole, *given], [result], fresh(f"{result}_crop", taken)))
    return nodes
