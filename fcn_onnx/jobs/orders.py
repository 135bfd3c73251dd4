"""What passes between whoever wants a cluster's results and the conductor (`conductor.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.jobs.executor import Names
from fcn_onnx.jobs.shards import Work


@dataclass(frozen=True)
class Shard:
    """Items that are done together.

    Attributes:
        names: of them.
        content: each `(name, item)`, pickled.
    """

    names: Names
    content: tuple[bytes, ...]


@dataclass(frozen=True)
class Order:
    """What is to be done, and where.

    Attributes:
        address: of a cluster that is there; None starts one.
        workers: tasks at once; None is as many as the cluster has cores for.
        cpus: of a task.
        memory_bytes: of a task; 0 where it is not known.
        folder: empty, for what Ray writes.
    """

    work: Work
    shards: tuple[Shard, ...]
    address: str | None
    workers: int | None
    cpus: int
    memory_bytes: int
    folder: Path


@dataclass(frozen=True)
class Connected:
    """There is a cluster."""

    cores: int
    nodes: int


@dataclass(frozen=True)
class Note:
    """What the user should know."""

    text: str


@dataclass(frozen=True)
class Ended:
    """All is done; or an error ends it."""

    error: Exception | None = None
