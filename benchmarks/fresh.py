"""Work in a process of its own, and what it took."""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Of one piece of work: wall time, CPU time of all threads, and the peak resident memory of its process."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


class Clock:
    """Wall and CPU time that is spent within its blocks, of which there may be several."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0

    def __enter__(self) -> Clock:
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started[0]
        self.cpu_seconds += time.process_time() - self._started[1]


def in_fresh_process(work: Callable[..., Any], *arguments: Any) -> tuple[Any, Cost]:
    """What `work(*arguments)` returns, and what it took; it is silent, and what it raises is raised here."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: tuple[Any, Cost] = pool.apply(_measured, (work, arguments))
    return found


def _measured(work: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Any, Cost]:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    clock = Clock()
    with contextlib.redirect_stdout(io.StringIO()), clock:
        found = work(*arguments)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found, Cost(clock.seconds, clock.cpu_seconds, peak_mib)
