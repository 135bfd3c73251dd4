"""Where a session's time goes: the runtime's own times of layers beside what the file says that they multiply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.model.files import loadable
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.macs import OPERATORS, node_names
from fcn_onnx.report.profile import Profile, Speed, Spent
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.roofline import Peak
from fcn_onnx.runtime.seam import Layer, Profiled, SessionConfig, get_runtime

RUNS = 5

Number = TypeVar("Number", int, float)


def profile(
    model: onnx.ModelProto,
    network: Network,
    batch: NDArray[np.float32],
    peak: Peak,
    *,
    runtime: str,
    config: SessionConfig,
    runs: int = RUNS,
) -> Profile:
    """Run `model` with its runtime's clock on every layer.

    Args:
        network: that model in a session, which says how `batch` is fed.
        batch: (1, C, H, W) float32.
        peak: of this machine in `runtime`.

    Raises:
        ModelError: it does not run.
    """
    named, form = _named(model), network.form
    with loadable(named) as source:
        fed = {form.name: form.fed(batch)}
        found = get_runtime(runtime).profile(source, config, fed, runs, name=network.name)
    height, width = batch.shape[2:]
    size = form.padded_size(height, width)
    images = form.batch or len(batch)
    macs = {node.name: node.macs for node in read_facts(named, size).multiplications}
    made = made_of(named, found.layers)
    counts = [_sum([macs[name] for name in names]) for names in made]
    layers = (
        replace(layer, name=" + ".join(names) or layer.name) for layer, names in zip(found.layers, made, strict=True)
    )
    return told(replace(found, layers=tuple(layers)), counts, images, peak, size, runs)


def told(
    found: Profiled, macs: Sequence[int | None], images: int, peak: Peak, size: tuple[int, int], runs: int
) -> Profile:
    """A runtime's profile, and what each layer multiplies for one of the `images` of a run, as a report has it."""
    whole = found.milliseconds
    layers = [
        _spent(layer, None if count is None else images * count / 1e9, whole, peak)
        for layer, count in zip(found.layers, macs, strict=True)
    ]
    by_operator: dict[str, list[Spent]] = {}
    for spent in layers:
        by_operator.setdefault(spent.op_type, []).append(spent)
    operators = [_together(group, peak) for group in by_operator.values()]
    return Profile(
        size=size,
        runs=runs,
        milliseconds=found.milliseconds,
        between_ms=found.milliseconds - sum(layer.milliseconds for layer in found.layers),
        peak_gmacs_per_second=Speed(fp32=peak.fp32, int8=peak.int8),
        operators=tuple(sorted(operators, key=lambda spent: -spent.milliseconds)),
        layers=tuple(layers),
    )


def made_of(model: onnx.ModelProto, layers: Sequence[Layer]) -> list[tuple[str, ...]]:
    """Of each layer, the names of the nodes of `model` whose multiplications it does; () where that is not known.

    A runtime names a layer by nodes that it was fused from, and then they are what it says; or by what the last of them
    returns. Of such a layer, they are looked for from there towards the input: nodes that multiply, with nothing that
    multiplies between. Where that leads to several, as behind an Add, it is the one that no other layer is.
    """
    ways = _Ways(model)
    known = [{ways.multiplying[name] for name in layer.nodes if name in ways.multiplying} for layer in layers]
    taken = set().union(*known)
    open_ends = {i: set().union(*map(ways.behind, layer.nodes)) for i, layer in enumerate(layers) if not known[i]}
    while settled := {i: left for i, names in open_ends.items() if len(left := names - taken) == 1}:
        for i, left in settled.items():
            known[i] = left - taken
            taken |= left
            del open_ends[i]
    return [tuple(sorted(names)) for names in known]


class _Ways:
    """A graph, walked from what a node returns to what multiplied before it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        nodes = model.graph.node
        self._producers = {output: node for node in nodes for output in node.output}
        self._by_name = self._producers | {node.name: node for node in nodes}
        self.multiplying: Mapping[str, str] = {
            key: node.name for key, node in self._by_name.items() if node.op_type in OPERATORS
        }

    def behind(self, name: str) -> set[str]:
        """Names of the multiplying nodes that the node, or the tensor, `name` is made of."""
        start = self._by_name.get(name)
        found: set[str] = set()
        seen: set[str] = set()
        todo = [start] if start else []
        while todo:
            node = todo.pop()
            if node.op_type in OPERATORS:
                found.add(node.name)
                continue
            for source in node.input:
                if source in self._producers and source not in seen:
                    seen.add(source)
                    todo.append(self._producers[source])
        return found


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a name for each node, those of `node_names`."""
    names = node_names(model)
    if all(node.name == name for node, name in zip(model.graph.node, names, strict=True)):
        return model
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for node, name in zip(named.graph.node, names, strict=True):
        node.name = name
    return named


def _spent(layer: Layer, gmacs: float | None, whole_ms: float, peak: Peak) -> Spent:
    milliseconds = layer.milliseconds
    rate = 1e3 * gmacs / milliseconds if gmacs is not None and milliseconds > 0 else None
    return Spent(
        name=layer.name,
        op_type=layer.op_type,
        layers=1,
        int8=layer.int8,
        milliseconds=milliseconds,
        share=milliseconds / whole_ms,
        gmacs=gmacs,
        gmacs_per_second=rate,
        share_of_peak=None if rate is None else rate / (peak.int8 if layer.int8 else peak.fp32),
    )


def _together(group: Sequence[Spent], peak: Peak) -> Spent:
    """All layers of an operator as one. Its speed is theirs together, where all that they multiply is known."""
    first, gmacs = group[0], _sum([spent.gmacs for spent in group])
    layer = Layer(first.op_type, first.op_type, sum(spent.milliseconds for spent in group), first.int8, ())
    together = _spent(layer, gmacs, 1.0, peak)
    return replace(together, layers=len(group), share=sum(spent.share for spent in group))


def _sum(counts: Sequence[Number | None]) -> Number | None:
    """The sum; None of nothing, or where one is not known."""
    known = [count for count in counts if count is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(counts) else None
