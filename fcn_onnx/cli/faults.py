"""What a report of a fault of ours needs, in a folder that can be attached to it as it is."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

LARGEST_INPUT = 10**6
"""Bytes of a file of the command line that is kept."""


def keep_fault(error: Exception) -> Path:
    """Write a new folder, in the working folder or else in $TMPDIR, and return it.

    It holds the traceback, the versions of what matters, the command line, and the files named in it that are small.

    Raises:
        OSError: neither can be written.
    """
    content = {
        "traceback.txt": "".join(traceback.format_exception(error)),
        "versions.txt": "".join(f"{name} {version}\n" for name, version in _versions().items()),
        "command.txt": shlex.join(["fcn-onnx", *sys.argv[1:]]) + "\n",
    }
    folder = _new_folder()
    for name, text in content.items():
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    for number, path in enumerate(_small_inputs()):
        with suppress(OSError):
            (folder / "inputs").mkdir(exist_ok=True)
            shutil.copyfile(path, folder / "inputs" / f"{number}-{path.name}")
    return folder


def _new_folder() -> Path:
    prefix = f"fcn-onnx-fault-{time.strftime('%Y%m%d-%H%M%S')}-"
    try:
        return Path(os.path.relpath(tempfile.mkdtemp(prefix=prefix, dir=Path.cwd())))
    except OSError:
        return Path(tempfile.mkdtemp(prefix=prefix))


def _versions() -> dict[str, str]:
    from fcn_onnx.jobs.artifact import versions

    return {"python": platform.python_version(), "platform": platform.platform(), **versions()}


def _small_inputs() -> list[Path]:
    """Files that the command line names, as arguments or after `--option=`."""
    words = [word for argument in sys.argv[1:] for word in (argument, argument.partition("=")[2])]
    paths = []
    for path in dict.fromkeys(Path(word) for word in words if word):
        with suppress(OSError, ValueError):
            if path.is_file() and path.stat().st_size <= LARGEST_INPUT:
                paths.append(path)
    return paths
