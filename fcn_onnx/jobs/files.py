"""Files beside an output, written so that a power cut, a planted link or a run beside this one cannot spoil them."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fcn_onnx.errors import OutputError

TEMPORARY = "[a-z0-9_]" * 8
"""What `tempfile` appends to a name, as a pattern."""


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a place that takes no more."""

NAMELESS = FULL | {errno.EIO, errno.EROFS}
"""Errors of writing to an open file, which do not say which."""


SCRATCH = "fcn-onnx-work-"
"""How the names of our temporary folders in $TMPDIR begin."""


def unwritable(path: Path, error: OSError, called: str = "") -> OutputError:
    """The error of ours that says what kept `path`, which is `called` so, from being written."""
    if any(part.startswith(SCRATCH) for part in path.parts):
        fix = "free some space there, or let TMPDIR name another folder"
    elif error.errno in FULL:
        fix = "free some space there, or write to another place"
    else:
        fix = "choose another name, or a folder that you may write to"
    return OutputError(f"cannot write {called}{path}: {error.strerror or error}", fix=fix)


@contextmanager
def writing(path: Path, place: Path | None = None, *, called: str = "") -> Iterator[None]:
    """What keeps the block from writing is an error of ours that names `path`.

    Args:
        place: a folder; where the block does more than to write, what goes wrong elsewhere is not of this.
        called: as for `unwritable`.

    Raises:
        OutputError: something cannot be written.
    """
    try:
        yield
    except OSError as error:
        if place is None or _is_of(error, place):
            raise unwritable(path, error, called) from error
        raise


def _is_of(error: OSError, place: Path) -> bool:
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if not named:
        return error.errno in NAMELESS
    return any(Path(name).absolute().is_relative_to(place.absolute()) for name in named)


def named(path: Path) -> Path:
    """`path` with a name at its end, which `.` and `..` have not."""
    return path if path.name not in ("", "..") else path.resolve()


def open_own(path: Path, flags: int) -> int:
    """Open a regular file that is there already, and nothing that a link leads to.

    Raises:
        OSError: it is a link, no regular file, or cannot be opened.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a regular file")
    return descriptor


@contextmanager
def replacing(path: Path) -> Iterator[int]:
    """Yield a new file, open for writing and locked, that takes the place of `path` when the block ends without error.

    It is then still open, and the caller's to close; after an error it is closed and gone, and `path` is as it was.
    Its temporary name is its own, so that a run beside this one has another; one that a killed run left is removed.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, f"{path.name}.")
    with ExitStack() as stack:
        with undivided():
            descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
            stack.callback(discard, descriptor, Path(name))
            lock(descriptor)
        yield descriptor
        os.fsync(descriptor)
        Path(name).replace(path)
        sync(path.parent)
        stack.pop_all()


@contextmanager
def undivided() -> Iterator[None]:
    """SIGINT and SIGTERM take effect behind the block, not within: what it makes is known, or gone, by then.

    Only the main thread gets signals; in another one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler is not None}  # None: not Python's
    try:
        for number in before:
            signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def discard(descriptor: int, path: Path) -> None:
    """Close an open file and remove it, unless it has another name than `path` by then.

    Raises:
        OSError: a write is found to have failed as it is closed, as on a network's disk; it is removed all the same.
    """
    with undivided():
        try:
            os.close(descriptor)
        finally:
            path.unlink(missing_ok=True)


def sweep(folder: Path, prefix: str, suffix: str = "") -> None:
    """Remove files and folders of such temporary names that killed runs left behind; what a living one uses is locked.

    Nothing that a link leads to, or that is another user's, is touched.
    """
    for left in folder.glob(f"{glob.escape(prefix)}{TEMPORARY}{glob.escape(suffix)}"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = os.fstat(descriptor)
                if found.st_uid == os.geteuid() and lock(descriptor):
                    shutil.rmtree(left) if stat.S_ISDIR(found.st_mode) else left.unlink()
            finally:
                os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; False if another has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, at once if the system can."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync(path: Path) -> None:
    """Have the system put a file's bytes on the disk, not only in its memory; of a folder, the names in it.

    Without the latter, a file that was renamed may have its old name after a power cut.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
