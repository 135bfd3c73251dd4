"""`faults`: every write of every command fails once, and the everyday surroundings are missing one after the other. One
message, the old file or none, what was done is kept; then the same command ends as if nothing had been."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from campaigns.children import Child, Ended, eager, executed
from campaigns.disk import Decide, Disk, Event, full_from, once_at
from campaigns.ground import COMMANDS, Ground, differing, left_over, results
from fcn_onnx.jobs.records import read

FIRST = 2
"""Of a command's faults of one kind, from the first to the last, those that are tried before any other."""

THEN = ("full disk", "short writes", "signals", "one failure", "streams", "surroundings")
"""The order of the others; the last two take a new process each."""

MOMENTS = 12
"""At which a signal comes, spread over the time that a command takes."""

ERRORS = {"fsync": errno.EIO, "close": errno.EDQUOT, "write": errno.EIO}
"""What a call fails with that fails once; others with ENOSPC."""

OTHER_WORDS = ("No usable temporary directory", "(is the disk full?)")
"""Said in place of the system's words: by Python, and by us where onnxruntime has not kept them."""

JOURNAL = re.compile(r"\.(.+)\.[0-9a-f]{16}\.journal")

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
    """One thing that goes wrong in one command, and when it is tried: those of a lower `turn` are before."""

    command: str
    what: str
    turn: int
    happens: Happens


class Faults:
    """A case is one of a list of faults, which is gone through from its begin to its end and again."""

    name = "faults"

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.faults = [fault for name in ground.commands for fault in self._of(name)]
        Random(0).shuffle(self.faults)
        self.faults.sort(key=lambda fault: fault.turn)
        self.reruns: dict[tuple[str, str], list[str]] = {}

    def case(self, number: int, random: Random) -> tuple[Counter[str], list[str], Path]:
        """Counts, violations, and the folder."""
        fault = self.faults[number % len(self.faults)]
        command = COMMANDS[fault.command]
        folder = self.ground.fresh()
        before = _state(folder)
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
        counts = Counter({fault.what.split(":")[0]: 1})
        if (after := _state(folder)) != before:
            if (fault.command, after) not in self.reruns:
                counts["reruns"] += 1
                self.reruns[fault.command, after] = self._again(command.arguments, folder, expected)
            found += self.reruns[fault.command, after]
        return counts, [f"{fault.command}, {fault.what}: {what}" for what in found], folder

    def _again(self, arguments: tuple[str, ...], folder: Path, expected: dict[str, bytes]) -> list[str]:
        """What is wrong with the next run, in a folder as a fault left it.

        Where that is as another fault left it, or as if nothing had been run, it is known how the next run ends.
        """
        kept = [journal for journal in folder.rglob("*.journal") if _records(journal)]
        again = self.ground.run(arguments, folder)
        found = []
        if again.code != 0 or results(folder) != expected:
            what = differing(results(folder), expected)
            found.append(f"the next run: exit code {again.code}, {what}: {again.err[-300:]}")
        if strays := left_over(folder, expected):
            found.append(f"left by the next run: {strays}")
        if kept and "continuing after" not in again.err:
            found.append(f"the next run does not continue after {', '.join(path.name for path in kept)}")
        return found

    def _of(self, name: str) -> list[Fault]:
        events = self._events(name)
        spaced = [event for event in events if event.needs_space]
        kinds: list[list[tuple[str, Happens]]] = [
            [(f"write {n} of {len(spaced)}", partial(_full, n=n)) for n in range(1, len(spaced) + 1)],
            [
                (f"write {n} of {len(spaced)}", partial(_full, n=n, half=True))
                for n, event in enumerate(spaced, start=1)
                if event.size
            ],
            [
                (f"{number.name} at {(moment + 0.5) / MOMENTS:.2f}", partial(_signal, number=number, moment=moment))
                for moment in range(MOMENTS)
                for number in SAID
            ],
            [
                (f"call {n} of {len(events)}, {event.kind}", partial(_once, n=n, kind=event.kind))
                for n, event in enumerate(events, start=1)
            ],
            [(how, partial(_stream, how=how)) for how in STREAMS],
            [(what, partial(_around, what=what)) for what in SURROUNDINGS],
        ]
        if spaced:
            kinds[0].append(("read-only", partial(_full, n=1, error=errno.EROFS)))
        found = []
        for turn, (kind, faults) in enumerate(zip(THEN, kinds, strict=True), start=1):
            first = {round(index * (len(faults) - 1) / (FIRST - 1)) for index in range(FIRST)}
            for index, (what, happens) in enumerate(faults):
                found.append(Fault(name, f"{kind}: {what}", 0 if index in first and turn <= 4 else turn, happens))
        if COMMANDS[name].slow:
            return [fault for fault in found if fault.turn == 0 and not fault.what.startswith("signals")]
        return found

    def _events(self, name: str) -> list[Event]:
        """What a command does to a disk on which nothing goes wrong; nothing of it outside of its folder."""
        folder = self.ground.fresh()
        ended, disk = _on_disk(name, folder)
        if ended.code != 0 or disk.elsewhere:
            raise RuntimeError(f"{name}: {ended}, written elsewhere: {disk.elsewhere}")
        self.ground.known.setdefault(COMMANDS[name].arguments, (results(folder), ended.seconds))
        return [event for event, _ in disk.events]


