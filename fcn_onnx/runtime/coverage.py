"""What a model multiplies in int8 once onnxruntime has rewritten the graph, and why not the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import load_model, save_model
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.macs import CONVS, INTEGER_OPS, Multiplication, node_names
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, Runtime, get_runtime


@dataclass(frozen=True)
class FloatNode:
    """A node that multiplies in fp32.

    Attributes:
        op_type: its operator.
        macs_share: of all multiply-accumulates; None where the graph does not tell them.
        reason: why.
    """

    op_type: str
    macs_share: float | None
    reason: str


@dataclass(frozen=True)
class Coverage:
    """What of a model this machine really computes in int8.

    Attributes:
        int8_convs, convs: how many convolutions run in int8, and how many there are.
        int8_macs_share: of the multiply-accumulates of everything that multiplies; None where the graph does not
            tell them.
        float_nodes: what multiplies in fp32, by name, in graph order.
        rounded_nodes: name → what is odd about it, of nodes that are fp32 in the file and run in int8 all the same.
    """

    int8_convs: int
    convs: int
    int8_macs_share: float | None
    float_nodes: Mapping[str, FloatNode]
    rounded_nodes: Mapping[str, str]

    @property
    def float_convs(self) -> dict[str, str]:
        """Name → why, of the convolutions that run in fp32."""
        return {name: node.reason for name, node in self.float_nodes.items() if node.op_type in CONVS}

    def to_json(self) -> dict[str, Any]:
        """The object in `inspect --json` and in the report."""
        return {
            "int8_convs": self.int8_convs,
            "convs": self.convs,
            "int8_macs_share": self.int8_macs_share,
            "float_convs": self.float_convs,
            "float_nodes": {name: asdict(node) for name, node in self.float_nodes.items()},
            "rounded_nodes": dict(self.rounded_nodes),
        }


def read_coverage(path: Path, size: tuple[int, int] = (520, 520), runtime: str = DEFAULT_RUNTIME) -> Coverage | None:
    """Load the model as a session would, and look at the graph that it executes; None where the runtime hides it.

    Args:
        size: (height, width) that the multiply-accumulates are for.
        runtime: a name in `RUNTIMES`.

    Raises:
        ModelError: the file is not a model that the runtime loads.
    """
    model = load_model(path)
    facts = read_facts(model, size)
    planned = (ModelCard.read_from(model, str(path)).quantization or {}).get("float_nodes", ())
    executed = _int8_names(path, model, get_runtime(runtime))
    if executed is None:
        return None
    floats = {
        node.name: FloatNode(node.op_type, facts.share_of(node), _reason(node, planned, runtime))
        for node in facts.multiplications
        if node.op_type not in INTEGER_OPS and node.name not in executed
    }
    rounded = {
        node.name: f"{_reason(node, planned, runtime)}, but {runtime} runs it in int8"
        for node in facts.multiplications
        if not node.int8 and node.name in executed
    }
    int8_macs = sum(node.macs or 0 for node in facts.multiplications if node.name not in floats)
    int8_convs = sum(node.name not in floats for node in facts.convs)
    share = int8_macs / facts.macs if facts.macs else None
    return Coverage(int8_convs, len(facts.convs), share, floats, rounded)


def _reason(node: Multiplication, planned: tuple[str, ...], runtime: str) -> str:
    if node.int8:
        return f"int8 in the file, but {runtime} does not fuse its Q/DQ pairs"
    return "the plan keeps it in fp32" if node.name in planned else "fp32 in the file"


def _int8_names(path: Path, model: onnx.ModelProto, runtime: Runtime) -> frozenset[str] | None:
    """Names of the nodes that a session computes on 8-bit integers, as the file (or `node_names`) has them.

    onnxruntime keeps a node's name when it fuses the Q/DQ pairs around it, so a file that names its nodes is loaded
    as it is, and of another one a copy that does.
    """
    names = node_names(model)
    if all(node.name == name for node, name in zip(model.graph.node, names, strict=True)):
        return runtime.int8_nodes(path)
    for node, name in zip(model.graph.node, names, strict=True):
        node.name = name
    with scratch() as folder:
        save_model(model, Path(folder, "named.onnx"))
        return runtime.int8_nodes(Path(folder, "named.onnx"))
