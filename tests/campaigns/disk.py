"""A disk that refuses, as the kernel says it: whatever writes below a folder, Python or a library, in any process.

What is refused is the system call itself. A *full* disk lets nothing be written, made or renamed any more (ENOSPC); one
that *fails* does so once, at any call, `fsync` and `close` among them; a *short* write takes half, and is the last."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from campaigns.kernel import Call, Result, Watch

WRITES = {1: 0, 18: 0, 20: 0, 296: 0, 328: 0, 40: 0, 326: 2, 285: 0}
"""write, pwrite64, writev, pwritev, pwritev2, sendfile, copy_file_range, fallocate: which argument is the file."""
SETTLES = {74: "fsync", 75: "fsync", 77: "ftruncate", 3: "close"}
OPENS: dict[int, tuple[int | None, int, int | None]] = {2: (None, 0, 1), 257: (0, 1, 2), 85: (None, 0, None)}
"""open, openat, creat: which arguments are the folder, the path and the flags."""
NAMES: dict[int, tuple[int | None, int, str]] = {
    83: (None, 0, "mkdir"),
    258: (0, 1, "mkdir"),
    82: (None, 1, "rename"),
    264: (2, 3, "rename"),
    316: (2, 3, "rename"),
    86: (None, 1, "link"),
    265: (2, 3, "link"),
    88: (None, 1, "link"),
    266: (1, 2, "link"),
}
"""mkdir, rename, link, symlink, and their `…at`: which arguments are the folder and the path of what is new."""
CALLS = (*WRITES, *SETTLES, *OPENS, *NAMES)
PLAIN_WRITE = 1
NOWHERE = ("/dev/", "/memfd:", "/proc/")
"""Where files lie that are on no disk."""


@dataclass(frozen=True)
class Event:
    """A call that changes what is on the disk.

    Attributes:
        kind: `write`, `create`, `mkdir`, `rename` or `link`, for which a full disk has no space; `fsync`, `close` or
            `ftruncate`, for which it needs none.
        path: of the file, as it is called when it happens; of a rename, the new one.
        size: bytes that a write can be cut to the half of; else 0.
    """

    kind: str
    path: Path
    size: int = 0

    @property
    def needs_space(self) -> bool:
        """Whether a full disk refuses it."""
        return self.kind not in SETTLES.values()


HALF = -1
Decide = Callable[[Event], int]
"""What comes of an event: 0 as if nothing were, above that the `errno` that it fails with, `HALF` half a write."""


class Disk:
    """All below a folder, for one command and what it starts.

    Args:
        folder: its place, with no link in it.
        decide: asked of each event, in their order.

    Attributes:
        events: those that were, and what came of them.
        elsewhere: files outside of it that were written.
    """

    def __init__(self, folder: Path, decide: Decide = lambda event: 0) -> None:
        self.folder = folder
        self.decide = decide
        self.events: list[tuple[Event, int]] = []
        self.elsewhere: list[Path] = []
        self.watch = Watch(CALLS)

    def attend(self, seconds: float) -> None:
        """Wait for a call for that long, and answer it."""
        if (asked := self.watch.wait(seconds)) is None:
            return
        key, call = asked
        result = None
        with suppress(OSError, StopIteration):  # it was killed meanwhile, or the file is not open and never was
            if (event := self._event(call)) is not None:
                result = self._came(event, call)
        self.watch.answer(key, result)

    def _came(self, event: Event, call: Call) -> Result | None:
        decided = self.decide(event)
        self.events.append((event, decided))
        if decided == HALF:
            return Result(value=call.write(event.size // 2))
        return Result(error=decided) if decided else None

    def _event(self, call: Call) -> Event | None:
        """What a call does to this disk; None if that is nothing."""
        if call.number in WRITES or call.number in SETTLES:
            kind = SETTLES.get(call.number, "write")
            path, found, flags = call.file(WRITES.get(call.number, 0))
            regular, writable = stat.S_ISREG(found.st_mode), flags & os.O_ACCMODE != os.O_RDONLY
            if not (regular or kind == "fsync") or (kind == "close" and not writable):
                return None
            size = call.arguments[2] if call.number == PLAIN_WRITE else 0
            return self._here(Event(kind, path, size if size > 1 else 0))
        if call.number in NAMES:
            folder, name, kind = NAMES[call.number]
            path = call.path(name, folder)
            return None if kind == "mkdir" and os.path.lexists(path) else self._here(Event(kind, path))
        folder, name, how = OPENS[call.number]
        if how is not None and not call.arguments[how] & os.O_CREAT:
            return None
        path = call.path(name, folder)
        return None if os.path.lexists(path) else self._here(Event("create", path))

    def _here(self, event: Event) -> Event | None:
        if event.path.is_relative_to(self.folder):
            return event
        if event.kind in ("write", "create") and not str(event.path).startswith(NOWHERE):
            self.elsewhere.append(event.path)
        return None


def full_from(n: int, error: int = errno.ENOSPC, *, half: bool = False) -> Decide:
    """Full from the n-th event on that needs space; `half`: of that one, a write, half is taken."""
    seen = 0

    def decide(event: Event) -> int:
        nonlocal seen
        seen += event.needs_space
        if not event.needs_space or seen < n:
            return 0
        return HALF if half and seen == n and event.size else error

    return decide


def once_at(n: int, error: int) -> Decide:
    """The n-th event fails, whatever it is, and no other."""
    seen = 0

    def decide(event: Event) -> int:
        nonlocal seen
        seen += 1
        return error if seen == n else 0

    return decide
