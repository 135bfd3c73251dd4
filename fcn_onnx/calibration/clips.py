"""Ranges that a model brings itself: after TI's training for int8 (edgeai-modeloptimization, v1) quantizers are Clips.

The exporter writes float Conv and Clip nodes, and no QuantizeLinear. Clip(0, 2ᵏ) stands for unsigned codes 0 … 255 of
scale 2ᵏ/256, Clip(−2ᵏ, 2ᵏ) for signed ones −128 … 127 of scale 2ᵏ/128, both of zero point 0; other bounds, such as a
ReLU6's, are no quantizer. Signed codes plus 128 are unsigned ones of the same scale with zero point 128 and the same
values. So a range whose ends are multiples of the scale, 255 steps apart, says all of it, and all 8-bit tensors of a
file can be of one type.

In training there was a quantizer behind each rectifier, addition, concatenation and pooling, behind each convolution
without a rectifier, and before the first one; none behind a Resize. What computed on values that no quantizer had
rounded computes on such here: in fp32. (`xmodelopt/quantization/v1/quant_train_module.py`, `docs/qat.md`.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import frexp, ldexp

import onnx
from onnx import TensorProto, numpy_helper

from fcn_onnx.calibration.observed import QUANTIZABLE, SELECTORS, observed_tensors
from fcn_onnx.calibration.table import Range
from fcn_onnx.model.graph import Graph
from fcn_onnx.model.uses import is_op, producers, readers

METHOD = "clips"
EXPONENTS = range(-64, 65)
"""Of the bounds: scales, and products of two of them, are normal float32 numbers."""

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Clips:
    """The ranges that the quantizers of a model say.

    Attributes:
        ranges: by tensor, for those that are quantized.
        count: of the quantizers.
        float_nodes: names of nodes that computed on values that were not rounded, in graph order.
        derived: tensors without a quantizer that a layer reads, which got a range all the same.
        missing: tensors that a layer reads or writes and that have none.
        unrounded: what clips write that only nodes in fp32 make and read, so that nothing rounds it.
    """

    ranges: Mapping[str, Range]
    count: int
    float_nodes: tuple[str, ...]
    derived: tuple[str, ...]
    missing: tuple[str, ...]
    unrounded: tuple[str, ...]


def read_clips(fp32: Graph, image: float) -> Clips:
    """The quantizers of a model, and what they leave open.

    Where a layer reads a resized tensor, it is quantized like what was resized, between whose values it lies; where it
    reads the model's input, that gets ± the power of two that holds `image`.

    Args:
        fp32: the model after intake.
        image: the largest magnitude in a normalised photograph.
    """
    graph = fp32.model.graph
    own = _quantizers(graph)
    known = {name: own[root] for name, root in observed_tensors(fp32).carried.items() if root in own}
    layers = [node for node in graph.node if is_op(node, *LAYERS)]
    resized = _resized(graph)
    inputs = {value.name for value in graph.input}
    derived: dict[str, Range] = {}
    for node in layers:
        root = node.input[0]
        while root not in known and root in resized:
            root = resized[root]
        if root in known and node.input[0] not in known:
            derived[node.input[0]] = known[root]
        elif root in inputs:
            derived[node.input[0]] = _signed(_exponent(image))
    ranges = known | derived
    last = _last(graph)
    floats = tuple(
        node.name
        for node in graph.node
        if node.output[0] in fp32.floats
        and (_was_float(node, fp32, ranges) or (node.name in last and node.output[0] not in ranges))
    )
    read = [name for node in layers for name in (node.input[0], node.output[0]) if node.name not in floats]
    missing = tuple(dict.fromkeys(name for name in read if name in fp32.floats and name not in ranges))
    int8 = {node.name for node in graph.node if is_op(node, *QUANTIZABLE, *LAYERS)} - set(floats)
    return Clips(ranges, len(own), floats, tuple(derived), missing, _unrounded(graph, own.keys(), int8))


def _quantizers(graph: onnx.GraphProto) -> dict[str, Range]:
    """What the Clips between powers of two stand for, by the tensor that they write."""
    bounds = {
        tensor.name: float(numpy_helper.to_array(tensor).reshape(-1)[0])
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and tensor.dims in ([], [1])
    }
    found = {}
    for node in graph.node:
        lowest, highest = (bounds.get(name) for name in (*node.input[1:3], "", "")[:2])
        if not is_op(node, "Clip") or lowest is None or highest is None or lowest not in (0, -highest):
            continue
        mantissa, exponent = frexp(highest)
        if mantissa == 0.5 and exponent - 1 in EXPONENTS:
            found[node.output[0]] = _signed(exponent - 1) if lowest else _unsigned(exponent - 1)
    return found


def _unsigned(exponent: int) -> Range:
    return Range(0.0, ldexp(255 / 256, exponent))


def _signed(exponent: int) -> Range:
    return Range(-ldexp(1, exponent), ldexp(127 / 128, exponent))


def _exponent(magnitude: float) -> int:
    """Of the least power of two that holds it."""
    mantissa, exponent = frexp(magnitude)
    return exponent - (mantissa == 0.5)


def _resized(graph: onnx.GraphProto) -> dict[str, str]:
    """What is interpolated between the values of what."""
    return {
        node.output[0]: node.input[0]
        for node in graph.node
        if is_op(node, "Resize", "Upsample")
        and not any(attribute.name == "mode" and attribute.s == b"cubic" for attribute in node.attribute)
    }


def _was_float(node: onnx.NodeProto, fp32: Graph, ranges: Mapping[str, Range]) -> bool:
    """Whether a node other than a layer read or made what no quantizer rounds, or a pooling made another's codes."""
    if not is_op(node, *(QUANTIZABLE - set(LAYERS))):
        return False
    given = [ranges.get(name) for name in (*node.input, *node.output) if name in fp32.floats]
    return None in given or (is_op(node, *SELECTORS) and given[0] != given[-1])


def _unrounded(graph: onnx.GraphProto, clipped: Collection[str], int8: Collection[str]) -> tuple[str, ...]:
    """Of the tensors that the quantizers write, those between nodes in fp32."""
    makers, found = producers(graph), readers(graph)
    lost = []
    for name in clipped:
        maker = makers.get(makers[name].input[0])
        if (maker is None or maker.name not in int8) and not any(node.name in int8 for node, _ in found.get(name, [])):
            lost.append(name)
    return tuple(lost)


def _last(graph: onnx.GraphProto) -> set[str]:
    """Names of the layers behind which there is none."""
    ahead: set[str] = set()
    last = set()
    for node in reversed(graph.node):
        followed = bool(ahead.intersection(node.output))
        if is_op(node, *LAYERS) and not followed:
            last.add(node.name)
        if followed or is_op(node, *LAYERS):
            ahead.update(node.input)
    return last
