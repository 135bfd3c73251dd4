"""A disk that is full from the n-th write on."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from typing import Any

NEVER = 10**9


class Disk:
    """Counts what is written to it, and takes no more from the n-th write on.

    Attributes:
        written: writes so far.
        full_at: n.
        error: what a write then fails with.
    """

    def __init__(self, full_at: int = NEVER, error: int = errno.ENOSPC) -> None:
        self.written = 0
        self.full_at = full_at
        self.error = error

    def write(self, write: Callable[[Any], int], data: Any) -> int:
        """Write, or fail."""
        self.written += 1
        if self.written >= self.full_at:
            raise OSError(self.error, os.strerror(self.error))
        return write(data)

    def install(self, patch: Callable[[Any, str, Any], None] = setattr) -> None:
        """From here on, all files that Python writes lie on it.

        Args:
            patch: sets an attribute of a module.
        """
        disk, opened, written = self, io.open, os.write

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                return disk.write(super().write, data)

        def fake(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any) -> Any:
            if not isinstance(file, str | bytes | os.PathLike) or not set(mode) & set("wxa+"):
                return opened(file, mode, buffering, *rest, **options)
            raw = Raw(file, mode.replace("b", "").replace("t", ""))
            binary = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            return binary if "b" in mode else io.TextIOWrapper(binary, *rest[:3], **options)

        patch(builtins, "open", fake)
        patch(io, "open", fake)
        patch(os, "write", lambda descriptor, data: disk.write(lambda d: written(descriptor, d), data))
