"""What a worker of a cluster does: a shard, some items of a task, one after the other.

This runs in Ray's processes and imports nothing of Ray. A process keeps the task that it opened last, so that a model
is loaded once a process and not once a shard.
"""

from __future__ import annotations

import errno
import os
import pickle
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_onnx.errors import WorkerError
from fcn_onnx.jobs.artifact import UNREADABLE, digest_files, versions
from fcn_onnx.jobs.executor import Joining
from fcn_onnx.jobs.places import found
from fcn_onnx.jobs.prefetch import prefetch
from fcn_onnx.jobs.processes import portable

PASSING = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.EAGAIN,
        errno.EINTR,
        errno.ECONNRESET,
        errno.EREMOTEIO,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
    }
)
"""Errors of a shared file system that may be gone a moment later."""


@dataclass(frozen=True)
class Work:
    """What all workers need to know.

    Attributes:
        task: pickled.
        folder: what relative paths are relative to.
        files: digests by path of what each worker reads, and what they must be.
        about: `package.module:function` that says in a line what a machine is like; "" where nobody asks.
        versions: of packages that must be the same everywhere.
    """

    task: bytes
    folder: str
    files: Mapping[str, str]
    about: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Started:
    """A worker has taken a shard.

    Attributes:
        worker: how messages call it.
    """

    worker: str


@dataclass(frozen=True)
class Finished:
    """A shard is done.

    Attributes:
        results: `[(names, result)]`, pickled.
        about: what the machine is like, of a worker's first shard.
    """

    results: bytes
    about: str


@dataclass(frozen=True)
class Failed:
    """What the task raised.

    Attributes:
        passing: whether trying again may help.
    """

    error: Exception
    passing: bool


@dataclass(frozen=True)
class _Opened:
    """A task that this process has open."""

    work: Work
    task: Any
    do: Callable[[Any], Any]


_OPENED: dict[str, _Opened] = {}
"""By the key of its job, the one that was opened last."""


def run_shard(
    key: str, fetch: Callable[[], Work], shard: Sequence[bytes], last: bool
) -> Iterator[Started | Finished | Failed]:
    """Do the items of a shard: first say who does, then what came of it.

    Args:
        key: of the job, the same for all its shards.
        fetch: brings what all workers need to know, once a process.
        shard: each `(name, item)`, pickled.
        last: whether this is the last try, so that what may pass is taken for what it is.
    """
    where = f"process {os.getpid()} on {platform.node()}"
    yield Started(where)
    try:
        about, opened = _opened(key, fetch, where)
        os.chdir(opened.work.folder)
        items = dict(pickle.loads(one) for one in shard)  # noqa: S301  # the driver's own bytes
        results = []
        with closing(prefetch(opened.task.load, items.values())) as loaded:
            for name, (_, value) in zip(items, loaded, strict=True):
                result = opened.do(value)
                if isinstance(result, Exception) and passing(result) and not last:
                    raise result
                results.append((name, result))
        task = opened.task
        joined = task.joined(results) if isinstance(task, Joining) else [((name,), result) for name, result in results]
        yield Finished(pickle.dumps(joined, pickle.HIGHEST_PROTOCOL), about)
    except Exception as error:
        yield Failed(portable(error), passing(error))


def _opened(key: str, fetch: Callable[[], Work], where: str) -> tuple[str, _Opened]:
    """What this machine is like if the task was opened just now, else nothing; and the task."""
    if key in _OPENED:
        return "", _OPENED[key]
    _OPENED.clear()
    work = fetch()
    _enter(work.folder, where)
    _require_same(work.files, where)
    about = found(work.about)() if work.about else ""
    if work.versions and (other := versions(work.versions)) != work.versions:
        differs = next(name for name in work.versions if other.get(name) != work.versions[name])
        raise WorkerError(
            f"{where} has {differs} {other.get(differs, 'not at all')}, and the driver {work.versions[differs]}",
            fix="install the same versions on every node",
        )
    task = pickle.loads(work.task)  # noqa: S301  # likewise
    _OPENED[key] = _Opened(work, task, task.open())
    return about, _OPENED[key]


def _enter(folder: str, where: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise WorkerError(
            f"{where} cannot see the folder {folder}: {error.strerror}",
            fix="run it in a folder that every node has under the same path",
        ) from error


def _require_same(files: Mapping[str, str], where: str) -> None:
    """The files here are those that the driver saw."""
    for (path, wanted), seen in zip(files.items(), digest_files([Path(path) for path in files]), strict=True):
        if seen != wanted:
            what = "cannot be read" if seen == UNREADABLE else "is another file than the driver's"
            raise WorkerError(
                f"{path} {what} for {where}", fix="put models and data where every node has them under the same path"
            )


def passing(error: BaseException | None) -> bool:
    """Whether what lies behind an error is one that may be gone a moment later."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in PASSING:
            return True
        error = error.__cause__ or error.__context__
    return False
