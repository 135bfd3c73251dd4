"""Multiply-accumulates counted literally: every tensor's real shape, seen by running the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from fcn_onnx.model.intake import take_in
from fcn_onnx.runtime.onnxruntime import executed_graph

OPERANDS = {
    **dict.fromkeys(("Conv", "ConvTranspose", "MatMul", "Gemm", "ConvInteger", "MatMulInteger"), (0, 1)),
    **dict.fromkeys(("MatMulIntegerToFloat", "DynamicQuantizeMatMul"), (0, 1)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), (0, 3)),
}
IN_INT8 = ("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat")
Fed = dict[str, NDArray[Any]]


def macs(model: onnx.ModelProto, fed: Fed, operators: tuple[str, ...] = tuple(OPERANDS)) -> int:
    """Multiply-accumulates of the operators named, for what the model is fed."""
    shapes = _shapes(model, fed)
    return sum(_of(node, shapes) for node in model.graph.node if node.op_type in operators)


def int8_share(int8: Path, fp32: Path, fed: Fed) -> float:
    """Of the fp32 graph's multiply-accumulates, how many onnxruntime executes on 8-bit integers.

    The graph is that after intake: the convolution that stands for a ConvTranspose makes the cropped pixels too.
    """
    return macs(executed_graph(int8), fed, IN_INT8) / macs(take_in(onnx.load(fp32), "foreign"), fed)


def _of(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    first, second = OPERANDS[node.op_type]
    left, right, result = (shapes[name] for name in (node.input[first], node.input[second], node.output[0]))
    if node.op_type == "ConvTranspose":
        return int(np.prod(left) * np.prod(right[1:]))
    if node.op_type.endswith("Conv") or node.op_type == "ConvInteger":
        return int(np.prod(result) * np.prod(right[1:]))
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return int(np.prod(result) * (left[0] if transposed else left[-1]))


def _shapes(model: onnx.ModelProto, fed: Fed) -> dict[str, tuple[int, ...]]:
    """Of every tensor."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    returned = {value.name for value in tapped.graph.output}
    written = {name for node in tapped.graph.node for name in node.output if name} - returned
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(written))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    shapes = {name: np.shape(value) for name, value in zip(names, session.run(names, fed), strict=True)}
    constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return shapes | constants | {name: value.shape for name, value in fed.items()}
