"""The one loop: any order, split and interruption comes to the same."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcn_onnx.jobs.executor import Here, Names, Processes
from fcn_onnx.jobs.fold import Rows, Sum, fold
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import SILENT
from fcn_onnx.jobs.records import Arrays

ITEMS = {f"{i}.jpg": i for i in range(20)}


class Squares:
    """i → i², and how often that was asked."""

    def load(self, item: int) -> int:
        return item

    def open(self) -> Callable[[int], int]:
        return self.square

    def square(self, item: int) -> int:
        return item * item


class Backwards:
    """An executor that hands out the last item's result first, as a cluster may."""

    def map(self, task: Any, items: Mapping[str, Any]) -> Generator[tuple[Names, Any], None, None]:
        work = task.open()
        yield from (((name,), work(task.load(item))) for name, item in reversed(items.items()))


class Total(Sum[int]):
    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def add(self, names: Names, result: int) -> None:
        self.total += result
        self.done += names

    def to_arrays(self) -> Arrays:
        return {"total": np.array(self.total)}

    def from_arrays(self, arrays: Arrays) -> None:
        self.total = int(arrays["total"])


def rows() -> Rows[int]:
    return Rows(lambda value: {"value": np.array(value)}, lambda name, arrays: int(arrays["value"]))


class Stopping:
    """Stops after some items, and counts those that were done."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.seen = 0
        self.said: list[str] = []

    def track(self, items, *, total, label, done=0):  # type: ignore[no-untyped-def]
        assert total == len(ITEMS)
        for item in items:
            if self.seen == self.after:
                raise KeyboardInterrupt
            self.seen += 1
            yield item

    def note(self, message: str) -> None:
        self.said.append(message)


EXECUTORS = pytest.mark.parametrize("executor", [Here(), Backwards(), Processes(2)], ids=["here", "backwards", "two"])


def run(state: Any, executor: Any, path: Path | None, progress: Any = SILENT) -> None:
    with closing(Journal(path, "job", interval_s=0, progress=progress)) as journal:
        fold(Squares(), ITEMS, state, executor=executor, journal=journal, progress=progress, label="working")


@EXECUTORS
def test_an_interrupted_sum_comes_to_the_same(tmp_path: Path, executor: Any) -> None:
    first, second = Stopping(7), Stopping(99)
    with pytest.raises(KeyboardInterrupt):
        run(Total(), executor, tmp_path / "j", first)
    total = Total()
    run(total, executor, tmp_path / "j", second)
    assert total.total == sum(i * i for i in range(20))
    assert sorted(total.done) == sorted(ITEMS)
    assert (first.seen, second.seen) == (7, 13)
    assert second.said == [f"continuing after 7 finished images ({tmp_path / 'j'})"]


@EXECUTORS
def test_interrupted_rows_come_to_the_same_in_order(tmp_path: Path, executor: Any) -> None:
    for after in (3, 5, 99):
        progress, found = Stopping(after), rows()
        if after < 99:
            with pytest.raises(KeyboardInterrupt):
                run(found, executor, tmp_path / "j", progress)
        else:
            run(found, executor, tmp_path / "j", progress)
    assert progress.seen == 12
    assert found.in_order(ITEMS) == [i * i for i in range(20)]


@pytest.mark.parametrize("make", [Total, rows], ids=["sum", "rows"])
def test_a_flipped_byte_anywhere_costs_time_only(tmp_path: Path, make: Callable[[], Any]) -> None:
    def result(state: Any) -> Any:
        return state.total if isinstance(state, Total) else state.in_order(ITEMS)

    with pytest.raises(KeyboardInterrupt):
        run(make(), Here(), tmp_path / "j", Stopping(4))
    written = (tmp_path / "j").read_bytes()
    whole = make()
    run(whole, Here(), None)
    for position in range(0, len(written), 7):
        damaged = bytearray(written)
        damaged[position] ^= 0xFF
        (tmp_path / "j").write_bytes(damaged)
        state = make()
        run(state, Here(), tmp_path / "j")
        assert result(state) == result(whole)


def test_a_journal_of_something_else_is_said_and_not_used(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Total(), Here(), tmp_path / "j", Stopping(4))
    progress, found = Stopping(99), rows()
    run(found, Here(), tmp_path / "j", progress)
    assert found.in_order(ITEMS) == [i * i for i in range(20)]
    assert any("cannot be used" in said for said in progress.said)