def _child(name: str, folder: Path, disk: Disk | None = None) -> Child:
    def before() -> None:
        eager()
        if disk is not None:
            disk.watch.install()

    attend = time.sleep if disk is None else disk.attend
    environment = {"TMPDIR": str(folder / "tmp")}
    return Child(COMMANDS[name].arguments, folder, environment=environment, before=before, attend=attend)


def _on_disk(name: str, folder: Path, decide: Decide = lambda event: 0) -> tuple[Ended, Disk]:
    disk = Disk(folder, decide)
    ended = _child(name, folder, disk).wait()
    disk.watch.close()
    return ended, disk


def _full(
    ground: Ground, folder: Path, name: str, *, n: int, error: int = errno.ENOSPC, half: bool = False
) -> tuple[Ended, list[str]]:
    ended, disk = _on_disk(name, folder, full_from(n, error, half=half))
    nothing_kept = not ground.result(COMMANDS[name].arguments)[0]
    return ended, _refused(ended, disk, error, forgiven=nothing_kept)


def _once(ground: Ground, folder: Path, name: str, *, n: int, kind: str) -> tuple[Ended, list[str]]:
    error = ERRORS.get(kind, errno.ENOSPC)
    ended, disk = _on_disk(name, folder, once_at(n, error))
    found = _refused(ended, disk, error, forgiven=True)
    if ended.code == 0 and results(folder) != ground.result(COMMANDS[name].arguments)[0]:
        found.append("it says that all went well, and not all is there")
    return ended, found


def _refused(ended: Ended, disk: Disk, error: int, *, forgiven: bool) -> list[str]:
    """What is wrong with how a command ends that was refused something.

    Args:
        forgiven: it may end as if that had not been, if so it is.
    """
    found = [f"written outside of its folder: {path}" for path in disk.elsewhere if not _gone(path)]
    if not any(came for _, came in disk.events):  # the call was not made in this run
        return found if ended.code == 0 else [*found, f"exit code {ended.code}: {ended.err[-500:]}"]
    errors = sum(line.startswith("error: ") for line in ended.err.splitlines())
    said = any(words in ended.err for words in (os.strerror(error), *OTHER_WORDS))
    if not (forgiven and ended.code == 0) and (ended.code not in (1, 2) or errors != 1 or not said):
        found.append(f"exit code {ended.code} after {_first(disk)}: {ended.err[-500:]}")
    return found + _lost(disk)


def _gone(path: Path) -> bool:
    """Whether it was a file for a while, where Python goes if $TMPDIR takes none."""
    return not path.exists() and any(path.is_relative_to(place) for place in ("/tmp", "/var/tmp", "/usr/tmp"))


def _first(disk: Disk) -> str:
    """The event that was refused first."""
    return next(f"{event.kind} {event.path.relative_to(disk.folder)}" for event, came in disk.events if came)


def _lost(disk: Disk) -> list[str]:
    """Journals that were there, and neither are nor have their output in their stead."""
    made = {event.path for event, came in disk.events if event.kind == "rename" and not came}
    found = []
    for path in made:
        if (match := JOURNAL.fullmatch(path.name)) and not path.exists():
            output = path.with_name(match[1])
            if not (output.is_file() or (output.is_dir() and any(p.name[0] != "." for p in output.iterdir()))):
                found.append(f"lost: {path.name}")
    return found


def _records(journal: Path) -> bool:
    with journal.open("rb") as stream:
        return bool(read(stream).records)


def _state(folder: Path) -> str:
    """Digest of all that is in a folder, by name and content."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _signal(ground: Ground, folder: Path, name: str, *, number: signal.Signals, moment: int) -> tuple[Ended, list[str]]:
    child = _child(name, folder)
    share = (moment + 0.5) / MOMENTS
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
