"""The smallest set of convolutions that must stay fp32 for a loss to stay within bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from fcn_onnx.errors import QuantizationError
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import Progress


@dataclass(frozen=True)
class Trial:
    """One int8 model that was tried.

    Attributes:
        float_convs: how many convolutions it keeps in fp32, beside the logits.
        drop_percent: relative mIoU lost on the calibration images.
    """

    float_convs: int
    drop_percent: float


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        float_convs: names of the convolutions to keep in fp32.
        trials: in the order in which they were made.
    """

    float_convs: tuple[str, ...]
    trials: tuple[Trial, ...]


def search(
    convs: Sequence[str],
    flips_without: Callable[[str], float],
    drop_percent: Callable[[Sequence[str]], float],
    max_drop: float,
    journal: Journal,
    progress: Progress,
) -> Found:
    """Rank convolutions by the labels that flip because of them, then bisect over how many of the worst stay fp32.

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
        progress.note(f"{len(kept)} convolutions in fp32: {found:.3f} % of the mIoU lost on calibration images")
        return found

    if drop(()) <= max_drop:
        return Found((), tuple(trials))
    measured = progress.track(convs, total=len(convs), label="ranking")
    flips = {name: journal.memo(f"flips:{name}", partial(flips_without, name)) for name in measured}
    ranked = sorted(convs, key=lambda name: flips[name])
    if drop(ranked) > max_drop:
        raise QuantizationError(
            f"{trials[-1].drop_percent:.3f} % of the mIoU is lost even with every convolution in fp32",
            fix="allow a larger --max-drop, or calibrate on more images",
        )
    low, high = 0, len(ranked)  # not enough, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if drop(ranked[:middle]) <= max_drop else (middle, high)
    return Found(tuple(ranked[:high]), tuple(trials))
