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
        ModelError: the opset is none; a node has fewer or more inputs than its operator takes, or no output; or the
            graph lists an output twice; `name` says in which file.
    """
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opset = next((opsets[domain] for domain in STANDARD if domain in opsets), 1)
    if not 1 <= opset <= MAX_OPSET:
        raise ModelError(f"{name} says that it is of opset {opset}", fix="make the model again")
    for node in model.graph.node:
        least, most = _arity(node, opset)
        if not least <= len(node.input) <= most or not any(node.output):
            raise ModelError(
                f"the node {node.name!r} ({node.op_type}) of {name} has {len(node.input)} inputs and "
                f"{len(node.output)} outputs",
                fix="make the model again; no such operator can run",
            )
    for listed, times in Counter(value.name for value in model.graph.output).items():
        if times > 1:
            raise ModelError(f"{name} lists the output {listed!r} {times} times", fix="make the model again")


def _arity(node: onnx.NodeProto, opset: int) -> tuple[int, int]:
    """The fewest and the most inputs that the node's operator takes, as far as that is known."""
    most = 1 << 30
    least = OPERATORS[node.op_type].weight + 1 if node.op_type in OPERATORS else 0
    if node.domain not in STANDARD:
        return least, most
    try:
        schema = defs.get_schema(node.op_type, opset)
    except defs.SchemaError:  # an operator that is not the standard's: onnxruntime may know it
        return least, most
    return max(least, schema.min_input), schema.max_input
