"""Files from outside, read without trusting them: what they are and how large they are comes before their bytes."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}

TEXT_BYTES = 16 << 20
"""Of the largest list, class file or label map; a million file names fit."""


def require_regular(path: Path) -> None:
    """Raise OSError where `path` leads to no regular file; what it leads to is not opened, as that may block or act."""
    _require(path.stat().st_mode)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file to read.

    Raises:
        OSError: there is none, it cannot be read, or it is a pipe, socket, device or folder, which is then not opened.
    """
    require_regular(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require(os.fstat(descriptor).st_mode)  # it may have been replaced meanwhile
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, most: int) -> bytes:
    """All of a regular file.

    Raises:
        OSError: as for `open_regular`, or it is larger than `most` bytes.
    """
    with open_regular(path) as stream:
        return _bounded(stream, most)


def read_text(path: Path, most: int = TEXT_BYTES) -> str:
    """A text file in UTF-8, from a pipe too (`--classes <(cut -f1 table)`).

    Raises:
        OSError: it cannot be read, or is larger than `most` bytes.
        UnicodeDecodeError: it is not UTF-8.
    """
    with path.open("rb") as stream:
        return _bounded(stream, most).decode()


def _bounded(stream: BinaryIO, most: int) -> bytes:
    data = stream.read(most + 1)
    if len(data) > most:
        raise OSError(f"it is larger than {most:,} bytes")
    return data


def _require(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(f"it is {KINDS.get(stat.S_IFMT(mode), 'no file')}, not a file")


def is_path(text: str) -> bool:
    """Whether a file can be called so: no NUL, and no half of a character."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def refusal(path: Path, folder: Path) -> str | None:
    """Why `path` is not read as a part of a data folder; None if it leads to a regular file that lies there.

    Args:
        path: below the folder, by a name that is not to be trusted.
        folder: its real path.
    """
    try:
        real = path.resolve()
        if not real.is_relative_to(folder):
            return f"leads out of {folder}, to {real}"
        require_regular(path)
    except FileNotFoundError:
        return "leads to nothing" if path.is_symlink() else "is missing"
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a name that no file can have
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return None
