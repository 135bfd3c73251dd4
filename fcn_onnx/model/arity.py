"""Nodes that have the inputs and outputs that their operators need; what reads them may count on it then."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import defs

from fcn_onnx.errors import ModelError
from fcn_onnx.model.macs import OPERATORS
from fcn_onnx.model.uses import STANDARD

MAX_OPSET = 9999
"""No version of the standard comes near it."""


def require_connected(model: onnx.ModelProto, name: str) -> None:
    """Check the graph's nodes and outputs, those of subgraphs left to whoever runs them.

    Raises:
        ModelError: the opset is none; a node lacks an input, has one too many, or no output; or the graph lists an
            output twice; `name` says in which file.
    """
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opset = next((opsets[domain] for domain in STANDARD if domain in opsets), 1)
    if not 1 <= opset <= MAX_OPSET:
        raise ModelError(f"{name} says that it is of opset {opset}", fix="make the model again")
    for node in model.graph.node:
        needed, most = _needed(node, opset)
        absent = [index for index in needed if index >= len(node.input) or not node.input[index]]
        if absent or len(node.input) > most or not any(node.output):
            raise ModelError(
                f"the node {node.name!r} ({node.op_type}) of {name} has the inputs {list(node.input)} and the outputs "
                f"{list(node.output)}",
                fix="make the model again; no such operator can run",
            )
    for listed, times in Counter(value.name for value in model.graph.output).items():
        if times > 1:
            raise ModelError(f"{name} lists the output {listed!r} {times} times", fix="make the model again")


def _needed(node: onnx.NodeProto, opset: int) -> tuple[set[int], int]:
    """Which inputs the node's operator cannot do without, and how many it takes at most, as far as that is known."""
    needed = {0, OPERATORS[node.op_type].weight} if node.op_type in OPERATORS else set()
    most = 1 << 30
    if node.domain not in STANDARD:
        return needed, most
    try:
        schema = defs.get_schema(node.op_type, opset)
    except defs.SchemaError:  # an operator that is not the standard's: onnxruntime may know it
        return needed, most
    single = {i for i, given in enumerate(schema.inputs) if given.option == defs.OpSchema.FormalParameterOption.Single}
    return needed | single, schema.max_input
