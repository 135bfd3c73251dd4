"""Ray's driver, a process of its own between whoever wants results and the cluster.

What Ray does to its driver then happens to nobody else: it prints on stdout, takes SIGTERM for itself, adds the working
directory to the workers' paths, and ends the process when its node is lost. Here stdout goes nowhere, the working
directory is an empty folder, and an end is seen by the parent, which says so.

Shards are tasks without `max_retries`: Ray's own are silent, and without end where memory is short. What died, or met
an error that may pass, is done again from here: it is said, counted, and after a death tried image by image, so that
the one that kills is named. A shard's results are handed on when it is done as a whole, and so once.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from fcn_onnx.errors import FcnOnnxError, UsageError, WorkerError, first_line
from fcn_onnx.jobs.orders import Connected, Ended, Note, Order, Shard
from fcn_onnx.jobs.processes import portable
from fcn_onnx.jobs.shards import Failed, Finished, Started, Work, run_shard

TRIES = 3
"""Of an image, or of a shard that meets errors that may pass."""

DEATHS = {
    "OutOfMemoryError": "killed, as its node was short of memory",
    "NodeDiedError": "its node is gone",
    "ObjectLostError": "its result was lost with its node",
    "WorkerCrashedError": "crashed or killed",
}
"""What is said of Ray's exceptions."""

AHEAD = 2
"""Shards that are handed to a cluster for each that it can work on: the next one is there when one is done."""

LEAVING_S = 10.0
"""How long leaving a cluster, and ending one, may take once nobody waits for it."""

LOOK_S = 5.0
"""How often it is looked how large a cluster is."""

STORE_BYTES = 128 << 20
"""Of a local cluster's object store, beside twice the task: a shard's results are let go as they come."""


class _StoppedError(BaseException):
    """The parent wants no more."""


def conduct(connection: Connection, order: Order) -> None:
    """Be the driver: connect, have all shards done, and send what becomes of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_follow, daemon=True).start()
    _go_quiet(order.folder)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, _StoppedError):  # the parent is gone, or had enough
        try:
            ray = _import_ray(loopback=order.address is None)
            try:
                _connect(ray, order)
                signal.signal(signal.SIGTERM, _stop)  # Ray has put its own there
                connection.send(_seen(ray, order))
                _Conduct(ray, order, connection.send).all()
            finally:
                ray.shutdown()
                if not _has_parent():
                    shutil.rmtree(order.folder, ignore_errors=True)  # in its place
            connection.send(Ended())
        except Exception as error:
            connection.send(Ended(portable(error)))


def _follow() -> None:
    """When the parent is dead, however it died, end as it would have had it.

    To end at once would leave Ray's agents behind for a minute: the system ends Ray's other processes with this one.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(LEAVING_S)
        os._exit(1)


def _has_parent() -> bool:
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _StoppedError


def _go_quiet(folder: Path) -> None:
    """Print nothing, and have neither the user's folder nor his script's where Ray looks for what workers import."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.chdir(folder)
    sys.argv = [""]
    logging.getLogger("ray").setLevel(logging.CRITICAL)


def _import_ray(*, loopback: bool) -> Any:
    """Ray, told before it is imported what it is not to do."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as it will be; it warns until then
    }
    for name in ("RAY_ADDRESS", "RAY_RUNTIME_ENV_HOOK"):
        os.environ.pop(name, None)
    if loopback:
        os.environ |= {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # whatever the system: listen on 127.0.0.1 alone
            "RAY_AUTH_MODE": "token",  # other users of this machine are not to run code as this one
            "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else it is written to the home folder
        }
    return importlib.import_module("ray")


def _connect(ray: Any, order: Order) -> None:
    """Start a cluster, or enter the one that is there. Raises UsageError where that fails."""
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": False}
    if order.address is None:
        ray.init(
            address="local",
            num_cpus=order.cpus * (order.workers or 1),
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=STORE_BYTES + 2 * len(order.work.task),
            _node_ip_address="127.0.0.1",
            _temp_dir=str(order.folder),
            **quiet,
        )
        return
    try:
        ray.init(address=order.address, **quiet)
    except Exception as error:
        raise UsageError(
            f"no Ray cluster can be entered at {order.address}: {first_line(error)}",
            fix="start one with `ray start --head`, run this on one of its nodes with the same Ray and Python, and "
            "name its HOST:PORT, or auto",
        ) from error


