"""One model in two runtimes: which is the faster, where it is so by enough that the user should know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.evaluation.comparison import speedup_interval
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, get_runtime

WORTH_SAYING = 1.2
"""How often as fast a runtime must be as onnxruntime; where there is an interval, it must lie above 1 too."""


@dataclass(frozen=True)
class Run:
    """A model in a runtime.

    Attributes:
        model: what notes call it.
        same: of all runs of one model on the same images.
        runtime: a name in `RUNTIMES`.
        latency_ms: (N,) float64, in turns with the others.
    """

    model: str
    same: object
    runtime: str
    latency_ms: NDArray[np.float64]


def runtime_notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """What a reader must know of the runtimes, and which of them beats onnxruntime, on the same model."""
    remarks = (get_runtime(name).remark for name in dict.fromkeys(run.runtime for run in runs))
    return (*filter(None, remarks), *_faster(runs))


def _faster(runs: Sequence[Run]) -> Iterator[str]:
    bases = {run.same: run for run in reversed(runs) if run.runtime == DEFAULT_RUNTIME}
    for other in runs:
        base = bases.get(other.same)
        if base is None or other.runtime == DEFAULT_RUNTIME:
            continue
        speedup, interval = speedup_interval(base.latency_ms, other.latency_ms)
        if speedup > WORTH_SAYING and (interval is None or interval[0] > 1):
            between = "" if interval is None else f" ({interval[0]:.2f} … {interval[1]:.2f}×)"
            yield f"{other.runtime} runs {other.model} {speedup:.2f}× as fast as {base.runtime}{between}"
