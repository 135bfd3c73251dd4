"""Finished items of a long job, kept on disk so that an interrupted run continues: the one thing that resumes.

A journal holds the job's digest, the names of the finished items and arrays of what they came to. It is
replaced as a whole, so a process that is killed at any moment leaves the last one that was written.
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.errors import OutputError
from fcn_onnx.progress import SILENT, Progress

INTERVAL_S = 5.0
Arrays = Mapping[str, NDArray[Any]]


def journal_path(output: Path, step: str = "") -> Path:
    """Where the work towards `output` is kept until it is done; steps that follow one another have one each."""
    return nearest_folder(output) / f".{output.name}{step and '.'}{step}.journal"


def nearest_folder(path: Path) -> Path:
    """`path` itself if it is a folder, or the first of its parents that exists."""
    return next(p for p in [path, *path.absolute().parents] if p.is_dir())


@dataclass(frozen=True)
class State:
    """What an earlier run had finished: items in the order in which they were done, and arrays of any kind."""

    done: tuple[str, ...]
    arrays: Arrays


class Journal:
    """The journal of one job.

    Args:
        path: the file; None keeps none, and nothing resumes.
        job: digest of all that the result depends on; a journal of another job is not used.
        interval_s: least time between two writes, in seconds.
    """

    def __init__(
        self, path: Path | None, job: str, *, interval_s: float = INTERVAL_S, progress: Progress = SILENT
    ) -> None:
        self._path = path
        self._job = job
        self._interval_s = interval_s
        self._progress = progress
        self._written = time.monotonic()

    def load(self) -> State | None:
        """What this very job had finished, or None."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            head = json.loads(arrays.pop("head").tobytes())
            state = State(tuple(head["done"]), arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            self._progress.note(f"the journal {self._path} cannot be read ({error}): starting over")
            return None
        if head["job"] != self._job:
            self._progress.note(f"the journal {self._path} is of another job: starting over")
            return None
        self._progress.note(f"continuing after {len(state.done)} finished images ({self._path})")
        return state

    def save(self, arrays: Callable[[], Arrays], done: Sequence[str]) -> None:
        """Write the state, unless the last write is less than `interval_s` old."""
        if self._path is None or time.monotonic() - self._written < self._interval_s:
            return
        head = json.dumps({"job": self._job, "done": list(done)}).encode()
        temporary = self._path.with_name(self._path.name + ".part")
        try:
            with temporary.open("wb") as stream:
                np.savez(stream, head=np.frombuffer(head, np.uint8), **arrays())
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self._path)
        except OSError as error:
            raise OutputError(
                f"cannot write the journal {self._path}: {error.strerror or error}",
                fix="free some space, or write to another place",
            ) from error
        self._written = time.monotonic()

    def remove(self) -> None:
        """Forget the job: it is finished."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path.with_name(self._path.name + ".part").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """A job that ends without an error needs its journal no longer."""
        if error is None:
            self.remove()