def _seen(ray: Any, order: Order) -> Connected:
    """What there is. Raises UsageError where no node can take a task."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = max((node.get("CPU", 0) for node in nodes), default=0)
    if cores < order.cpus:
        raise UsageError(
            f"no node of the cluster has the {order.cpus} cores of a task (the largest has {cores:g})",
            fix="use fewer --threads",
        )
    memory = max(node.get("memory", 0) for node in nodes)
    if order.address is not None and memory < order.memory_bytes:
        raise UsageError(
            f"a task takes {order.memory_bytes / 1e9:.1f} GB, and no node of the cluster has more than "
            f"{memory / 1e9:.1f} GB for tasks",
            fix="add a larger node, or use smaller images",
        )
    return Connected(int(sum(node.get("CPU", 0) for node in nodes)), len(nodes))


@dataclass
class _Flight:
    """A shard that was handed out, and who took it."""

    shard: Shard
    worker: str = ""
    done: bool = False


@dataclass
class _Conduct:
    """The shards of an order, in the air and not."""

    ray: Any
    order: Order
    tell: Callable[[Any], None]
    tries: Counter[str] = field(default_factory=Counter)

    def all(self) -> None:
        """Have every shard done. Raises what a task raised, or WorkerError for what kills its workers."""
        ray, order = self.ray, self.order
        key = secrets.token_hex(8)
        work = [ray.put(order.work)]  # once; within a list, so that it is fetched by who has not opened it yet
        options: dict[str, Any] = {"num_cpus": order.cpus, "max_retries": 0, "num_returns": "streaming"}
        if order.address is not None and order.memory_bytes:
            options["memory"] = order.memory_bytes
        remote = ray.remote(_on_ray).options(**options)
        todo, flying = deque(order.shards), dict[Any, _Flight]()
        window = self._window()
        while todo or flying:
            room = next(window) - len(flying)
            for _ in range(min(room, len(todo))):
                shard = todo.popleft()
                last = self._tried(shard) == TRIES - 1
                flying[remote.remote(key, work, shard.content, last)] = _Flight(shard)
            for stream in ray.wait(list(flying), num_returns=1, timeout=LOOK_S)[0]:
                flight = flying[stream]
                again = self._heard(stream, flight)
                todo.extendleft(reversed(again))
                if again or flight.done:
                    del flying[stream]

    def _window(self) -> Iterator[int]:
        """How many shards may be in the air."""
        ray, order, looked, size = self.ray, self.order, 0.0, 1
        while True:
            if order.workers is not None and order.address is not None:
                size = order.workers
            elif time.monotonic() - looked > LOOK_S:
                cores = ray.cluster_resources().get("CPU", 0)
                size, looked = max(1, AHEAD * int(cores // order.cpus)), time.monotonic()
            yield size

    def _heard(self, stream: Any, flight: _Flight) -> list[Shard]:
        """Take the next word of a worker; what has to be done again, if anything has."""
        errors = self.ray.exceptions
        try:
            said = self.ray.get(next(stream))
        except (StopIteration, errors.RayError) as death:
            return self._died(flight, death)
        match said:
            case Started(worker):
                flight.worker = worker
            case Finished():
                flight.done = True
                self.tell(said)
            case Failed(error, passing):
                if not passing or self._tried(flight.shard) == TRIES - 1:
                    raise error
                self._count(flight.shard)
                self.tell(Note(f"{flight.worker} at {_span(flight.shard)}: {first_line(error)}: it is done again"))
                return [flight.shard]
        return []

    def _died(self, flight: _Flight, error: Exception) -> list[Shard]:
        """Say it, and what is to be done again: each image alone, so that the one that kills is found."""
        errors = self.ray.exceptions
        how = next(
            (words for kind, words in DEATHS.items() if isinstance(error, getattr(errors, kind))), first_line(error)
        )
        if isinstance(error, errors.RayTaskError):  # raised before `run_shard`: it cannot even be imported there
            raise WorkerError(
                f"a worker of the cluster cannot begin: {_cause(error)}", fix="install fcn-onnx on every node"
            )
        if isinstance(error, errors.LocalRayletDiedError):
            raise WorkerError(
                "this machine's node of the cluster is gone", fix="give the same command again, on a node that stays"
            )
        who = f"the worker {flight.worker}" if flight.worker else "a worker that had not begun"
        self._count(flight.shard)
        if self._tried(flight.shard) >= TRIES:
            raise WorkerError(
                f"{who} died ({how}) at {_span(flight.shard)}, as did the {TRIES - 1} that tried it before",
                fix="give tasks more memory with fewer --workers; if that is not it, leave out what they died of",
            )
        self.tell(Note(f"{who} died ({how}) at {_span(flight.shard)}: it is done again"))
        return [Shard((name,), (one,)) for name, one in zip(flight.shard.names, flight.shard.content, strict=True)]

    def _count(self, shard: Shard) -> None:
        self.tries.update(shard.names)

    def _tried(self, shard: Shard) -> int:
        return max(self.tries[name] for name in shard.names)


def _on_ray(key: str, work: list[Any], shard: tuple[bytes, ...], last: bool) -> Iterator[Started | Finished | Failed]:
    """`run_shard`, as Ray's workers call it."""
    ray = importlib.import_module("ray")

    def fetch() -> Work:
        try:
            return ray.get(work[0])  # type: ignore[no-any-return]
        except ray.exceptions.RayError as error:
            raise OSError(5, first_line(error)) from error  # EIO: it may be had the next time

    yield from run_shard(key, fetch, shard, last)


def _span(shard: Shard) -> str:
    first, last = shard.names[0], shard.names[-1]
    return first if first == last else f"{first} … {last} ({len(shard.names)} images)"


def _cause(error: Any) -> str:
    cause = getattr(error, "cause", None) or error
    return str(cause) if isinstance(cause, FcnOnnxError) else f"{type(cause).__name__}: {first_line(cause)}"
