"""A task on a Ray cluster: one that is there, or one that is started on this machine and ended with the work.

    this process ── pipe ── the conductor, Ray's driver ── Ray ── workers, each a shard of items at a time

Ray is imported in the conductor (`conductor.py`) and its workers alone.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import sysconfig
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fcn_onnx.errors import MissingDependencyError, OutputError, UsageError, WorkerError
from fcn_onnx.jobs.artifact import CORE, digest_files, versions
from fcn_onnx.jobs.conductor import conduct
from fcn_onnx.jobs.executor import Item, Loaded, Names, Result, Task
from fcn_onnx.jobs.orders import Connected, Ended, Note, Order, Shard
from fcn_onnx.jobs.places import found
from fcn_onnx.jobs.processes import death_of
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.jobs.shards import Finished, Work

SAME = (*CORE, "pillow", "pycocotools", "openvino")
"""Packages whose version decides a result: the same on every node."""

LARGEST_SHARD = 8
"""Images: what a death costs at most. A task's own cost is some milliseconds, an image's a hundred and more."""

SHARDS_EACH = 4
"""At least, for each worker, so that all end at about the same time."""

CONNECT_S = 30.0
START_S = 120.0
"""How long a cluster may take to answer, and to start, in seconds; on a busy machine the latter takes ten."""

KNOCK_S = 5.0
PATIENCE_S = 4.0
"""How long a port may take to answer, and the conductor to end."""

SOCKET_BYTES, SOCKET_TAIL = 107, len("/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store")
"""The longest path of a socket, and what Ray appends to its folder."""


@dataclass
class OnRay:
    """On a Ray cluster.

    Args:
        address: HOST:PORT of one that is there, or `auto`; None starts one on this machine for the time of the work.
        workers: tasks at once; None is as many as the cluster has cores for.
        cpus: of a task, which are the threads of its sessions.
        memory_bytes: that a task takes; 0 where it is not known.
        files: what every worker reads by its path, models for example: it is checked that it is the same everywhere.
        about: `package.module:function` that says in a line what a machine is like; results of unlike ones are noted.
        shard: images of a task; None chooses.
        progress: hears of workers that died, and of what is done again.
    """

    address: str | None = None
    workers: int | None = None
    cpus: int = 1
    memory_bytes: int = 0
    files: Sequence[Path] = ()
    about: str = ""
    shard: int | None = None
    progress: Progress = SILENT
    remarks: Sequence[str] = field(default=(), init=False)

    def __post_init__(self) -> None:
        """Raise MissingDependencyError without Ray, UsageError for an address that is none or where nobody answers."""
        if find_spec("ray") is None:
            raise MissingDependencyError(
                "--engine ray needs Ray, which is not installed", fix="install it with: pip install 'fcn-onnx[ray]'"
            )
        if self.address is not None:
            _knock(self.address)

    def share(self, threads: int) -> int:
        """A task's cores, however many this machine has."""
        return self.cpus

    def map(
        self, task: Task[Item, Loaded, Result], items: Mapping[str, Item]
    ) -> Generator[tuple[Names, Result], None, None]:
        """See `Executor`.

        Raises:
            UsageError: no cluster can be entered, or none of its nodes can take a task.
            OutputError: $TMPDIR cannot be written to, or is too long for sockets.
            WorkerError: an image killed its workers; a node has other files or versions; the driver itself ended.
        """
        if not items:
            return
        digests = dict(zip(map(str, self.files), digest_files(self.files), strict=True))
        work = Work(
            task=pickle.dumps(task, pickle.HIGHEST_PROTOCOL),
            folder=str(Path.cwd()),
            files=digests,
            about=self.about,
            versions=versions(SAME),
        )
        with scratch() as folder:
            if self.address is None and len(os.fsencode(folder)) + SOCKET_TAIL > SOCKET_BYTES:
                raise OutputError(
                    f"Ray puts sockets below {folder}, whose path is too long for them",
                    fix=f"let TMPDIR name a folder of {SOCKET_BYTES - SOCKET_TAIL - len(folder.name) - 1} letters or "
                    "fewer, such as /tmp",
                )
            order = Order(
                work=work,
                shards=tuple(self._shards(items)),
                address=self.address,
                workers=self.workers,
                cpus=self.cpus,
                memory_bytes=self.memory_bytes,
                folder=folder,
            )
            with _conducting(order) as hear:
                yield from self._results(hear)

    def _shards(self, items: Mapping[str, Any]) -> Iterator[Shard]:
        size = self.shard or max(1, min(LARGEST_SHARD, len(items) // (SHARDS_EACH * (self.workers or LARGEST_SHARD))))
        names = iter(items)
        while some := tuple(islice(names, size)):
            yield Shard(some, tuple(pickle.dumps((name, items[name]), pickle.HIGHEST_PROTOCOL) for name in some))

    def _results(self, hear: Callable[[], Any]) -> Generator[tuple[Names, Any], None, None]:
        seen = {found(self.about)()} if self.about else set()
        while True:
            match hear():
                case Connected(cores, nodes) if self.address is not None:
                    self.progress.note(f"the cluster at {self.address} has {nodes} nodes and {cores} cores")
                case Note(text):
                    self.progress.note(text)
                case Finished(results, about):
                    if about and about not in seen:
                        seen.add(about)
                        self._unlike(seen)
                    yield from pickle.loads(results)  # noqa: S301  # our own worker's bytes
                case Ended(error):
                    if error is not None:
                        raise error
                    return

    def _unlike(self, seen: set[str]) -> None:
        self.remarks = (
            f"the machines differ ({'; '.join(sorted(seen))}), and so may the last bits of what they compute in floats",
        )
        self.progress.note(self.remarks[0])


@contextmanager
def _conducting(order: Order) -> Iterator[Callable[[], Any]]:
    """A conductor at work; what is yielded waits for its next word. However the block ends, it ends, and what it began.

    Raises:
        UsageError: it does not get into the cluster in time.
        WorkerError: it ended without a word.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=conduct, args=(theirs, order), daemon=True)
    with _importable():
        process.start()
    theirs.close()
    limit_s = START_S if order.address is None else CONNECT_S

    def hear() -> Any:
        nonlocal limit_s
        if limit_s and not ours.poll(limit_s):
            where = "no cluster has started here" if order.address is None else f"no cluster answers at {order.address}"
            raise UsageError(
                f"{where} within {limit_s:g} s", fix="check the address, and that this machine is one of its nodes"
            )
        limit_s = 0
        return _received(ours, process)

    try:
        yield hear
        process.join(PATIENCE_S)  # it is leaving the cluster
    finally:
        if limit_s and order.address is not None:
            process.kill()  # it has begun nothing, and hears no other signal while it connects
        process.terminate()
        process.join(PATIENCE_S)
        process.kill()  # the system then ends what it started
        process.join()
        ours.close()
        process.close()


def _received(connection: Connection, process: Any) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError) as error:
        raise WorkerError(
            f"Ray's driver on this machine ended ({death_of(process)}): this node of the cluster may be gone",
            fix="give the same command again",
        ) from error


@contextmanager
def _importable() -> Iterator[None]:
    """What is started in this imports this very package, from wherever it was imported here."""
    root = str(Path(__file__).parents[2])
    before = os.environ.get("PYTHONPATH")
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = before


def _knock(address: str) -> None:
    """Raise UsageError for what is no HOST:PORT, nor `auto`, and where nobody listens."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise UsageError(
            f"--address is {address!r}",
            fix="write HOST:PORT of the cluster's head, such as 192.168.0.7:6379, or auto for the one that this "
            "machine is a node of (ray:// is not for this)",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address}: {getattr(error, 'strerror', None) or error}",
            fix="check the address, and that `ray status` knows the cluster on this machine",
        ) from error
