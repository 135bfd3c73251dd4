"""Where work on many items is done: in this process, or in several on this machine.

An executor hands out results as they get ready, each under its item's name. No order is promised, so that a cluster
can be one more entry of `EXECUTORS`; what needs an order makes it from the names.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Protocol, TypeVar

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.prefetch import prefetch
from fcn_onnx.jobs.processes import map_in_processes
from fcn_onnx.jobs.progress import SILENT, Progress

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Task(Protocol[Item_contra, Loaded, Result_co]):
    """What is done with every item; it crosses to another process by pickle, so what is open in it stays behind.

    An item's result is `open()(load(item))`, wherever and after whatever else it is computed.
    """

    def load(self, item: Item_contra) -> Loaded:
        """What may happen in a thread while the item before it is worked on: reading and decoding."""
        ...

    def open(self) -> Callable[[Loaded], Result_co]:
        """The work itself, with its sessions opened: called once by each process."""
        ...


class Executor(Protocol):
    """Runs a task on items."""

    @property
    def workers(self) -> int:
        """How many items are worked on at once; who makes a task divides its threads by that."""
        ...

    def map(
        self, task: Task[Item, Loaded, Result], items: Mapping[str, Item]
    ) -> Generator[tuple[str, Result], None, None]:
        """Yield `(name, result)` of every item, as results get ready; the iterator is closed when no more are wanted.

        Raises:
            WorkerError: a process died of an item, twice.
            Exception: what the task raises, the first of it.
        """
        ...


class Here:
    """In this process, one item after the other and in their order; the next ones are loaded meanwhile."""

    workers = 1

    def map(
        self, task: Task[Item, Loaded, Result], items: Mapping[str, Item]
    ) -> Generator[tuple[str, Result], None, None]:
        if not items:
            return
        work = task.open()
        with closing(prefetch(task.load, items.values())) as loaded:
            for name, (_, value) in zip(items, loaded, strict=True):
                yield name, work(value)


class Processes:
    """In processes of this machine.

    Args:
        workers: how many.
        progress: hears of a process that died, and of its item that is done again.
    """

    def __init__(self, workers: int, progress: Progress = SILENT) -> None:
        self.workers = workers
        self._progress = progress

    def map(
        self, task: Task[Item, Loaded, Result], items: Mapping[str, Item]
    ) -> Generator[tuple[str, Result], None, None]:
        return map_in_processes(task, items, self.workers, self._progress)


def local(workers: int, progress: Progress) -> Executor:
    """This process for one worker, processes of this machine for more.

    Raises:
        UsageError: no worker.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers", fix="use at least one")
    return Here() if workers == 1 else Processes(workers, progress)


EXECUTORS: Mapping[str, Callable[[int, Progress], Executor]] = {"local": local}
"""By name: from a number of workers, and who hears of their troubles, to an executor."""
