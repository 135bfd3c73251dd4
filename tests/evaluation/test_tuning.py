"""Which settings win, with times that are made up: a clock that the settings turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from toys import pixel_classifier, save

from fcn_onnx.errors import ModelError
from fcn_onnx.evaluation import tuning
from fcn_onnx.evaluation.tuning import LATENCY, THROUGHPUT, Settings, Trial, Tuning, together, tune, variants
from fcn_onnx.jobs.progress import SILENT
from fcn_onnx.runtime.seam import RUNTIMES, SessionConfig, get_runtime

DEFAULT = Settings(4)


class Clock:
    """Runs calls in no time, and says that they took what `cost` says of their settings, in milliseconds.

    Attributes:
        now: milliseconds since the start, so that costs can drift.
    """

    def __init__(self, cost: Callable[[Settings, Clock], float], patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.cost = cost
        self.rng = np.random.default_rng(0)
        patch.setattr(tuning, "timed", self.timed)

    def opened(self, settings: Settings) -> Callable[[], None]:
        def call() -> None:
            self.now += self.cost(settings, self)

        return call

    def timed(self, work: Callable[[], Any]) -> tuple[Any, float]:
        start = self.now
        value = work()
        return value, self.now - start


def tried(
    patch: pytest.MonkeyPatch,
    cost: Callable[[Settings, Clock], float],
    others: Sequence[Settings],
    runs: int = 12,
) -> Tuning:
    clock = Clock(cost, patch)
    return tune(DEFAULT, others, clock.opened, runs, progress=SILENT, label="a model")


def noisy(milliseconds: float, clock: Clock) -> float:
    return milliseconds * float(clock.rng.uniform(0.97, 1.03))


def test_what_is_tried_differs_from_the_default_in_one_setting() -> None:
    found = variants(DEFAULT, 4, onnxruntime=True, batches=(2, 8))
    assert found == [
        Settings(1),
        Settings(2),
        Settings(4, spinning=False),
        Settings(4, memory_pattern=True),
        Settings(4, batch=2),
        Settings(4, batch=8),
        Settings(2, sessions=2),
        Settings(1, sessions=4),
    ]
    assert variants(Settings(1), 1, onnxruntime=False, batches=()) == []
    assert [one.threads for one in variants(Settings(6), 6, onnxruntime=False, batches=()) if one.sessions == 1] == [
        1,
        2,
        4,
    ]


def test_the_default_stays_where_nothing_is_faster_by_more_than_its_interval(patch: pytest.MonkeyPatch) -> None:
    others = variants(DEFAULT, 4, onnxruntime=True, batches=(2,))
    found = tried(patch, lambda settings, clock: noisy(40.0 * settings.images, clock), others)
    assert found.fastest(LATENCY) == found.fastest(THROUGHPUT) == DEFAULT
    assert [trial.settings for trial in found.trials] == others
    few = tried(patch, lambda settings, clock: 40.0 if settings == DEFAULT else 1.0, others, runs=4)
    assert not few.confirmed  # below five runs there is no interval, and nothing is called faster


def test_a_faster_setting_wins_and_gains_are_put_together(patch: pytest.MonkeyPatch) -> None:
    def cost(settings: Settings, clock: Clock) -> float:
        slower = {1: 2.0, 2: 0.8, 4: 1.0}[settings.threads] * (1.0 if settings.spinning else 0.9)
        return noisy(100 * slower * settings.batch**0.5 * settings.sessions, clock)

    found = tried(patch, cost, variants(DEFAULT, 4, onnxruntime=True, batches=(2, 4)))
    assert found.fastest(LATENCY) == Settings(2, spinning=False)
    assert found.fastest(THROUGHPUT) == Settings(2, spinning=False, batch=4)
    assert found.confirmed[LATENCY].speedup == pytest.approx(1 / 0.72, rel=0.05)
    assert found.confirmed[THROUGHPUT].images_per_second == pytest.approx(1e3 * 4 / (72 * 2), rel=0.05)


def test_what_only_the_first_round_saw_does_not_win(patch: pytest.MonkeyPatch) -> None:
    calls: list[Settings] = []

    def cost(settings: Settings, clock: Clock) -> float:
        calls.append(settings)
        lucky = settings.threads == 2 and calls.count(settings) < 15
        return noisy(100.0 if settings == DEFAULT else 50.0 if lucky else 102.0, clock)

    found = tried(patch, cost, [Settings(2)])
    assert found.trials[0].gains
    assert found.confirmed[LATENCY].speedup == pytest.approx(100 / 102, abs=0.05)
    assert found.fastest(LATENCY) == DEFAULT


def test_drift_decides_nothing(patch: pytest.MonkeyPatch) -> None:
    """The machine gets slower all the time; who is timed later in a turn is timed earlier in the next."""
    others = [Settings(1), Settings(2)]
    found = tried(patch, lambda _, clock: noisy(30.0 * (1 + clock.now / 4000), clock), others, runs=20)
    assert found.fastest(LATENCY) == DEFAULT
    assert all(trial.speedup == pytest.approx(1, abs=0.1) for trial in found.trials)


def test_short_calls_are_timed_together(patch: pytest.MonkeyPatch) -> None:
    count = 0

    def cost(settings: Settings, clock: Clock) -> float:
        nonlocal count
        count += 1
        return 0.5

    found = tried(patch, cost, [], runs=5)
    assert (found.default.call_ms, found.default.images_per_second) == pytest.approx((0.5, 2000))
    assert count == 2 + 5 * 40


def test_settings_that_do_not_run_are_named(patch: pytest.MonkeyPatch) -> None:
    clock = Clock(lambda settings, _: 30.0, patch)

    def opened(settings: Settings) -> Callable[[], None]:
        if settings.batch > 1:
            raise ModelError("m does not run on a batch", fix="")
        return clock.opened(settings)

    others = [Settings(4, batch=2), Settings(2)]
    found = tune(DEFAULT, others, opened, 5, left_out=["another"], progress=SILENT, label="m")
    assert found.left_out == ("another", "4 threads, batches of 2: m does not run on a batch")
    assert [trial.settings for trial in found.trials] == [Settings(2)]


def test_sessions_side_by_side_keep_their_own_threads() -> None:
    def gaining(settings: Settings, speedup: float) -> Trial:
        return Trial(settings, 1.0, 1.0, speedup, (1.01, 2.0))

    trials = [gaining(Settings(2), 1.1), gaining(Settings(1, sessions=4), 1.5), gaining(Settings(4, batch=2), 1.2)]
    assert together(DEFAULT, trials, latency=False) == Settings(1, sessions=4)
    assert together(DEFAULT, trials, latency=True) == Settings(2)
    lost = replace(trials[0], speedup_ci95=(0.9, 1.3))
    assert together(DEFAULT, [lost], latency=True) == DEFAULT


def test_the_lines_to_copy_open_the_session_that_was_measured(tmp_path: Path) -> None:
    path = save(pixel_classifier(), tmp_path / "m.onnx")
    config = SessionConfig(threads=1, spinning=False, memory_pattern=True)
    names: dict[str, Any] = {}
    exec(get_runtime().python(str(path), config), names)  # our own lines
    options: ort.SessionOptions = names["session"].get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.enable_mem_pattern
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    measured = get_runtime().open(str(path), config, name="m", fix="")._session.get_session_options()  # type: ignore[attr-defined]
    assert (measured.intra_op_num_threads, measured.enable_mem_pattern) == (1, True)
    assert measured.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    if RUNTIMES["openvino"].installed:
        exec(get_runtime("openvino").python(str(path), config), names)  # our own lines
        assert names["model"].get_property("INFERENCE_NUM_THREADS") == 1
        assert names["model"].get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch
