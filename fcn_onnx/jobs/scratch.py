"""Temporary files and folders, none of which stays for ever: each is locked while it lives, and those that a killed
run left behind are removed by the next that wants one of the same kind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from fcn_onnx.jobs.files import SCRATCH, discard, lock, sweep, undivided, writing


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in $TMPDIR that is gone at the end, with all that is in it.

    Raises:
        OutputError: nothing can be written there.
    """
    with ExitStack() as stack:
        with writing(Path(SCRATCH)):
            place = Path(tempfile.gettempdir())
        with writing(place / SCRATCH):
            folder = stack.enter_context(folder_in(place, SCRATCH))
        with writing(folder, folder):
            yield folder


@contextmanager
def folder_in(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, which is gone at the end, with all that is in it.

    Raises:
        OSError: it cannot be made.
    """
    sweep_once(parent, prefix, "")
    with ExitStack() as stack:
        with undivided():
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            stack.callback(_remove, folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        lock(descriptor)
        yield folder


def _remove(folder: Path) -> None:
    with undivided():
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def file_in(parent: Path, prefix: str, suffix: str) -> Iterator[Path]:
    """A new file in `parent`, which is gone at the end, unless it has another name by then.

    Raises:
        OSError: it cannot be made.
    """
    sweep_once(parent, prefix, suffix)
    with ExitStack() as stack:
        with undivided():
            descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=parent)
            stack.callback(discard, descriptor, Path(name))
            lock(descriptor)
        yield Path(name)


def sweep_once(parent: Path, prefix: str, suffix: str) -> None:
    """`sweep`, once a process: a folder of many results is not read for each of them."""
    _swept(parent.absolute(), prefix, suffix)


@cache
def _swept(parent: Path, prefix: str, suffix: str) -> None:
    sweep(parent, prefix, suffix)
