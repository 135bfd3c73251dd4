"""The smallest set of layers that must stay fp32 for a loss to stay within bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import onnx

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.errors import QuantizationError
from fcn_onnx.jobs.artifact import digest_json
from fcn_onnx.jobs.journal import Journal, Journals
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.model.graph import Graph, read_facts
from fcn_onnx.model.macs import Multiplication
from fcn_onnx.quantization.judge import Judge
from fcn_onnx.quantization.making import Maker
from fcn_onnx.quantization.plan import Plan, keep_float
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.timing import time_ratio

RANKING_IMAGES = 8
SPEED_RUNS = 5


@dataclass(frozen=True)
class Trial:
    """One int8 model that was tried.

    Attributes:
        float_convs: how many layers it keeps in fp32, beside the logits.
        drop_percent: relative mIoU lost on the calibration images.
    """

    float_convs: int
    drop_percent: float


@dataclass(frozen=True)
class Bound:
    """The most that may be lost.

    Attributes:
        judge: says what is.
        max_drop: percent of fp32's mIoU.
    """

    judge: Judge
    max_drop: float


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        plan: with the layers in fp32 that have to be.
        trials: in the order in which they were made.
    """

    plan: Plan
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Smallest:
    """The smallest set of layers that serves.

    Attributes:
        float_convs: their names.
        trials: in the order in which they were made.
    """

    float_convs: tuple[str, ...]
    trials: tuple[Trial, ...]


def within(bound: Bound, maker: Maker, plan: Plan, table: RangeTable, journals: Journals, progress: Progress) -> Found:
    """The plan with the fewest layers in fp32 that loses no more than it may.

    Raises:
        QuantizationError: there is none.
    """
    fp32 = maker.fp32.taken
    names = int8_names(fp32, read_facts(maker.make(plan, table).int8).multiplications)

    def kept(convs: Sequence[str]) -> onnx.ModelProto:
        return maker.make(keep_float(plan, fp32, convs), table).int8

    found = search(
        names,
        lambda name: bound.judge.flipped_share(kept([name]), RANKING_IMAGES),
        lambda convs: bound.judge.drop_percent(kept(convs), progress),
        bound.max_drop,
        journals.of(searching_job(maker.job)),
        progress,
    )
    return Found(keep_float(plan, fp32, found.float_convs), found.trials)


def searching_job(job: str) -> str:
    """Digest of the search of a job; with the CPU's kernels it decides the table."""
    return digest_json(["search", job, measured_cpu().kernels()])


def speed_kept(maker: Maker, whole: Plan, plan: Plan, table: RangeTable) -> float:
    """The speed of the model of `plan` over that of the `whole` one, on the first calibration image, run in turns."""
    batch = next(iter(maker.images.batches()))
    multiple_of = maker.images.preprocessing.multiple_of
    first, second = (
        Network(maker.make(form, table).int8, maker.config, multiple_of=multiple_of, runtime=maker.runtime)
        for form in (whole, plan)
    )
    return time_ratio(partial(first.run, batch), partial(second.run, batch), SPEED_RUNS)


def int8_names(fp32: Graph, nodes: Sequence[Multiplication]) -> list[str]:
    """Those of the `nodes` of an int8 model that multiply 8-bit integers, as the fp32 model calls them."""
    originals = {node.name for node in fp32.model.graph.node}
    names = [node.name for node in nodes if node.int8]
    return [name if name in originals else name.removesuffix("_quant") for name in names]


def search(
    convs: Sequence[str],
    flips_without: Callable[[str], float],
    drop_percent: Callable[[Sequence[str]], float],
    max_drop: float,
    journal: Journal,
    progress: Progress,
) -> Smallest:
    """Rank layers by the labels that flip because of them, then bisect over how many of the worst stay fp32.

    Bisection takes the loss to fall as more of the ranking stays fp32; where noise breaks that, the set found still
    meets the bound, but a smaller one may exist. Every number is kept in the journal, so nothing is tried twice.

    Args:
        convs: those that are int8 to begin with.
        flips_without: share of the labels that flip when this one alone stays fp32; the least is the worst culprit.
        drop_percent: relative mIoU lost, in percent, when these stay fp32.
        max_drop: the bound, in percent.

    Raises:
        QuantizationError: the loss is above the bound with every one in fp32.
    """
    trials: list[Trial] = []

    def drop(kept: Sequence[str]) -> float:
        found = journal.memo(f"drop:{len(kept)}", lambda: drop_percent(kept))
        trials.append(Trial(len(kept), found))
        progress.note(f"{len(kept)} layers in fp32: {found:.3f} % of the mIoU lost on calibration images")
        return found

    if drop(()) <= max_drop:
        return Smallest((), tuple(trials))
    measured = progress.track(convs, total=len(convs), label="ranking")
    flips = {name: journal.memo(f"flips:{name}", partial(flips_without, name)) for name in measured}
    ranked = sorted(convs, key=lambda name: flips[name])
    if drop(ranked) > max_drop:
        raise QuantizationError(
            f"{trials[-1].drop_percent:.3f} % of the mIoU is lost even with every layer in fp32",
            fix="allow a larger --max-drop, or calibrate on more images",
        )
    low, high = 0, len(ranked)  # not enough, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if drop(ranked[:middle]) <= max_drop else (middle, high)
    return Smallest(tuple(ranked[:high]), tuple(trials))
