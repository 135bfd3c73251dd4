"""A task in several processes of this machine, none of which outlives what it works for.

`concurrent.futures` has no word for which item killed a worker, and leaves workers behind when their parent is killed;
so the crew is kept here: one pipe a worker, one item in work and one waiting on each.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from fcn_onnx.errors import FcnOnnxError, WorkerError
from fcn_onnx.jobs.progress import Progress

AT_ONCE = 2
"""Items that a worker has been given: the one in work, and one so that it need not wait for us."""

PATIENCE_S = 5.0
"""Time that a worker has to end by itself, in seconds."""


class _Task(Protocol):
    """`executor.Task`, whatever its items are."""

    def load(self, item: Any) -> Any: ...
    def open(self) -> Callable[[Any], Any]: ...


def map_in_processes(
    task: _Task, items: Mapping[str, Any], workers: int, progress: Progress
) -> Generator[tuple[str, Any], None, None]:
    """`Executor.map`: results as they get ready.

    An item that its worker dies of is done again once, by a new worker.

    Raises:
        WorkerError: a worker died of the same item a second time.
        Exception: what the task raised, the first of it.
    """
    crew = _Crew(task, items, workers, progress)
    try:
        yield from crew.results()
        crew.dismiss()
    finally:
        crew.end()


@dataclass(frozen=True)
class _Ready:
    """A worker has opened its task."""


@dataclass(frozen=True)
class _Done:
    """What an item came to."""

    result: Any


@dataclass(frozen=True)
class _Failed:
    """What the task raised."""

    error: Exception


class _Worker:
    """A process, the pipe to it, and the names of the items it was given, in order."""

    def __init__(self, task: _Task) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, task), daemon=True)
        self.process.start()
        theirs.close()
        self.doing: deque[str] = deque()
        self.ready = False

    def give(self, name: str, item: Any) -> None:
        self.doing.append(name)
        with suppress(OSError):  # it is dead: the next reading from it tells
            self.connection.send(item)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"worker process {self.process.pid}"

    def death(self) -> str:
        """How it died."""
        return death_of(self.process)


def death_of(process: BaseProcess) -> str:
    """How a process died."""
    process.join(PATIENCE_S)
    code = process.exitcode
    if code == -signal.SIGKILL:
        return "signal SIGKILL, which the system sends where memory is short"
    return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


class _Crew:
    """All workers of one task, and the items that none of them has yet."""

    def __init__(self, task: _Task, items: Mapping[str, Any], workers: int, progress: Progress) -> None:
        self._task = task
        self._items = items
        self._progress = progress
        self._todo = deque(items)
        self._deaths: Counter[str] = Counter()
        self._workers = [_Worker(task) for _ in range(min(workers, len(items)))]

    def results(self) -> Iterator[tuple[str, Any]]:
        self._hand_out()
        while any(worker.doing for worker in self._workers):
            by_connection = {worker.connection: worker for worker in self._workers if worker.doing}
            for connection in wait(list(by_connection)):
                worker = by_connection[connection]  # type: ignore[index]  # `wait` returns what it was given
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    self._replace(worker)
                    continue
                match message:
                    case _Ready():
                        worker.ready = True
                    case _Failed(error):
                        raise error
                    case _Done(result):
                        name = worker.doing.popleft()
                        self._hand_out()
                        yield name, result

    def dismiss(self) -> None:
        """All is done: let the workers end by themselves."""
        for worker in self._workers:
            with suppress(OSError):
                worker.connection.send(None)
        for worker in self._workers:
            worker.process.join(PATIENCE_S)

    def end(self) -> None:
        """No worker is left, whatever it was doing."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(PATIENCE_S)
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
            worker.process.close()

    def _hand_out(self) -> None:
        """Give items to those who have least, until each has enough."""
        while self._todo:
            worker = min(self._workers, key=lambda worker: len(worker.doing))
            if len(worker.doing) >= AT_ONCE:
                return
            name = self._todo.popleft()
            worker.give(name, self._items[name])

    def _replace(self, dead: _Worker) -> None:
        """Put a new worker in the place of a dead one; its items are done again, unless one kills for a second time.

        Raises:
            WorkerError: one does, or the task cannot even be opened.
        """
        what = dead.doing[0] if dead.ready else "opening its model"
        how = dead.death()
        self._deaths[what] += 1
        if self._deaths[what] > 1:
            raise WorkerError(
                f"{dead.name} died ({how}) at {what}, and so did the one that tried it before",
                fix="use fewer --workers if memory is short; if not, leave out what it died of",
            )
        self._progress.note(f"{dead.name} died ({how}) at {what}: it is done again")
        self._workers.remove(dead)
        dead.connection.close()
        dead.process.close()
        self._todo.extendleft(reversed(dead.doing))
        self._workers.append(_Worker(self._task))
        self._hand_out()


def _work(connection: Connection, task: _Task) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        try:
            work = task.open()
        except Exception as error:
            connection.send(_Failed(portable(error)))
            return
        connection.send(_Ready())
        while (item := connection.recv()) is not None:
            connection.send(_answer(task, work, item))


def _answer(task: _Task, work: Callable[[Any], Any], item: Any) -> _Done | _Failed:
    try:
        return _Done(work(task.load(item)))
    except Exception as error:
        return _Failed(portable(error))


def portable(error: Exception) -> Exception:
    """`error`, or one that says the same, in a form that crosses to the parent; one of ours needs no traceback."""
    if not isinstance(error, FcnOnnxError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    except Exception:
        return WorkerError(f"{type(error).__name__} in a worker: {error}", fix="run it without --workers")
    return error


def _end_with_parent() -> None:
    """Wait until the parent is dead, however it died, and end this process at once.

    A worker that computes does not read its pipe, so that it would not notice. The kernel's own signal for that
    (PR_SET_PDEATHSIG) comes when the parent's *thread* ends, and on Linux only.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
