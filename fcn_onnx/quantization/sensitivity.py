"""Which layers cost labels: each is tried alone in int8, and alone in fp32, in the graph that onnxruntime executes.

A layer that is tried alone reads 8 bits and writes 8 bits, as it does in the all-int8 model, among others in fp32: what
is measured is the rounding of its weights, of what it reads and of what it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import isnan, nan
from pathlib import Path

import onnx

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.files import save_model
from fcn_onnx.model.graph import GraphFacts, read_facts
from fcn_onnx.quantization.deviations import Deviations
from fcn_onnx.quantization.keeping import kept_layers, require_kept
from fcn_onnx.quantization.making import Made, Maker
from fcn_onnx.quantization.plan import Plan, keep_float
from fcn_onnx.quantization.rounded import ActivationStep, activation_steps, with_rounded
from fcn_onnx.quantization.search import int8_names
from fcn_onnx.report.sensitivity import Deviation, Layer, Point, Tensor
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.runtime.timing import time_ratio

SPEED_RUNS = 9


@dataclass(frozen=True)
class Trials:
    """Makes and measures int8 models of one fp32 model; what was measured is in the journal, and not measured again.

    Attributes:
        maker: of the models.
        plan: form of the all-int8 one.
        table: its ranges.
        journal: keeps every number.
        progress: is told of each.
    """

    maker: Maker
    plan: Plan
    table: RangeTable
    journal: Journal
    progress: Progress

    def made(self, kept: Sequence[str]) -> Made:
        """The int8 model in which these layers are in fp32 too, and what would be int8 alone because of them."""
        return self.maker.make(keep_float(self.plan, self.maker.fp32.taken, kept), self.table)

    def deviation(self, key: str, deviations: Deviations, model: Callable[[], onnx.ModelProto]) -> Deviation:
        """How far a model is from fp32; it is made only if that is not known under `key`."""
        measured = cache(lambda: deviations.of(model()))
        flipped = self.journal.memo(f"flipped:{key}", lambda: measured().flipped)
        error = self.journal.memo(f"error:{key}", lambda: _number(measured().logits_error))
        return Deviation(flipped, None if isnan(error) else error)


def _number(value: float | None) -> float:
    """As the journal keeps it: no number is NaN."""
    return nan if value is None else value


def layer_names(trials: Trials) -> list[str]:
    """What multiplies in int8 in the all-int8 model, as the fp32 model calls it, in graph order."""
    facts = read_facts(trials.made(()).int8)
    return int8_names(trials.maker.fp32.taken, facts.multiplications)


def measure_layers(trials: Trials, names: Sequence[str], facts: GraphFacts, deviations: Deviations) -> list[Layer]:
    """Each layer in int8 alone and in fp32 alone, the one that costs most labels first.

    Args:
        names: of what multiplies in int8.
        facts: of the fp32 model after intake.
        deviations: from fp32, on some images.
    """
    nodes = {node.name: node for node in facts.multiplications}

    def measured(name: str) -> Layer:
        others = [other for other in names if other != name]
        alone = trials.deviation(f"alone:{name}", deviations, lambda: trials.made(others).int8)
        without = trials.deviation(f"without:{name}", deviations, lambda: trials.made([name]).int8)
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


def measure_tensors(trials: Trials, deviations: Deviations) -> list[Tensor]:
    """Each activation that the all-int8 model holds in 8 bits, rounded alone in the fp32 model; worst first."""
    fp32 = trials.maker.fp32.taken.model
    steps = activation_steps(fp32, trials.made(()).int8)

    def measured(step: ActivationStep) -> Tensor:
        alone = trials.deviation(f"tensor:{step.name}", deviations, lambda: with_rounded(fp32, step))
        return Tensor(step.name, float(step.scale), int(step.zero_point), alone)

    found = [measured(step) for step in trials.progress.track(steps, total=len(steps), label="ranking tensors")]
    return sorted(found, key=lambda tensor: (-tensor.alone.flipped, -(tensor.alone.logits_error or 0)))


def measure_front(trials: Trials, layers: Sequence[Layer], deviations: Deviations) -> list[Point]:
    """Models that keep the first 0, 1, 2, 4, 8, … layers of a ranking in fp32, and fp32 itself.

    Each is what it is called in the graph that onnxruntime executes, or it is an error.

    Raises:
        QuantizationError: onnxruntime changes a layer that is to stay fp32.
    """
    original = deviations.opened(trials.maker.fp32)
    points = []
    counts = front_counts(len(layers))
    for count in trials.progress.track(counts, total=len(counts), label="front"):
        made = cache(partial(_proven, trials, [layer.name for layer in layers[:count]]))
        flipped = trials.deviation(f"kept:{count}", deviations, made).flipped
        speedup = trials.journal.memo(f"speed:{count}", partial(_speedup, original, made, deviations))
        points.append(Point(count, _share(layers[:count]), 1 - flipped, speedup))
    return [*points, Point(len(layers), _share(layers), 1.0, 1.0)]


def front_counts(layers: int) -> list[int]:
    """0, 1, 2, 4, 8, …: how many of so many layers the models of a front keep, fp32 itself left out."""
    counts = [0, 1]
    while counts[-1] < layers:
        counts.append(2 * counts[-1])
    return counts[:-1]


def _speedup(original: Segmenter, made: Callable[[], onnx.ModelProto], deviations: Deviations) -> float:
    own = deviations.opened(made())
    return time_ratio(partial(original.run, deviations.batch), partial(own.run, deviations.batch), SPEED_RUNS)


def _proven(trials: Trials, kept: Sequence[str]) -> onnx.ModelProto:
    """The model that keeps these layers, which onnxruntime does run in fp32."""
    made, fp32 = trials.made(kept), trials.maker.fp32.taken.model
    with scratch() as folder:
        save_model(made.int8, Path(folder, "kept.onnx"))
        require_kept(fp32, Path(folder, "kept.onnx"), kept_layers(fp32, made.plan))
    return made.int8


def _share(layers: Sequence[Layer]) -> float | None:
    shares = [layer.macs_share for layer in layers]
    return None if None in shares else sum(share or 0 for share in shares)
