"""A cluster that a command starts on this machine: what it may not import, and that nothing of it is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import needs_ray
from toys import photograph, residual_network, save

pytestmark = [needs_ray, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder whose path is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def of_folder(folder: Path) -> list[str]:
    """Living processes that were given this folder as HOME, or are called with it."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                if bytes(folder) in told:
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_sigterm_ends_all_of_it(tmp_path: Path, temporary: Path) -> None:
    """In a folder of modules that must not be imported; what was done is kept, and goes on without a cluster."""
    save(residual_network(), tmp_path / "m.onnx")
    (tmp_path / "many").mkdir()
    photograph(900, 700, 0).save(tmp_path / "many/0.png")
    for index in range(1, 900):
        os.link(tmp_path / "many/0.png", tmp_path / f"many/{index}.png")
    for name in ("ray", "onnx", "numpy", "pickle", "json"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the working folder')")
    before = {path.name for path in tmp_path.iterdir()}
    (temporary / "home").mkdir()
    (temporary / "tmp").mkdir()
    command = ["calibrate", "--model", "m.onnx", "--data", "many", "--limit", "900", "--output", "t.json"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "fcn_onnx", *command, "--engine", "ray"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(temporary / "home"), "TMPDIR": str(temporary / "tmp")},
    )
    until = time.monotonic() + 120
    while not list(tmp_path.glob(".t.json.*.journal")) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.1)
    assert len(of_folder(temporary)) > 5
    process.send_signal(signal.SIGTERM)
    until = time.monotonic() + 5
    out, said = process.communicate(timeout=20)
    assert process.returncode == 143, said
    assert out == ""
    assert "Traceback" not in said
    assert "what is done is kept" in said
    while (left := of_folder(temporary)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left
    assert not list((temporary / "tmp").iterdir())
    assert not list((temporary / "home").iterdir())
    assert {path.name for path in tmp_path.iterdir() if not path.name.endswith(".journal")} == before
