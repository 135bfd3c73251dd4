"""Where work on many items is done: in this process, in several on this machine, or on a cluster (`cluster.py`).

An executor hands out results as they get ready, each under the names of its items. No order is promised; what needs an
order makes it from the names. `engines.py` has the table of them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol, TypeVar, runtime_checkable

from fcn_onnx.jobs.prefetch import prefetch
from fcn_onnx.jobs.processes import map_in_processes
from fcn_onnx.jobs.progress import SILENT, Progress

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

Names = tuple[str, ...]
"""Of the items that a result is of."""


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


@runtime_checkable
class Joining(Protocol):
    """A task whose results may be added up where they are made, so that one of many items crosses instead of many."""

    def joined(self, results: Sequence[tuple[str, Any]]) -> list[tuple[Names, Any]]:
        """The same, in fewer results, which the state takes in to the same effect."""
        ...


class Executor(Protocol):
    """Runs a task on items.

    Attributes:
        workers: how many items are worked on at once; None where a cluster decides that as it goes.
        remarks: what a reader of the results must know of where they were made; complete after `map`.
    """

    @property
    def workers(self) -> int | None: ...

    @property
    def remarks(self) -> Sequence[str]: ...

    def share(self, threads: int) -> int:
        """Threads of each worker's sessions, where a process that is alone would have so many."""
        ...

    def map(
        self, task: Task[Item, Loaded, Result], items: Mapping[str, Item]
    ) -> Generator[tuple[Names, Result], None, None]:
        """Yield `(names, result)` of all items, as results get ready; the iterator is closed when no more are wanted.

        Raises:
            WorkerError: a process died of an item, twice.
            Exception: what the task raises, the first of it.
        """
        ...


class Here:
    """In this process, one item after the other and in their order; the next ones are loaded meanwhile."""

    workers = 1
    remarks = ()

    def share(self, threads: int) -> int:
        return threads

    def map(
        self, task: Task[Item, Loaded, Result], items: Mapping[str, Item]
    ) -> Generator[tuple[Names, Result], None, None]:
        if not items:
            return
        work = task.open()
        with closing(prefetch(task.load, items.values())) as loaded:
            for name, (_, value) in zip(items, loaded, strict=True):
                yield (name,), work(value)


class Processes:
    """In processes of this machine.

    Args:
        workers: how many.
        progress: hears of a process that died, and of its item that is done again.
    """

    remarks = ()

    def __init__(self, workers: int, progress: Progress = SILENT) -> None:
        self.workers = workers
        self._progress = progress

    def share(self, threads: int) -> int:
        return max(1, threads // self.workers)

    def map(
        self, task: Task[Item, Loaded, Result], items: Mapping[str, Item]
    ) -> Generator[tuple[Names, Result], None, None]:
        for name, result in map_in_processes(task, items, self.workers, self._progress):
            yield (name,), result
