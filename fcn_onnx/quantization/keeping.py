"""What a file keeps in fp32 runs in fp32: the form that onnxruntime leaves alone, and the proof that it did.

From 1.21 on, onnxruntime's WeightBiasQuantization rounds float32 weights per tensor to int8, at load and unsaid, in any
Conv, ConvTranspose or Gemm whose input comes from a DequantizeLinear with one scale (microsoft/onnxruntime#22969). 1.21
looks at that alone; 1.31 and 1.32 want a QuantizeLinear behind the layer too. So something must stand between the two
that computes nothing, costs next to nothing, and that no optimiser drops, as Identity, Dropout, · 1, + 0 and an idle
Cast are. Tried on a chain of nine convolutions (256 channels, 64×64, four of them kept; opset 11 and 12 QOperator, 12,
13 and 17 QDQ; onnxruntime 1.21.1, 1.31.0 and 1.32.0; CPU time on one thread against WeightBiasQuantization disabled):

    between                                 kept convolutions run in fp32     CPU time        legal
    nothing, Identity                       those behind no DequantizeLinear  –               –
    Relu                                    all                               ×1.002–1.004    on what is never negative
    LeakyRelu, alpha 1                      all                               ×1.002–1.005    always
    Clip from -3.4e38                       all                               ×1.001–1.006    always
    Max with -3.4e38                        all                               ×0.996–1.003    always
    a DequantizeLinear of its own, with     all                               ×0.994–1.001    from opset 13; TensorRT
    equal scales for all channels                                                             takes no such activations

All give the same outputs, bit for bit. They cost the same within the noise, so the choice is LeakyRelu with alpha 1:
one node without constants, in every opset, x · 1 = x whatever the sign, and no pattern of any optimiser that we know.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fcn_onnx.errors import QuantizationError
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.files import load_model, save_model
from fcn_onnx.model.uses import fresh, is_op, keep_nodes, producers, tensor_names
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.runtime.onnxruntime import executed_graph, fused_graph, int8_names

LAYERS = ("Conv", "ConvTranspose", "Gemm")
"""What WeightBiasQuantization touches."""

FLOAT_LAYERS = frozenset({*LAYERS, "FusedConv", "FusedGemm"})
"""What they are where onnxruntime runs them in fp32."""

MOVERS = ("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Identity")
"""Behind these, onnxruntime's QDQPropagation puts a DequantizeLinear that stood before them."""


