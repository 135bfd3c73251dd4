"""Which settings a session is fastest with, decided only where the measurement decides it.

First the default and all that differ from it in one setting are timed in turns, so that drift is the same for all. What
is faster than the default by more than its 95 % interval is put together, once for the latency of one image and once
for images a second, and timed anew beside the default, as the best of many is partly the luckiest. A setting wins where
that second interval, too, lies above 1; else the default stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.errors import ModelError
from fcn_onnx.evaluation.comparison import Interval, speedup_interval
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.timing import alternate, timed

BATCHES = (2, 4, 8)
LATENCY, THROUGHPUT = "latency", "throughput"

LEAST_MS = 20.0
"""Of what is timed at once: calls that take less are repeated. The threads of the session before, which spin for a
while after its last run, then slow the first of many calls and not every one."""

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    Attributes:
        threads: of each session.
        spinning, memory_pattern: see `SessionConfig`.
        batch: images in a call.
        sessions: side by side, each with a call of its own.
    """

    threads: int
    spinning: bool = True
    memory_pattern: bool = False
    batch: int = 1
    sessions: int = 1

    @property
    def config(self) -> SessionConfig:
        """Of one session."""
        return SessionConfig(threads=self.threads, spinning=self.spinning, memory_pattern=self.memory_pattern)

    @property
    def images(self) -> int:
        """Computed at once."""
        return self.batch * self.sessions

    def __str__(self) -> str:
        said = [f"{self.threads} thread{'s' * (self.threads > 1)}"]
        said += [] if self.sessions == 1 else [f"{self.sessions} sessions side by side"]
        said += [] if self.batch == 1 else [f"batches of {self.batch}"]
        said += [] if self.spinning else ["no spinning"]
        return ", ".join([*said, *(["memory pattern"] if self.memory_pattern else [])])


@dataclass(frozen=True)
class Trial:
    """Settings as they were measured.

    Attributes:
        call_ms: median time of a call, which is that of `Settings.images`.
        images_per_second: at that time.
        speedup, speedup_ci95: the default's time for an image over this one's, and its interval; None below
            `MIN_IMAGES` runs.
    """

    settings: Settings
    call_ms: float
    images_per_second: float
    speedup: float
    speedup_ci95: Interval | None

    @property
    def gains(self) -> bool:
        """Whether it is faster than the default by more than the interval."""
        return self.speedup_ci95 is not None and self.speedup_ci95[0] > 1


@dataclass(frozen=True)
class Tuning:
    """What settings came to, of one model in one runtime.

    Attributes:
        default: the trial that the others are held against, in the first round.
        trials: those that differ from it in one setting.
        confirmed: of the second round, by goal; without an entry where nothing gained in the first.
        left_out: settings that were not tried, and why.
    """

    default: Trial
    trials: tuple[Trial, ...]
    confirmed: Mapping[str, Trial]
    left_out: tuple[str, ...]

    def fastest(self, goal: str) -> Settings:
        """The settings to use for `latency` or `throughput`: the default's, unless others are surely faster."""
        found = self.confirmed.get(goal)
        return found.settings if found is not None and found.gains else self.default.settings


Opened = Callable[[], object]
"""A call."""


def variants(default: Settings, cores: int, *, onnxruntime: bool, batches: Sequence[int]) -> list[Settings]:
    """What differs from the default in one setting; sessions side by side share the cores."""
    fewer = {2**power for power in range(cores.bit_length()) if 2**power <= cores} | {cores}
    found = [replace(default, threads=threads) for threads in sorted(fewer - {default.threads})]
    if onnxruntime:
        found += [replace(default, spinning=False), replace(default, memory_pattern=True)]
    found += [replace(default, batch=batch) for batch in batches]
    side_by_side = sorted({2, cores} & set(range(2, cores + 1)))
    return found + [replace(default, threads=max(1, cores // n), sessions=n) for n in side_by_side]


def tune(
    default: Settings,
    others: Sequence[Settings],
    opened: Callable[[Settings], Opened],
    runs: int,
    *,
    left_out: Sequence[str] = (),
    progress: Progress,
    label: str,
) -> Tuning:
    """Time the settings `runs` times in turns, and the best of them once more.

    Args:
        opened: makes the call that is timed; a ModelError of it, or of its first call, leaves the settings out.
        left_out: what is not among `others`, and why.

    Raises:
        ModelError: the default does not run.
    """
    calls: dict[Settings, Opened] = {default: opened(default)}
    calls[default]()
    refused = list(left_out)
    for settings in others:
        try:
            calls[settings] = opened(settings)
            calls[settings]()
        except ModelError as error:
            calls.pop(settings, None)
            refused.append(f"{settings}: {error.what}")
    first = _trials(default, _series(calls, runs, progress, f"{label}, all settings"))
    single = [trial for settings, trial in first.items() if settings != default]
    chosen = {LATENCY: together(default, single, latency=True), THROUGHPUT: together(default, single, latency=False)}
    calls = {default: calls[default]} | {
        settings: calls[settings] if settings in calls else opened(settings)
        for settings in chosen.values()
        if settings != default
    }
    second = _trials(default, _series(calls, runs, progress, f"{label}, the best again")) if len(calls) > 1 else {}
    confirmed = {goal: second[settings] for goal, settings in chosen.items() if settings != default}
    return Tuning(first[default], tuple(single), confirmed, tuple(refused))


def together(default: Settings, trials: Sequence[Trial], *, latency: bool) -> Settings:
    """The best of each setting that gains, put together.

    Args:
        trials: of settings that differ from the default in one.
        latency: whether a single image is waited for, which leaves batches and sessions side by side out.
    """
    gaining = sorted((trial for trial in trials if trial.gains), key=lambda trial: -trial.speedup)
    alone = [trial.settings for trial in gaining if trial.settings.images == 1]
    many = [trial.settings for trial in gaining if trial.settings.images > 1]
    found = default
    threads = next((settings.threads for settings in alone if settings.threads != default.threads), default.threads)
    if not latency and many:
        found = many[0]
    if found.sessions == 1:
        found = replace(found, threads=threads)
    return replace(
        found,
        spinning=default.spinning and all(settings.spinning for settings in alone),
        memory_pattern=default.memory_pattern or any(settings.memory_pattern for settings in alone),
    )


def _trials(default: Settings, series: Mapping[Settings, Series]) -> dict[Settings, Trial]:
    """Each settings' trial, from milliseconds of a call in every turn."""
    reference = series[default] / default.images
    found = {}
    for settings, taken in series.items():
        speedup, interval = speedup_interval(reference, taken / settings.images)
        median = float(np.median(taken))
        found[settings] = Trial(settings, median, 1e3 * settings.images / median, speedup, interval)
    return found


def _series(calls: Mapping[Settings, Opened], runs: int, progress: Progress, label: str) -> dict[Settings, Series]:
    """Milliseconds of a call of each, in turns."""
    times = {settings: max(1, ceil(LEAST_MS / max(timed(call)[1], 1e-3))) for settings, call in calls.items()}
    taken: dict[Settings, list[float]] = {settings: [] for settings in calls}
    for turn in progress.track(range(runs), total=runs, label=label):
        for settings in alternate(list(calls), turn):
            count = times[settings]
            taken[settings].append(timed(partial(_repeat, calls[settings], count))[1] / count)
    return {settings: np.asarray(series) for settings, series in taken.items()}


def _repeat(call: Opened, count: int) -> None:
    for _ in range(count):
        call()
