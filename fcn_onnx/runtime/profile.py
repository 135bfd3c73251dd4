"""How long each node of a model takes, by onnxruntime's own profile: the least, which no other process has part in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.model.files import loadable
from fcn_onnx.model.uses import readers
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import options_of
from fcn_onnx.runtime.trace import BLOCKED, KERNEL, MOVED, events_of

RUNS = 5
FUSED = frozenset({"Relu", "Clip", "Add", "LeakyRelu", "Sigmoid", "HardSigmoid"})
"""What onnxruntime runs as part of the convolution before it, which then has its result's name."""


def node_times(
    model: onnx.ModelProto, batch: NDArray[np.float32], config: SessionConfig, multiple_of: int | None = None
) -> dict[str, float]:
    """Milliseconds of each node of `model` that runs as such, by its name: the least of `RUNS` runs.

    What onnxruntime runs as part of another node has none, and nodes that it adds (layouts) are not among them.

    Args:
        batch: an image, (1, 3, H, W) float32.
        multiple_of: pixels; it is padded to sides that are multiples of it.

    Raises:
        ModelError: the model does not load or run.
    """
    network = Network(model, config, multiple_of=multiple_of)
    feeds = {network.input_name: network.form.fed(batch)}
    with loadable(model) as source:
        events = events_of(source, options_of(config), feeds, RUNS + 1, name="the model")
    took: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            took[event["name"].removesuffix(KERNEL)].append(event["dur"] / 1e3)
    return by_node(model.graph, {name: min(each) for name, each in took.items()})


def by_node(graph: onnx.GraphProto, took: Mapping[str, float]) -> dict[str, float]:
    """Times by the names that the file has, from those by the names that onnxruntime runs.

    A convolution in fp32 is named after its result, or that of what is fused behind it.
    """
    moved = {MOVED.sub("", name): ms for name, ms in took.items()}
    uses = readers(graph)

    def found(node: onnx.NodeProto) -> float | None:
        if (ms := moved.get(node.name)) is not None:
            return ms
        result = node.output[0]
        while node.op_type == "Conv":
            if (ms := moved.get(f"{result}{BLOCKED}")) is not None:
                return ms
            following = [reader for reader, _ in uses.get(result, ()) if reader.op_type in FUSED]
            if len(following) != 1:
                return None
            result = following[0].output[0]
        return None

    return {node.name: ms for node in graph.node if (ms := found(node)) is not None}
