"""`faults`: every write of every command fails once, and the everyday surroundings are missing one after the other. One
message, the old file or none, what was done is kept; then the same command ends as if nothing had been."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from campaigns.children import Child, Ended, eager, executed
from campaigns.disk import Disk
from campaigns.ground import COMMANDS, Ground, differing, left_over, results

FIRST = 24
"""Writes of a command, spread over all, that fail before the others do."""

MOMENTS = 12
"""At which a signal comes, spread over the time that a command takes."""

SAID = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
SURROUNDINGS: dict[str, dict[str, str | None]] = {
    "no HOME": {"HOME": None, "XDG_CACHE_HOME": None, "XDG_STATE_HOME": None},
    "a HOME that is no folder": {"HOME": "/dev/null"},
    "no TMPDIR of that name": {"TMPDIR": "/nowhere"},
    "the C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ASCII": {"PYTHONIOENCODING": "ascii"},
}
STREAMS = ("<&-", ">&-", "2>&-", ">/dev/full", "2>/dev/full", ">&- 2>&-")
"""As a shell writes them."""


Happens = Callable[[Ground, Path, str], tuple[Ended, list[str]]]
"""Runs a command with something wrong; returns how it ended, and what should not be."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong in one command; `later` than all that are not."""

    command: str
    what: str
    later: bool
    happens: Happens


class Faults:
    """A case is one of a list of faults, which is gone through from its begin to its end and again."""

    name = "faults"

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.faults = [fault for name in ground.commands for fault in self._of(name)]
        Random(0).shuffle(self.faults)
        self.faults.sort(key=lambda fault: fault.later)

    def case(self, number: int, random: Random) -> tuple[Counter[str], list[str], Path]:
        """Counts, violations, and the folder."""
        fault = self.faults[number % len(self.faults)]
        command = COMMANDS[fault.command]
        folder = self.ground.fresh()
        ended, found = fault.happens(self.ground, folder, fault.command)
        expected = self.ground.result(command.arguments)[0]
        if ended.orphans:
            found.append("a process that it started lived on")
        if ended.late or "Traceback" in ended.err or "a fault of fcn-onnx" in ended.err:
            found.append(f"exit code {ended.code}: {ended.err[-500:]}")
        if strays := [n for n in left_over(folder, expected) if not n.endswith(".journal")]:
            found.append(f"left: {strays}")
        for name, content in results(folder).items():
            if content != expected.get(name):
                found.append(f"{name} is there, and not what it should be")
        again = self.ground.run(command.arguments, folder)
        if again.code != 0 or results(folder) != expected or left_over(folder, expected):
            what = differing(results(folder), expected)
            found.append(f"the next run: exit code {again.code}, {what}: {again.err[-300:]}")
        return (
            Counter({fault.what.split(":")[0]: 1}),
            [f"{fault.command}, {fault.what}: {what}" for what in found],
            folder,
        )

    def _of(self, name: str) -> list[Fault]:
        total = self._writes(name)
        first = {round(1 + index * (total - 1) / (FIRST - 1)) for index in range(FIRST)}
        found: list[tuple[str, bool, Happens]] = [
            (f"full disk: write {n}", n not in first, partial(_full, n=n)) for n in range(1, total + 1)
        ]
        found.append(("read-only", False, partial(_full, n=1, error=errno.EROFS)))
        for number in SAID:
            for share in (round((moment + 0.5) / MOMENTS, 2) for moment in range(MOMENTS)):
                happens = partial(_signal, number=number, share=share)
                found.append((f"signals: {number.name} at {share}", False, happens))
        found += [(f"surroundings: {what}", False, partial(_around, what=what)) for what in SURROUNDINGS]
        found += [(f"streams: {how}", False, partial(_stream, how=how)) for how in STREAMS]
        return [Fault(name, *fault) for fault in found]

    def _writes(self, name: str) -> int:
        """How often a command writes."""
        folder = self.ground.fresh()
        count = mmap.mmap(-1, 8)
        disk = _Counting(count)
        ended = _child(name, folder, disk).wait()
        assert ended.code == 0, ended
        return int(struct.unpack("<q", count[:])[0])


class _Counting(Disk):
    """Says in shared memory how many writes there were."""

    def __init__(self, count: mmap.mmap) -> None:
        super().__init__()
        self.count = count

    def write(self, write: Callable[[object], int], data: object) -> int:
        done = super().write(write, data)
        self.count[:] = struct.pack("<q", self.written)
        return done


def _child(name: str, folder: Path, disk: Disk | None = None) -> Child:
    def before() -> None:
        eager()
        if disk is not None:
            disk.install()

    return Child(COMMANDS[name].arguments, folder, environment={"TMPDIR": str(folder / "tmp")}, before=before)


def _full(ground: Ground, folder: Path, name: str, *, n: int, error: int = errno.ENOSPC) -> tuple[Ended, list[str]]:
    ended = _child(name, folder, Disk(n, error)).wait()
    errors = sum(line.startswith("error: ") for line in ended.err.splitlines())
    said = os.strerror(error) in ended.err or "No usable temporary directory" in ended.err
    if ended.code not in (1, 2) or errors != 1 or not said:
        return ended, [f"exit code {ended.code}: {ended.err[-500:]}"]
    return ended, []


def _signal(
    ground: Ground, folder: Path, name: str, *, number: signal.Signals, share: float
) -> tuple[Ended, list[str]]:
    child = _child(name, folder)
    time.sleep(max(0.1, share * ground.result(COMMANDS[name].arguments)[1]))
    child.signal(number)
    ended = child.wait()
    code, word = SAID[number]
    if ended.code != 0 and (ended.code != code or word not in ended.err):
        return ended, [f"exit code {ended.code}: {ended.err[-500:]}"]
    return ended, []


def _around(ground: Ground, folder: Path, name: str, *, what: str) -> tuple[Ended, list[str]]:
    environment = {"TMPDIR": str(folder / "tmp"), **SURROUNDINGS[what]}
    ended = executed([sys.executable, "-m", "fcn_onnx", *COMMANDS[name].arguments], folder, environment)
    return ended, [] if ended.code == 0 else [f"exit code {ended.code}: {ended.err[-500:]}"]


def _stream(ground: Ground, folder: Path, name: str, *, how: str) -> tuple[Ended, list[str]]:
    script = f'exec "$0" -m fcn_onnx "$@" {how}'
    arguments = ["sh", "-c", script, sys.executable, *COMMANDS[name].arguments]
    ended = executed(arguments, folder, {"TMPDIR": str(folder / "tmp")})
    return ended, [] if ended.code in (0, 1, 2) else [f"exit code {ended.code}: {ended.err[-500:]}"]
