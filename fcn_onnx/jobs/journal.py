"""Finished items of a long job, kept on disk so that an interrupted run continues: the one thing that resumes.

Rows (scores, predictions, measurements) are appended as they come; sums (statistics) replace one another, now and then.
Either way a process that is killed at any moment, or a disk that is full, leaves what was whole. A journal is named
after its output and its job, so that another job towards the same output has another, and it lies in the output's
folder. It is forgotten when whoever wanted the output has it on disk (`Journals`), not before.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from fcn_onnx.errors import OutputError
from fcn_onnx.jobs.files import lock, named, open_own, replacing, sweep, write_all, writing
from fcn_onnx.jobs.holding import holding
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.jobs.records import Record, encode, header, read

INTERVAL_S = 5.0
DIGITS = 16
"""Of the job's digest in a journal's name."""


def journal_path(output: Path, job: str) -> Path:
    """Where the work of `job` towards `output` is kept until the output is on disk."""
    own = named(output)
    return own.with_name(f".{own.name}.{job.removeprefix('sha256:')[:DIGITS]}.journal")


def journals_towards(output: Path) -> list[Path]:
    """The journals of all jobs towards `output` that were interrupted or are at work."""
    own = named(output)
    return sorted(own.parent.glob(f".{glob.escape(own.name)}.{'[0-9a-f]' * DIGITS}.journal"))


def nearest_folder(path: Path) -> Path:
    """`path` itself if it is a folder, or the first of its parents that exists."""
    return next(p for p in [path, *path.absolute().parents] if p.is_dir())


class Journal:
    """The journal of one job.

    Args:
        path: the file; None keeps none, and nothing resumes.
        job: digest of all that the result depends on; a journal of another job is not used.
        interval_s: least time between two snapshots, or between two times that appended rows are forced to the disk, in
            seconds. A power cut loses no more than that; a killed process loses no row
            but those of the job's first seconds.
    """

    def __init__(
        self, path: Path | None, job: str, *, interval_s: float = INTERVAL_S, progress: Progress = SILENT
    ) -> None:
        self._path = path
        self._job = job
        self._interval_s = interval_s
        self._progress = progress
        self._on_disk = time.monotonic()
        self._whole: int | None = None  # bytes of the file that are sound; None before it was looked at
        self._descriptor: int | None = None
        self._memos: dict[str, float] | None = None
        self._pending: list[bytes] = []  # records from before there is a file

    @property
    def kept(self) -> bool:
        """Whether there is a file from which the next run continues."""
        return self._path is not None and self._path.is_file()

    def load(self, what: str = "images") -> Sequence[Record]:
        """What this very job had finished, in the order in which it was kept, each unpacked when it is asked for.

        Args:
            what: the items, in notes.
        """
        self._whole = 0
        if self._path is None or not os.path.lexists(self._path):
            return ()
        try:
            with os.fdopen(open_own(self._path, os.O_RDONLY), "rb") as stream:
                found = read(stream)
        except OSError as error:
            self._progress.note(f"the journal {self._path} cannot be read ({error.strerror or error}): starting over")
            return ()
        if found.job != self._job:
            why = "cannot be read" if found.job is None else "is of another job"
            self._progress.note(f"the journal {self._path} {why}: starting over")
            return ()
        self._whole = found.size_bytes
        done = len({name for record in found.records for name in record.done})
        if found.damaged:
            self._progress.note(f"the journal {self._path} is not whole: what follows the first {done} is done again")
        if done:
            self._progress.note(f"continuing after {done} finished {what} ({self._path})")
        return found.records

    def append(self, record: Record) -> None:
        """Keep one more record, at once; but a job that is younger than `interval_s` has no journal yet.

        Raises:
            OutputError: it cannot be written.
        """
        if self._path is None:
            return
        self._pending.append(encode(record))
        if self._whole is None:
            self.load()
        if self._descriptor is None and not self._whole and not self._due():
            return
        with writing(self._path, called="the journal "):
            if self._descriptor is None:
                self._descriptor = self._begin()
            if self._descriptor is not None:
                write_all(self._descriptor, b"".join(self._pending))
                self._pending.clear()
                if self._due():
                    os.fsync(self._descriptor)
                    self._on_disk = time.monotonic()

    def snapshot(self, record: Callable[[], Record]) -> None:
        """Keep this record in place of all others, unless the last one is less than `interval_s` old.

        Raises:
            OutputError: it cannot be written.
        """
        if self._path is None or not self._due():
            return
        with writing(self._path, called="the journal "):
            with replacing(self._path) as descriptor:
                write_all(descriptor, header(self._job) + encode(record()))
            os.close(descriptor)
            self._on_disk = time.monotonic()

    def memo(self, key: str, measure: Callable[[], float]) -> float:
        """What `measure` came to when it was first asked for `key`, in this run or an earlier one.

        Raises:
            OutputError: it cannot be kept.
        """
        if self._memos is None:
            self._memos = {r.done[0]: float(r.arrays["value"]) for r in self.load("measurements")}
        if key not in self._memos:
            self._memos[key] = measure()
            self.append(Record((key,), {"value": np.asarray(self._memos[key])}))
        return self._memos[key]

    def close(self) -> None:
        """Nothing more is kept; the file stays, on disk."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and self._path is not None:
            try:
                with writing(self._path, called="the journal "):
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def remove(self) -> None:
        """Forget the job: its result is on disk."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            sweep(self._path.parent, f"{self._path.name}.")

    def _due(self) -> bool:
        return time.monotonic() - self._on_disk >= self._interval_s

    def _begin(self) -> int | None:
        """Open the file to append to: after what is whole of it, or a new one. None if none is kept."""
        assert self._path is not None
        if not self._whole:
            with replacing(self._path) as descriptor:
                write_all(descriptor, header(self._job))
            return descriptor
        descriptor = open_own(self._path, os.O_RDWR | os.O_APPEND)
        if not lock(descriptor):
            os.close(descriptor)
            self._progress.note(f"another run of this job keeps the journal {self._path}: this one keeps none")
            self._path = None
            self._pending.clear()
            return None
        os.ftruncate(descriptor, self._whole)
        return descriptor


class Journals:
    """The journals of all steps towards one output, which are forgotten together: when the output is on disk.

    Within the block no other run works towards it.

        with Journals(output) as journals:
            table = observe(…, journals=journals)
            write(table, output)

    A block that ends in an error leaves them for the next run.

    Args:
        output: the file or folder; None keeps none.
        wait_s: how long to wait for another run that is at work on it, in seconds.

    Raises:
        BusyError: there is one still.
    """

    def __init__(self, output: Path | None, *, wait_s: float = 0.0, progress: Progress = SILENT) -> None:
        self._output = output
        self._wait_s = wait_s
        self._progress = progress
        self._opened: list[Journal] = []
        self._held = ExitStack()

    def of(self, job: str) -> Journal:
        """The journal of the step with this digest."""
        if self._output is None:
            return Journal(None, job)
        journal = Journal(journal_path(self._output, job), job, progress=self._progress)
        self._opened.append(journal)
        return journal

    def __enter__(self) -> Self:
        if self._output is not None:
            self._held.enter_context(holding(self._output, self._wait_s, self._progress))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._held:
            self._settle(error)

    def _settle(self, error: BaseException | None) -> None:
        for journal in self._opened:
            if error is None:
                journal.remove()
                continue
            with suppress(OutputError):  # there is an error to tell already
                journal.close()
        if error is not None and any(journal.kept for journal in self._opened):
            error.add_note("what is done is kept: the same command continues after it")
        if error is None and self._output is not None and (others := journals_towards(self._output)):
            names = ", ".join(map(str, others))
            self._progress.note(f"kept for jobs of other options that were interrupted: {names}")


def forget(output: Path, *jobs: str, wait_s: float = 0.0, progress: Progress = SILENT) -> None:
    """Remove journals of jobs whose result is `output`, which a run left that ended between the result and its end.

    One that is newer than the output is another job's, which had the same step and was interrupted: it stays.

    Raises:
        BusyError: as for `Journals`; only if there is something to remove.
    """
    made = output.stat().st_mtime_ns
    paths = {job: journal_path(output, job) for job in jobs}
    left = [job for job, path in paths.items() if path.is_file() and path.stat().st_mtime_ns <= made]
    if left:
        with Journals(output, wait_s=wait_s, progress=progress) as journals:
            for job in left:
                journals.of(job)


NONE_KEPT = Journals(None)
"""Where nothing resumes."""
