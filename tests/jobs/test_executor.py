"""Executors: every item's result, whoever computes it; and no worker that outlives its work."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from notes import Notes

from fcn_onnx.errors import ImageError, UsageError, WorkerError
from fcn_onnx.jobs.engines import Running, executor_of
from fcn_onnx.jobs.executor import Executor, Here, Processes
from fcn_onnx.jobs.limits import Limits


@dataclass(frozen=True)
class Cubes:
    """n³, but for numbers that it fails at, or dies of (as long as `marks` holds no note of a death)."""

    fails_at: int = -1
    dies_at: int = -1
    marks: Path | None = None
    opens: bool = True

    def load(self, item: int) -> tuple[int, int]:
        if item == self.fails_at:
            raise ImageError(f"cannot read {item}", fix="nothing")
        return item, item * item

    def open(self) -> Callable[[tuple[int, int]], int]:
        if not self.opens:
            raise OddError(1, 2)
        return self._cube

    def _cube(self, loaded: tuple[int, int]) -> int:
        item, square = loaded
        if item == self.dies_at and not (self.marks and (self.marks / "died").exists()):
            if self.marks:
                (self.marks / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item * square


class OddError(Exception):
    """One that pickle cannot bring back."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"odd {a} {b}")


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has four, and memory enough."""
    monkeypatch.setattr("fcn_onnx.jobs.engines.read_limits", lambda: Limits(4, 1 << 40))


ITEMS = {str(i): i for i in range(12)}


@pytest.mark.parametrize("executor", [Here(), Processes(2), Processes(3)], ids=["here", "two", "three"])
def test_every_item_has_its_result(executor: Executor) -> None:
    found = list(executor.map(Cubes(), ITEMS))
    assert sorted(found, key=lambda pair: int(pair[0][0])) == [((str(i),), i**3) for i in range(12)]
    assert list(executor.map(Cubes(), {})) == []
    assert not multiprocessing.active_children()


def test_here_keeps_the_order() -> None:
    assert [name for (name,), _ in Here().map(Cubes(), ITEMS)] == list(ITEMS)


@pytest.mark.parametrize("executor", [Here(), Processes(2)], ids=["here", "two"])
def test_an_error_of_the_task_is_the_error(executor: Executor) -> None:
    with pytest.raises(ImageError, match="cannot read 5") as caught:
        list(executor.map(Cubes(fails_at=5), ITEMS))
    assert caught.value.fix == "nothing"
    assert not multiprocessing.active_children()


def test_an_error_that_cannot_cross_is_told() -> None:
    with pytest.raises(WorkerError, match="OddError in a worker: odd 1 2"):
        list(Processes(2).map(Cubes(opens=False), ITEMS))


def test_an_item_whose_worker_died_is_done_again(tmp_path: Path) -> None:
    notes = Notes()
    found = dict(Processes(2, notes).map(Cubes(dies_at=7, marks=tmp_path), ITEMS))
    assert found == {(name,): i**3 for name, i in ITEMS.items()}
    (said,) = notes.said
    assert re.fullmatch(r"worker process \d+ died \(signal SIGKILL, .* memory is short\) at 7: it is done again", said)


def test_an_item_that_kills_twice_is_named() -> None:
    with pytest.raises(WorkerError, match=r"worker process \d+ died \(signal SIGKILL.*\) at 7, and so did"):
        list(Processes(2).map(Cubes(dies_at=7), ITEMS))
    assert not multiprocessing.active_children()


def test_whoever_wants_no_more_leaves_nothing_running() -> None:
    results = Processes(2).map(Cubes(), ITEMS)
    next(results)
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert not multiprocessing.active_children()


ORPHANING = """
import time
from dataclasses import dataclass
from fcn_onnx.jobs.executor import Processes

@dataclass(frozen=True)
class Endless:
    def load(self, item):
        return item
    def open(self):
        return self.work
    def work(self, item):
        print("working", flush=True)
        while True:
            sum(range(1000))

if __name__ == "__main__":
    list(Processes(2).map(Endless(), {"a": 1, "b": 2}))
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=["KILL", "TERM", "INT"])
def test_no_worker_outlives_its_parent(tmp_path: Path, by: signal.Signals) -> None:
    """A worker that did would hold stdout open, so that who reads it would wait for ever."""
    script = tmp_path / "orphaning.py"
    script.write_text(ORPHANING)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert parent.stdout is not None
    assert [parent.stdout.readline() for _ in range(2)] == ["working\n"] * 2
    parent.send_signal(by)
    started = time.monotonic()
    assert parent.communicate(timeout=20) == ("", None)
    assert time.monotonic() - started < 5


def test_executors_by_name(cores: None) -> None:
    assert executor_of(Running(), 0, Notes()).workers == 1
    assert executor_of(Running(workers=3), 0, Notes()).workers == 3
    with pytest.raises(UsageError):
        Running(workers=0)
