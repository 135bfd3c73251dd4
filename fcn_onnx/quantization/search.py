"""The int8 model that keeps what must be kept for a loss to stay within bounds, and gives up the least speed for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import inf

from fcn_onnx.errors import QuantizationError
from fcn_onnx.jobs.artifact import digest_json
from fcn_onnx.quantization.judge import Judge, Score
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.quantization.pricing import measured_prices, way
from fcn_onnx.quantization.regions import State, between
from fcn_onnx.quantization.trials import Trials
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.runtime.timing import time_ratio

PRICING_IMAGES = 4
SPEED_RUNS = 5


@dataclass(frozen=True)
class Trial:
    """One int8 model that was tried.

    Attributes:
        float_convs: how many layers it keeps in fp32, beside the logits.
        unrounded: of how many the sums stay float32.
        agreement: share of the pixels of the calibration images with fp32's label.
        drop_percent: relative mIoU lost on them.
        speed_kept: of the all-int8 model's.
    """

    float_convs: int
    unrounded: int
    agreement: float
    drop_percent: float
    speed_kept: float


@dataclass(frozen=True)
class Bound:
    """The most that may be lost.

    Attributes:
        judge: says what is.
        max_drop: percent of fp32's mIoU; None allows any.
        min_agreement: share of the labels; None allows any.
    """

    judge: Judge
    max_drop: float | None = None
    min_agreement: float | None = None

    def holds(self, score: Score) -> bool:
        """Whether no more is lost."""
        return score.drop_percent <= _given(self.max_drop, inf) and score.agreement >= _given(self.min_agreement, 0)


def _given(bound: float | None, otherwise: float) -> float:
    return otherwise if bound is None else bound


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        plan: with what has to be kept.
        trials: in the order in which they were made.
        speed_kept: of the all-int8 model's; None where nothing had to be kept.
    """

    plan: Plan
    trials: tuple[Trial, ...] = ()
    speed_kept: float | None = None


def within(bound: Bound, trials: Trials) -> Found:
    """The plan that gives up least speed and loses no more than it may.

    Raises:
        QuantizationError: there is none.
    """
    tried = _Tried(bound, trials)
    if bound.holds(tried.score(State())):
        return Found(trials.plan, tuple(tried.trials))
    reference = bound.judge.reference
    prices = measured_prices(trials, reference, min(PRICING_IMAGES, len(reference.samples)))
    steps = way(prices, trials)
    if not bound.holds(tried.score(steps[-1].state)):
        raise QuantizationError(
            f"{tried.trials[-1].drop_percent:.3f} % of the mIoU is lost, and {tried.trials[-1].agreement:.4f} of the "
            "labels are fp32's, even with every layer in fp32",
            fix="allow a larger --max-drop, or a smaller --min-agreement, or calibrate on more images",
        )
    index = smallest(len(steps), lambda index: bound.holds(tried.score(steps[index].state)))
    fine = between(prices, steps[index - 1], steps[index])  # a region may be more than is needed
    state = fine[smallest(len(fine), lambda index: bound.holds(tried.score(fine[index].state)))].state
    return Found(trials.planned(state.kept, state.unrounded), tuple(tried.trials), tried.of(state).speed_kept)


def searching_job(job: str) -> str:
    """Digest of the search of a job; with the CPU's kernels it decides the table."""
    return digest_json(["search", job, measured_cpu().kernels()])


def smallest(count: int, holds: Callable[[int], bool]) -> int:
    """The least index below `count` that serves, by bisection; 0 does not, and the last does.

    It takes what serves to go on serving; where noise breaks that, the one found still serves, but a smaller one may.
    """
    low, high = 0, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


class _Tried:
    """Models that were judged and timed, each once, and each number in the journal."""

    def __init__(self, bound: Bound, trials: Trials) -> None:
        self._bound, self._source = bound, trials
        self._found: dict[State, Trial] = {}

    @property
    def trials(self) -> list[Trial]:
        return list(self._found.values())

    @cached_property
    def _whole(self) -> Segmenter:
        return self._bound.judge.reference.opened(self._source.made(()).int8)

    def of(self, state: State) -> Trial:
        return self._found[state]

    def score(self, state: State) -> Score:
        if state not in self._found:
            self._found[state] = self._measured(state)
        found = self._found[state]
        return Score(found.agreement, found.drop_percent)

    def _measured(self, state: State) -> Trial:
        source, judge = self._source, self._bound.judge
        key = digest_json([sorted(state.kept), sorted(state.unrounded)])

        @cache
        def measured() -> tuple[float, float, float]:
            whole = self._whole
            own = judge.reference.opened(source.made(state.kept, state.unrounded).int8) if len(state) else whole
            score, batch = judge.score(own, source.progress), judge.reference.batch
            works = partial(whole.run, batch), partial(own.run, batch)
            return score.agreement, score.drop_percent, time_ratio(*works, SPEED_RUNS) if len(state) else 1.0

        def number(name: str, index: int) -> float:
            return source.journal.memo(f"{name}:{key}", lambda: measured()[index])

        agreement, drop, speed = (number(name, index) for index, name in enumerate(("agreement", "drop", "speed")))
        source.progress.note(
            f"{len(state.kept)} layers in fp32, the sums of {len(state.unrounded)} not rounded: agreement "
            f"{agreement:.4f}, {drop:.3f} % of the mIoU lost on calibration images, {100 * speed:.0f} % of the speed"
        )
        return Trial(len(state.kept), len(state.unrounded), agreement, drop, speed)
