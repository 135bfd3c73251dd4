"""Files beside an output, written so that a power cut, a planted link or a run beside this one cannot spoil them."""

from __future__ import annotations

import fcntl
import glob
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = "[a-z0-9_]" * 8
"""What `tempfile` appends to a name, as a pattern."""


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
    sweep(path)
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        lock(descriptor)
        yield descriptor
        os.fsync(descriptor)
        Path(name).replace(path)
        sync(path.parent)
    except BaseException:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)
        raise


def sweep(path: Path) -> None:
    """Remove what runs that were killed while `replacing` left behind; what a living one writes is locked."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.{TEMPORARY}"):
        with suppress(OSError):
            descriptor = open_own(left, os.O_RDONLY)
            if lock(descriptor):
                left.unlink()
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
