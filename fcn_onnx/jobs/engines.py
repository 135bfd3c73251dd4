"""Who shares the images, as options, and the executor that comes of them within what this machine allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.bounds import COUNT
from fcn_onnx.jobs.executor import Executor, Here, Processes
from fcn_onnx.jobs.fields import Checked, option
from fcn_onnx.jobs.limits import read_limits
from fcn_onnx.jobs.progress import Progress

LOCAL, RAY = "local", "ray"


@dataclass(frozen=True)
class Engine:
    """Where work is done.

    Attributes:
        description: one line for `--help`.
    """

    description: str


ENGINES: Mapping[str, Engine] = {
    LOCAL: Engine("processes of this machine"),
    RAY: Engine("a Ray cluster"),
}


@dataclass(frozen=True, kw_only=True)
class Running(Checked):
    """Who shares the images.

    Raises:
        UsageError: an address that nobody uses.
    """

    workers: int | None = option(
        None,
        help="Processes that share the images. Default: 1; with ray, as many as there are cores for.",
        bound=COUNT,
    )
    engine: str = option(LOCAL, help="What they run on.", names="fcn_onnx.jobs.engines:ENGINES", decides=False)
    address: str | None = option(
        None,
        help="The Ray cluster that is there, of which this machine is a node. Default: one is started here, and ended.",
        metavar="HOST:PORT|auto",
        decides=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.address is not None and self.engine != RAY:
            raise UsageError("--address is of a Ray cluster", fix="add --engine ray, or leave it out")

    @property
    def quiet(self) -> bool:
        """Whether each image has the machine to itself, so that latencies mean something."""
        return self.engine == LOCAL and self.workers in (None, 1)


ALONE = Running()


@dataclass(frozen=True)
class Footprint:
    """What a worker takes.

    Attributes:
        memory_bytes: asked when there may be more than one; 0 where it is not known.
        files: what it reads by its path, likewise.
        about: see `OnRay`.
    """

    memory_bytes: Callable[[], int] = lambda: 0
    files: Callable[[], Sequence[Path]] = lambda: ()
    about: str = ""


def executor_of(running: Running, threads: int, progress: Progress, footprint: Footprint = Footprint()) -> Executor:
    """The executor that is asked for, with no more workers than this machine has cores and memory for.

    Args:
        threads: that were asked for; 0 means all cores.
        progress: hears where there are fewer workers than were asked for, and why; and of those that die.

    Raises:
        MissingDependencyError, UsageError: see `OnRay`.
    """
    cores = read_limits().cores
    if threads > cores:
        progress.note(f"{threads} threads on {cores} cores: they wait for one another")
    if running.engine == LOCAL:
        processes = _held(running.workers or 1, 1, progress, footprint)
        return Here() if processes == 1 else Processes(processes, progress)
    from fcn_onnx.jobs.cluster import OnRay

    cpus, workers = threads or 1, running.workers
    if running.address is None:
        cpus = min(cpus, cores)
        workers = _held(workers or cores // cpus, cpus, progress, footprint)
    return OnRay(
        address=running.address,
        workers=workers,
        cpus=cpus,
        memory_bytes=footprint.memory_bytes() if running.address is not None else 0,
        files=footprint.files(),
        about=footprint.about,
        progress=progress,
    )


def _held(asked: int, cpus: int, progress: Progress, footprint: Footprint) -> int:
    """As many of the workers that are asked for as there are cores and memory for."""
    limits, workers = read_limits(), asked
    if workers * cpus > limits.cores:
        workers = max(1, limits.cores // cpus)
        progress.note(f"{_workers(workers)} instead of {asked}: {_cores(limits.cores, limits.quota)}")
    if workers == 1 or limits.memory_bytes is None or not (each := footprint.memory_bytes()):
        return workers
    if (fitting := max(1, limits.memory_bytes // each)) < workers:
        progress.note(
            f"{_workers(fitting)} instead of {workers}: each takes some {each / 1e9:.1f} GB, and "
            f"{limits.memory_bytes / 1e9:.1f} GB are available"
        )
        workers = fitting
    return workers


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"


def _cores(cores: int, quota: float | None) -> str:
    return f"{cores} cores may be used" + ("" if quota is None else f" (a control group allows {quota:g})")