@dataclass(frozen=True)
class Parameters:
    """What a layer multiplies by and adds.

    Attributes:
        weight: float32.
        bias: float32, or None.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None


def kept_layers(fp32: onnx.ModelProto, plan: Plan) -> tuple[str, ...]:
    """Names of the layers of `fp32` that the plan does not quantize, for their names or for their operators."""
    return tuple(
        node.name
        for node in fp32.graph.node
        if is_op(node, *LAYERS) and (node.op_type not in plan.op_types or node.name in plan.float_nodes)
        if node.name not in plan.unrounded
    )


def shield(model: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """A copy of the int8 `model`, of either form, whose layers `kept` onnxruntime will not round.

    A LeakyRelu of alpha 1 goes before each of them whose input comes from a DequantizeLinear; those that read the same
    tensor share one. Nothing is inserted elsewhere, and no value changes.

    Args:
        kept: names of nodes; those that are no Conv, ConvTranspose or Gemm are left as they are.
    """
    shielded = onnx.ModelProto()
    shielded.CopyFrom(model)
    graph = shielded.graph
    made, taken = producers(graph), tensor_names(graph)
    through: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        if node.name in kept and is_op(node, *LAYERS) and _is_dequantized(node.input[0], made):
            source = node.input[0]
            if source not in through:
                through[source] = fresh(f"{source}_kept", taken)
                nodes.append(helper.make_node("LeakyRelu", [source], [through[source]], through[source], alpha=1.0))
            node.input[0] = through[source]
        nodes.append(node)
    keep_nodes(graph, nodes)
    return shielded


def require_kept(fp32: onnx.ModelProto, written: Path, kept: Collection[str], unrounded: Collection[str] = ()) -> None:
    """The layers `kept` are, in the graph that onnxruntime makes of the file, what they are in `fp32`.

    Args:
        fp32: the model after intake.
        written: the int8 file.
        kept: names of nodes; those that are no Conv, ConvTranspose or Gemm do not count.
        unrounded: of nodes that are to multiply in int8 with float32 sums.

    Raises:
        QuantizationError: one of them has other weights, or runs in int8; or one of these does not.
        ModelError: onnxruntime does not load the file.
    """
    expected = {name: found for name, found in _parameters(fp32, LAYERS).items() if name in kept}
    if lost := _changed(written, expected, fp32):
        raise QuantizationError(
            f"onnxruntime changes {len(lost)} of {len(expected)} layers that are to stay fp32: "
            f"{', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}",
            fix="report this with the model and onnxruntime's version",
        )
    executed = executed_graph(written).graph.node if unrounded else ()
    summed = {node.name for node in executed if node.op_type == "MatMulIntegerToFloat"}
    if missing := [name for name in unrounded if name not in summed]:
        raise QuantizationError(
            f"onnxruntime does not run {len(missing)} of {len(unrounded)} convolutions in int8 with float32 sums: "
            f"{', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}",
            fix="report this with the model and onnxruntime's version",
        )


def undone(fp32: onnx.ModelProto, written: Path) -> tuple[str, ...]:
    """Names of the layers whose weights are float32 in a file, and that onnxruntime rounds all the same.

    Args:
        fp32: what the file was made from, after intake.
        written: the int8 file, of another library.

    Raises:
        ModelError: onnxruntime does not load it.
    """
    return _changed(written, _parameters(load_model(written), LAYERS), fp32)


def _changed(written: Path, expected: Mapping[str, Parameters], fp32: onnx.ModelProto) -> tuple[str, ...]:
    """Which of the layers onnxruntime does not run in fp32 with the parameters expected, bit for bit.

    Operators are looked at as they run; weights before onnxruntime lays them out for its kernels. Where it folds a Mul
    or an Add behind a layer into it, what it makes of the fp32 model alone is as good.
    """
    if not expected:
        return ()
    fused = _parameters(fused_graph(written), FLOAT_LAYERS)
    int8 = int8_names(executed_graph(written))
    changed = [name for name, own in expected.items() if name in int8 or not _equal(fused.get(name), own)]
    if not changed:
        return ()
    with scratch() as folder:
        alone = Path(folder, "fp32.onnx")
        save_model(fp32, alone)
        folded = _parameters(fused_graph(alone), FLOAT_LAYERS)
    return tuple(name for name in changed if name in int8 or not _equal(fused.get(name), folded.get(name)))


def _equal(found: Parameters | None, expected: Parameters | None) -> bool:
    if found is None or expected is None:
        return False
    return _same(found.weight, expected.weight) and _same(found.bias, expected.bias)


def _same(found: NDArray[np.float32] | None, expected: NDArray[np.float32] | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return found.shape == expected.shape and found.tobytes() == expected.tobytes()


def _is_dequantized(tensor: str, made: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a tensor comes from a DequantizeLinear, directly or moved around."""
    node = made.get(tensor)
    while node is not None and is_op(node, *MOVERS):
        node = made.get(node.input[0])
    return node is not None and node.op_type == "DequantizeLinear"


def _parameters(model: onnx.ModelProto, ops: Collection[str]) -> dict[str, Parameters]:
    """Float32 weights and biases by the name of their node."""
    stored = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    found = {}
    for node in model.graph.node:
        if node.op_type not in ops or len(node.input) < 2 or node.input[1] not in stored:
            continue
        bias = stored.get(node.input[2]) if len(node.input) > 2 else None
        weight = numpy_helper.to_array(stored[node.input[1]])
        found[node.name] = Parameters(weight, None if bias is None else numpy_helper.to_array(bias))
    return found
