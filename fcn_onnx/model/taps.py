"""A model cut to what is to be seen of it: one of its outputs alone, or inner tensors as its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import TensorProto

from fcn_onnx.errors import ModelError
from fcn_onnx.model.passes.unused import drop_unused


def path_to(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """A copy of `model` that has one output, as it is declared, and nothing that only the others need.

    A session computes all outputs of its model, asked for or not: an FCN's auxiliary head is 6 % of its work.
    """
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    for index in reversed(range(len(cut.graph.output))):
        if cut.graph.output[index].name != output:
            del cut.graph.output[index]
    drop_unused(cut.graph)
    return cut


def with_taps(
    model: onnx.ModelProto, tensors: Sequence[str], kinds: Mapping[str, int] | None = None
) -> onnx.ModelProto:
    """A copy of `model` whose outputs are exactly the inner tensors named, in that order.

    Nodes that none of them needs are dropped, so nothing is computed in vain.

    Args:
        kinds: `onnx.TensorProto` data type by name, where it is not FLOAT; an output of the model keeps its own.

    Raises:
        ModelError: a tensor is not in the graph.
    """
    producers = {out: node for node in model.graph.node for out in node.output}
    inputs = {value.name for value in model.graph.input}
    missing = [name for name in tensors if name not in producers and name not in inputs]
    if missing:
        raise ModelError(
            f"the model has no tensor {missing[0]!r} ({len(missing)} of {len(tensors)} missing)",
            fix="use a table or list that was made for this model",
        )
    needed = _ancestors(producers, tensors)
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    kept = [node for node in tapped.graph.node if needed & set(node.output)]
    del tapped.graph.node[:]
    tapped.graph.node.extend(kept)
    del tapped.graph.output[:]
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.output} | dict(kinds or {})
    tapped.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None) for name in tensors
    )
    return tapped


def _ancestors(producers: Mapping[str, onnx.NodeProto], tensors: Sequence[str]) -> set[str]:
    found: set[str] = set()
    stack = list(tensors)
    while stack:
        name = stack.pop()
        if name in found or name not in producers:
            continue
        found.add(name)
        stack.extend(producers[name].input)
        found.update(producers[name].output)
    return found
