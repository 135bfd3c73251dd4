"""Which layers cost labels: each is tried alone in int8, and alone in fp32, in the graph that onnxruntime executes.

A layer that is tried alone reads 8 bits and writes 8 bits, as it does in the all-int8 model, among others in fp32: what
is measured is the rounding of its weights, of what it reads and of what it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial

import onnx

from fcn_onnx.model.graph import Graph, GraphFacts, read_facts
from fcn_onnx.model.macs import Multiplication
from fcn_onnx.quantization.reference import Reference
from fcn_onnx.quantization.regions import Step
from fcn_onnx.quantization.rounded import ActivationStep, activation_steps, with_rounded
from fcn_onnx.quantization.trials import Trials
from fcn_onnx.report.sensitivity import Layer, Point, Tensor
from fcn_onnx.runtime.timing import time_ratio

SPEED_RUNS = 9
FRONT_ERRORS = (0.85, 0.7, 0.5, 0.35, 0.25, 0.15, 0.05)
"""Shares of the error of the all-int8 model, as told, that the models of a front are left with."""


def int8_names(fp32: Graph, nodes: Sequence[Multiplication]) -> list[str]:
    """Those of the `nodes` of an int8 model that multiply 8-bit integers, as the fp32 model calls them."""
    originals = {node.name for node in fp32.model.graph.node}
    names = [node.name for node in nodes if node.int8]
    return [name if name in originals else name.removesuffix("_quant") for name in names]


def layer_names(trials: Trials) -> list[str]:
    """What multiplies in int8 in the all-int8 model, as the fp32 model calls it, in graph order."""
    facts = read_facts(trials.made(()).int8)
    return int8_names(trials.maker.fp32.taken, facts.multiplications)


def measure_layers(trials: Trials, names: Sequence[str], facts: GraphFacts, reference: Reference) -> list[Layer]:
    """Each layer in int8 alone and in fp32 alone, the one that costs most labels first.

    Args:
        names: of what multiplies in int8.
        facts: of the fp32 model after intake.
        reference: fp32 on some images.
    """
    nodes = {node.name: node for node in facts.multiplications}

    def measured(name: str) -> Layer:
        others = [other for other in names if other != name]
        alone = trials.deviation(f"alone:{name}", reference, lambda: trials.made(others).int8)
        without = trials.deviation(f"without:{name}", reference, lambda: trials.made([name]).int8)
        return Layer(name, nodes[name].op_type, facts.share_of(nodes[name]), alone, without)

    return ranked(measured(name) for name in trials.progress.track(names, total=len(names), label="ranking layers"))


def ranked(layers: Iterable[Layer]) -> list[Layer]:
    """The layer that flips most labels alone first; of equals the one with the larger error, then with fewer without.

    What a layer flips alone stands out from nothing, where what the others flip without it is a small difference of
    two large numbers: on few images the first orders layers better.
    """
    return sorted(
        layers, key=lambda layer: (-layer.alone.flipped, -(layer.alone.logits_error or 0), layer.without.flipped)
    )


def measure_tensors(trials: Trials, reference: Reference) -> list[Tensor]:
    """Each activation that the all-int8 model holds in 8 bits, rounded alone in the fp32 model; worst first."""
    fp32 = trials.maker.fp32.taken.model
    steps = activation_steps(fp32, trials.made(()).int8)

    def measured(step: ActivationStep) -> Tensor:
        alone = trials.deviation(f"tensor:{step.name}", reference, lambda: with_rounded(fp32, step))
        return Tensor(step.name, float(step.scale), int(step.zero_point), alone)

    found = [measured(step) for step in trials.progress.track(steps, total=len(steps), label="ranking tensors")]
    return sorted(found, key=lambda tensor: (-tensor.alone.flipped, -(tensor.alone.logits_error or 0)))


def measure_front(trials: Trials, layers: Sequence[Layer], steps: Sequence[Step], reference: Reference) -> list[Point]:
    """Models on the way from all int8 to fp32, see `regions.path`, and fp32 itself.

    Each is what it is called in the graph that onnxruntime executes, or it is an error.

    Args:
        layers: that multiply in int8.
        steps: of that way.
        reference: on images that nothing was priced on.

    Raises:
        QuantizationError: onnxruntime changes a layer that is to stay fp32.
    """
    macs = {layer.name: layer.macs_share for layer in layers}
    points = []
    for step in trials.progress.track(steps, total=len(steps), label="front"):
        state = step.state
        made = cache(partial(trials.proven, state.kept, state.unrounded))
        key = f"{len(state.kept)}+{len(state.unrounded)}"
        flipped = trials.deviation(f"kept:{key}", reference, made).flipped
        speedup = trials.journal.memo(f"speed:{key}", partial(_speedup, made, reference))
        share = _share([macs.get(name) for name in state.kept])
        points.append(Point(len(state.kept), len(state.unrounded), share, 1 - flipped, speedup))
    return [*points, Point(len(layers), 0, _share([layer.macs_share for layer in layers]), 1.0, 1.0)]


def front_steps(steps: Sequence[Step]) -> list[Step]:
    """Of a way from all int8 to all fp32 the first step, and those by which another share of the error has gone."""
    whole = steps[0].error
    chosen = [0]
    for left in FRONT_ERRORS:
        index = next((i for i, step in enumerate(steps) if step.error <= left * whole), len(steps) - 1)
        if index > chosen[-1]:
            chosen.append(index)
    return [steps[index] for index in chosen if index < len(steps) - 1]


def _speedup(made: Callable[[], onnx.ModelProto], reference: Reference) -> float:
    original, own, batch = reference.original, reference.opened(made()), reference.batch
    return time_ratio(partial(original.run, batch), partial(own.run, batch), SPEED_RUNS)


def _share(shares: Sequence[float | None]) -> float | None:
    return None if None in shares else sum(share or 0 for share in shares)
