"""One run at a time towards an output: whoever is second waits, or is told who is at work.

The lock is the kernel's, on a file beside the output: however its holder ends, it is free, and the file it may leave is
taken over by the next run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fcn_onnx.errors import BusyError
from fcn_onnx.jobs.files import lock, named, write_all, writing
from fcn_onnx.jobs.progress import SILENT, Progress

LOOK_EVERY_S = 0.2
LINE_BYTES = 200
"""Of what a lock file says, the most that is read."""


@contextmanager
def holding(output: Path, wait_s: float = 0.0, progress: Progress = SILENT) -> Iterator[None]:
    """Have `output`, a file or a folder, to oneself.

    Args:
        wait_s: how long to wait for another run that is at work on it, in seconds.
        progress: hears that there is one.

    Raises:
        BusyError: there is one still.
        OutputError: nothing can be written beside the output.
    """
    own = named(output)
    path = own.with_name(f".{own.name}.lock")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path, output, wait_s, progress)
    try:
        with writing(path):
            os.ftruncate(descriptor, 0)
            write_all(descriptor, f"process {os.getpid()}, started {time.strftime('%Y-%m-%d %H:%M:%S')}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path, output: Path, wait_s: float, progress: Progress) -> int:
    """The lock file, open and locked."""
    until = time.monotonic() + wait_s
    told = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        if lock(descriptor):
            if _is_at(descriptor, path):
                return descriptor
            os.close(descriptor)  # its holder ended, and took the file with it, between the two lines above
            continue
        who = os.pread(descriptor, LINE_BYTES, 0).decode(errors="replace") or "a process that has just started"
        os.close(descriptor)
        if time.monotonic() >= until:
            raise BusyError(
                f"another run is at work on {output}: {who}", fix="let it end, wait for it with --wait, or end it"
            )
        if not told:
            progress.note(f"waiting up to {wait_s:g} s for another run that is at work on {output}: {who}")
            told = True
        time.sleep(min(LOOK_EVERY_S, max(0.0, until - time.monotonic())))


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    return False
