"""The command line in a process of its own that may take so much memory and time, so that a crash is a result."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

MEMORY = 3 << 30
"""Bytes of address space; the program takes a third of it."""

SECONDS = 60
ROOT = Path(__file__).parents[1]


def fcn_onnx(*args: str | Path, memory: int = MEMORY, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run a command; a negative exit code is a signal, such as -11 for a segmentation fault."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "fcn_onnx", *map(str, args)],
            input=stdin,
            capture_output=True,
            timeout=2 * SECONDS,
            check=False,
            preexec_fn=limit,
            cwd=folder,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def refused(*args: str | Path, memory: int = MEMORY, code: int = 2) -> str:
    """What the command says; it must end with this exit code, one message and no traceback."""
    done = fcn_onnx(*args, memory=memory)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert "a fault of fcn-onnx" not in done.stderr
    assert sum(line.lower().startswith("error: ") for line in done.stderr.splitlines()) == 1, done.stderr
    return done.stderr
