"""The one loop over many items: what is done already is taken from the journal, the rest is done, added and kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Generic, Protocol, TypeVar

from fcn_onnx.jobs.executor import Executor, Item, Loaded, Names, Task
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.jobs.records import Arrays, Record

Result = TypeVar("Result")
Result_contra = TypeVar("Result_contra", contravariant=True)


class State(Protocol[Result_contra]):
    """What results come to, and how a journal keeps it."""

    @property
    def done(self) -> Iterable[str]:
        """Names of the items that are in it."""
        ...

    def add(self, names: Names, result: Result_contra) -> None:
        """Take in the result of one more item, or of some; they come in any order."""
        ...

    def keep(self, names: Names, journal: Journal) -> None:
        """Have the journal keep this, in which `names` are new."""
        ...

    def restore(self, record: Record) -> None:
        """Take in what a journal kept; if it is not that, KeyError, TypeError or ValueError, and this is as it was."""
        ...


class Sum(ABC, Generic[Result]):
    """Results that add up to one thing of constant size, the same in any order and any split.

    Attributes:
        done: names of the items that are in it.
    """

    def __init__(self) -> None:
        self.done: list[str] = []

    @abstractmethod
    def add(self, names: Names, result: Result) -> None:
        """Take in the result of these items, and name them in `done`."""

    @abstractmethod
    def to_arrays(self) -> Arrays:
        """All but the names."""

    @abstractmethod
    def from_arrays(self, arrays: Arrays) -> None:
        """Become what `to_arrays` was taken from."""

    def keep(self, names: Names, journal: Journal) -> None:
        journal.snapshot(lambda: Record(tuple(self.done), self.to_arrays()))

    def restore(self, record: Record) -> None:
        self.from_arrays(record.arrays)
        self.done = list(record.done)


class Rows(Generic[Result]):
    """A result for every item, each kept as it comes; whoever needs them in order asks for them by name.

    Args:
        to_arrays: what the journal keeps of a result.
        from_arrays: the result, from an item's name and that.
    """

    def __init__(self, to_arrays: Callable[[Result], Arrays], from_arrays: Callable[[str, Arrays], Result]) -> None:
        self._to_arrays = to_arrays
        self._from_arrays = from_arrays
        self._rows: dict[str, Result] = {}

    @property
    def done(self) -> Iterable[str]:
        return self._rows.keys()

    def add(self, names: Names, result: Result) -> None:
        (name,) = names
        self._rows[name] = result

    def keep(self, names: Names, journal: Journal) -> None:
        (name,) = names
        journal.append(Record(names, self._to_arrays(self._rows[name])))

    def restore(self, record: Record) -> None:
        (name,) = record.done
        self._rows[name] = self._from_arrays(name, record.arrays)

    def in_order(self, names: Iterable[str]) -> list[Result]:
        """The results of these items, in their order."""
        return [self._rows[name] for name in names]


def fold(
    task: Task[Item, Loaded, Result],
    items: Mapping[str, Item],
    state: State[Result],
    *,
    executor: Executor,
    journal: Journal,
    progress: Progress,
    label: str,
) -> None:
    """Do `task` on all items that `journal` does not hold, and add the results of all to `state`.

    Args:
        items: by name; a name means the same item in every run of the job.
        label: what the progress is called, such as "validating".

    Raises:
        Exception: what the task or the state raises; what was kept before stays kept.
    """
    unusable = []
    for record in journal.load():
        try:
            state.restore(record)
        except (KeyError, TypeError, ValueError) as error:
            unusable.append(error)
    if unusable:
        progress.note(f"{len(unusable)} of what the journal holds cannot be used ({unusable[0]!r}): it is done again")
    done = frozenset(state.done)
    remaining = {name: item for name, item in items.items() if name not in done}
    with closing(executor.map(task, remaining)) as results:
        each = ((name, names, result) for names, result in results for name in names)
        for name, names, result in progress.track(
            each, total=len(items), label=label, done=len(items) - len(remaining)
        ):
            if name == names[-1]:
                state.add(names, result)
                state.keep(names, journal)
