"""How long models take, measured so that the ratio can be believed on a noisy machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a session's run, over images."""

    p50: float
    p90: float
    p99: float
    mean: float

    @classmethod
    def of(cls, milliseconds: NDArray[np.float64]) -> Latency:
        """Summarise a series (N,), N ≥ 1."""
        p50, p90, p99 = np.percentile(milliseconds, [50, 90, 99])
        return cls(float(p50), float(p90), float(p99), float(milliseconds.mean()))


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Call once; return what it returns, and the milliseconds it took."""
    start = time.perf_counter()
    value = work()
    return value, (time.perf_counter() - start) * 1e3


def alternate(items: Sequence[T], turn: int) -> list[T]:
    """The order of this turn: forwards on even turns, backwards on odd (AB, BA, AB, …)."""
    return list(items) if turn % 2 == 0 else list(items)[::-1]


def time_ratio(first: Callable[[], object], second: Callable[[], object], runs: int) -> float:
    """The median time of the first over that of the second, which run in turns, each once to warm up."""
    works = (first, second)
    for work in works:
        work()
    series: list[list[float]] = [[], []]
    for turn in range(runs):
        for index in alternate(range(len(works)), turn):
            series[index].append(timed(works[index])[1])
    return float(np.median(series[0]) / np.median(series[1]))
