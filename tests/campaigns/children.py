"""Commands in processes that are forked from one that has imported everything: a case costs what its work costs."""

from __future__ import annotations

import importlib
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import fcn_onnx
import fcn_onnx.stages.run as stages
from fcn_onnx.cli import main
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.networks.torchvision_compat import import_torchvision
from fcn_onnx.stages.options import QuantizeOptions, ValidateOptions
from fcn_onnx.stages.recipe import Recipe, ScenesSection, Section

MEMORY_BYTES = 3 << 30
"""What a command may take, beyond what was imported."""

CPU_S, WALL_S = 60, 300
"""Time that a command may take: its own, and with all that others on this machine take."""

ORPHANS_S = 5.0
"""Time that what a command started may outlive it."""

LOOK_EVERY_S = 0.005
ESCAPED = 70
"""Exit code of a child out of which an exception came."""


def warm() -> None:
    """Import all that commands use and that is installed. Nothing is computed: threads do not live on in a child."""
    import torch  # noqa: F401

    import_torchvision()
    left_out = (
        "__main__",
        "neural_compressor",
        "bundled.check",
        "bundled.segment",
        *(() if find_spec("openvino") else ("openvino",)),
    )
    for module in pkgutil.walk_packages(fcn_onnx.__path__, "fcn_onnx."):
        if not module.name.endswith(left_out):
            importlib.import_module(module.name)
    stages.demo_recipe = _few_scenes(stages.demo_recipe)


def _few_scenes(demo: Callable[[Path], Recipe]) -> Callable[[Path], Recipe]:
    """The demo's recipe with a few images: what it writes is the same, and it takes seconds."""

    def fewer(folder: Path) -> Recipe:
        recipe = demo(folder)
        images = folder / "coco" / "val2017"
        return replace(
            recipe,
            quantize=Section(QuantizeOptions, {"data": images, "limit": 2}),
            validate=Section(ValidateOptions, {"data": images, "protocol": "voc-native"}),
            scenes=ScenesSection(folder=folder / "coco", images=4),
        )

    return fewer


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; below zero the signal that ended it.
        out, err: what it said.
        seconds: from start to end.
        peak_mb: memory that it had at most.
        orphans: something that it started was there 5 s later.
        late: it was ended, as it took too long.
    """

    code: int
    out: str
    err: str
    seconds: float
    peak_mb: int
    orphans: bool = False
    late: bool = False


class Child:
    """A command that runs.

    Args:
        arguments: of `fcn-onnx`.
        folder: in which it runs.
        environment: what is other than here; None takes a variable away.
        limited: to `MEMORY_BYTES`.
        before: called in it, before the command.
        attend: called again and again while it runs, with the seconds until it is looked after anew.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str | None] | None = None,
        limited: bool = True,
        before: Callable[[], None] | None = None,
        attend: Callable[[float], None] = time.sleep,
    ) -> None:
        self.attend = attend
        self.began = time.monotonic()
        self.streams = [os.memfd_create(name) for name in ("out", "err")]
        self.pid = os.fork()
        if self.pid == 0:
            code = ESCAPED
            try:
                os.setsid()
                self._become(folder, environment or {}, limited)
                if before is not None:
                    before()
                code = _run(arguments)
            except BaseException:
                traceback.print_exc()
            finally:
                with suppress(OSError, ValueError):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)

    def _become(self, folder: Path, environment: Mapping[str, str | None], limited: bool) -> None:
        null = os.open(os.devnull, os.O_RDONLY)
        for number, stream in enumerate((null, *self.streams)):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  # to the end of the process
            for number, mode in ((0, "r"), (1, "w"), (2, "w"))
        )
        os.chdir(folder)
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        tempfile.tempdir = None
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        if limited:
            most = _address_space() + MEMORY_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs still."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = WALL_S) -> Ended:
        """Wait until it has ended, or end it; and until what it started has."""
        until, late = time.monotonic() + seconds, False
        while not (found := os.wait4(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > until and not late:
                late = True
                os.kill(self.pid, signal.SIGKILL)
            self.attend(LOOK_EVERY_S)
        took = time.monotonic() - self.began
        out, err = (_content(stream) for stream in self.streams)
        code = os.waitstatus_to_exitcode(found[1])
        return Ended(code, out, err, took, found[2].ru_maxrss >> 10, _orphans(self.pid, self.attend), late)


def eager() -> None:
    """In a child: keep what is done at once, not every few seconds; toys are done before."""
    defaults = Journal.__init__.__kwdefaults__
    assert defaults is not None
    defaults["interval_s"] = 0.0


def forked(work: Callable[[], None]) -> None:
    """Do something in a child: what computes leaves threads, and those do not live on in the children that follow."""
    pid = os.fork()
    if pid == 0:
        code = ESCAPED
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RuntimeError("it failed")


def run(arguments: Sequence[str], folder: Path, **options: object) -> Ended:
    """Run a command to its end."""
    return Child(arguments, folder, **options).wait()  # type: ignore[arg-type]


def executed(
    command: Sequence[str], folder: Path, environment: Mapping[str, str | None], *, seconds: float = WALL_S
) -> Ended:
    """Run any command in a process of its own, nothing of which is imported yet."""
    variables = {**os.environ, **environment}
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={name: value for name, value in variables.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        late = False
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code, late = process.wait(), True
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode(errors="replace"))
    return Ended(code, *said, time.monotonic() - began, 0, _orphans(process.pid), late)


def _orphans(group: int, attend: Callable[[float], None] = time.sleep) -> bool:
    """Whether what a process started outlives it for longer than it may; it is ended then."""
    until = time.monotonic() + ORPHANS_S
    while _alive(group):
        if time.monotonic() > until:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            return True
        attend(LOOK_EVERY_S)
    return False


def _run(arguments: Sequence[str]) -> int:
    sys.argv = ["fcn-onnx", *arguments]
    try:
        main(list(arguments), prog_name="fcn-onnx")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _alive(group: int) -> bool:
    """Whether a process group has a member that is not dead already."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, found = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except (OSError, ValueError):
                continue
            if int(found) == group and state != "Z":
                return True
    return False


def _content(stream: int) -> str:
    size = os.fstat(stream).st_size
    text = os.pread(stream, size, 0).decode(errors="replace")
    os.close(stream)
    return text
