"""The memory that a session takes, measured where nothing else is: in a process of its own.

The process imports the runtime and runs a model of one node in it. What it holds then is the tool's and the library's;
what the highest mark is above that, after the model has been loaded and run, is the session's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import onnx

from fcn_onnx.errors import WorkerError
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.files import save_model
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.smallest import smallest_model

STATUS = Path("/proc/self/status")
FORGET = Path("/proc/self/clear_refs")
"""Where a 5 lowers the highest mark to what is held now."""

RUNS = 3
TIMEOUT_S = 600


def peak_memory_bytes(
    model: Path | onnx.ModelProto,
    size: tuple[int, int],
    config: SessionConfig,
    *,
    runtime: str,
    multiple_of: int | None = None,
) -> int | None:
    """The most that a session of `model` ever held while it was loaded and run on images of `size` (height, width).

    Returns:
        Bytes; None where the system does not tell (it is not Linux).

    Raises:
        WorkerError: the process failed; its last words are said.
    """
    if not STATUS.is_file():
        return None
    if isinstance(model, Path):
        return _asked(model.absolute(), size, config, runtime, multiple_of)
    with scratch() as folder:
        save_model(model, Path(folder, "model.onnx"))
        return _asked(Path(folder, "model.onnx"), size, config, runtime, multiple_of)


def _asked(path: Path, size: tuple[int, int], config: SessionConfig, runtime: str, multiple_of: int | None) -> int:
    """What a new process, which imports from where this one does, finds."""
    asked = {"path": str(path), "size": size, "config": asdict(config), "runtime": runtime, "multiple_of": multiple_of}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fcn_onnx.runtime.footprint"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()
        raise WorkerError(
            f"the process that measures the memory of {path} in {runtime} ended with {done.returncode}"
            + (f": {words[-1]}" if words else ""),
            fix="try a smaller --size if memory is short",
        )
    return int(done.stdout)


def measure() -> None:
    """What the process does: reads what is asked on standard input, and writes bytes."""
    asked = json.load(sys.stdin)
    config, size = SessionConfig(**asked["config"]), asked["size"]

    def network(source: Path | onnx.ModelProto) -> Network:
        return Network(source, config, multiple_of=asked["multiple_of"], runtime=asked["runtime"])

    small = network(smallest_model())
    small.run(small.form.noise((8, 8)))
    path = Path(asked["path"])
    with suppress(OSError):  # an old kernel, or one that forbids it: the mark is then that of the imports at least
        FORGET.write_text("5", encoding="ascii")
    before = _kibibytes("VmRSS")
    session = network(path)
    batch = session.form.noise((size[0], size[1]))
    for _ in range(RUNS):
        session.run(batch)
    sys.stdout.write(str(max(0, 1024 * (_kibibytes("VmHWM") - before))))


def _kibibytes(key: str) -> int:
    """A value of this process's status, as Linux counts it."""
    (line,) = (line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1])


if __name__ == "__main__":
    measure()
