"""What makes the logits, and what they pass on their way to a graph's outputs: all of it stays fp32.

It costs next to nothing (0.03 % of an FCN's work), and 8-bit logits flip labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from fcn_onnx.model.macs import OPERATORS
from fcn_onnx.model.uses import STANDARD, captured, group_of, producers

LAYOUTS = {"Identity", "Dropout", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile"}
GRIDS = {"Resize", "Upsample", "Slice", "Pad", "CenterCropPad", "DepthToSpace", "SpaceToDepth", "GridSample"}
RECTIFIERS = {"Relu", "Clip"}
CURVES = {"Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Exp", "Log", "Neg", "Abs", "Sqrt", "Not"} | RECTIFIERS
ROUNDING = {"Round", "Floor", "Ceil"}
NORMS = {"Softmax", "LogSoftmax", "Hardmax", "LpNormalization"}
STATISTICS = {"BatchNormalization", "InstanceNormalization", "LayerNormalization"}
REDUCTIONS = {"ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceLogSumExp"}
CHOICES = {"ArgMax", "ArgMin", "TopK", "Gather", "Split"}
SHOWING = frozenset(LAYOUTS | GRIDS | CURVES | ROUNDING | NORMS | STATISTICS | REDUCTIONS | CHOICES)
"""Operators that show, move, crop, choose from or normalise what their first input holds."""

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Pow", "Sum", "Mean", "Max", "Min"}
COMPARISONS = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or"}
COMBINING = frozenset(ARITHMETIC | COMPARISONS | {"Concat", "Where"})
"""Operators that make one map of several."""

MEASURING = frozenset({"Shape", "Size"})
"""Operators that read no value."""

ELSEWHERE_INT8 = frozenset(
    {"Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "Softmax", "Add", "Mul", "Concat"} | OPERATORS.keys()
)
"""Operators that one of the backends quantizes; the others stay fp32 without being told."""


def logits_nodes(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names, in graph order, of the nodes that make the logits or show them and would else be quantized.

    Walks back from every output to the first convolution or matrix product on each way. What lies between shows the
    scores (`SHOWING`), or makes one map of several (`COMBINING`): sums of score maps, crops, gates by an attention. A
    sum is followed into those of its operands only that nothing else reads but what is shown itself: the shortcut of a
    residual block feeds a convolution too, so no walk leaves the head. A convolution that filters the score maps one by
    one, such as FCN-8s's bilinear ConvTranspose, is passed, and what made its input stays fp32 too. Features that are
    an output and are computed with as well are no scores, if a sum or a rectifier made them.

    Args:
        model: an fp32 graph after intake.
    """
    graph = model.graph
    made_by = producers(graph)
    computed = _computed(graph)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    used = _used(graph, shapes)
    found: set[str] = set()
    ahead = [value.name for value in graph.output]
    while ahead:
        node = made_by.get(ahead.pop())
        if node is None or node.name in found or node.domain not in STANDARD:
            continue
        if node.op_type in COMBINING | RECTIFIERS and node.output[0] in used:
            continue  # features that are an output too
        read = [name for name in node.input if name in computed]
        if _filters_scores(node, shapes) or node.op_type in SHOWING:
            found.add(node.name)
            ahead.append(node.input[0])
        elif node.op_type in COMBINING:
            found.add(node.name)
            ahead.extend(read if len(read) == 1 else [name for name in read if name not in used])
        elif node.op_type in OPERATORS:
            found.add(node.name)
    return tuple(n.name for n in graph.node if n.name in found and n.op_type in ELSEWHERE_INT8)


def _computed(graph: onnx.GraphProto) -> frozenset[str]:
    """Tensors that depend on the graph's inputs."""
    found = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if any(name in found for name in node.input):
            found.update(node.output)
    return frozenset(found)


def _used(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> frozenset[str]:
    """Tensors of which something is made that is not merely shown: all but the heads' own."""
    found = set(captured(graph))
    for node in reversed(graph.node):  # whoever reads a result stands behind its maker
        shows = node.domain in STANDARD and (
            node.op_type in SHOWING or node.op_type in COMBINING or _filters_scores(node, shapes)
        )
        if node.op_type not in MEASURING and (not shows or found.intersection(node.output)):
            found.update(node.input)
    return frozenset(found)


def _filters_scores(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether it makes as many maps as it reads, each its own or by upsampling: a depthwise Conv, a ConvTranspose."""
    weight = shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
    if node.op_type == "ConvTranspose":  # (C, M/group, …)
        return len(weight) > 2 and weight[0] == weight[1] * group_of(node)
    return node.op_type == "Conv" and len(weight) > 2 and weight[0] == group_of(node) and weight[1] == 1
