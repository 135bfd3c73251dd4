"""Which convolutions run in int8 once onnxruntime has rewritten the graph, and why the others do not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_onnx.card import ModelCard
from fcn_onnx.model.files import load_model
from fcn_onnx.model.graph import QUANTIZED_CONVS, read_facts
from fcn_onnx.runtime import executed_graph


@dataclass(frozen=True)
class Coverage:
    """What of a model this machine really computes in int8.

    Attributes:
        int8_convs, convs: how many convolutions run in int8, and how many there are.
        int8_macs_share: of the multiply-accumulates; None where the graph does not tell them.
        float_convs: name → why it runs in fp32.
    """

    int8_convs: int
    convs: int
    int8_macs_share: float | None
    float_convs: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The object in `inspect --json` and in the report."""
        return {
            "int8_convs": self.int8_convs,
            "convs": self.convs,
            "int8_macs_share": self.int8_macs_share,
            "float_convs": self.float_convs,
        }


def read_coverage(path: Path, size: tuple[int, int] = (520, 520)) -> Coverage:
    """Load the model as a session would, and look at the graph that it executes.

    Args:
        size: (height, width) that the multiply-accumulates are for.

    Raises:
        ModelError: the file is not a model that onnxruntime loads.
    """
    model = load_model(path)
    facts = read_facts(model, size)
    planned = (ModelCard.read_from(model, str(path)).quantization or {}).get("float_nodes", ())
    # onnxruntime appends _token_<n> to the names of nodes that it moves to channels-last
    executed = {
        node.name.split("_token_")[0] for node in executed_graph(path).graph.node if node.op_type in QUANTIZED_CONVS
    }
    floats, int8_macs = {}, 0
    for conv in facts.convs:
        if conv.name in executed:
            int8_macs += conv.macs or 0
        elif conv.int8:
            floats[conv.name] = "int8 in the file, but onnxruntime does not fuse its Q/DQ pairs"
        elif conv.name in planned:
            floats[conv.name] = "the plan keeps it in fp32"
        else:
            floats[conv.name] = "fp32 in the file"
    share = int8_macs / facts.macs if facts.macs else None
    return Coverage(len(facts.convs) - len(floats), len(facts.convs), share, floats)
