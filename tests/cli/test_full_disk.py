"""A disk that is full from the n-th write on, for every n of short commands: old or no file, one message, and it can be
repeated; `make campaigns` has every n of all commands. And a disk that the kernel itself keeps full, for what is not
written by Python."""

from __future__ import annotations

import builtins
import errno
import io
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from campaigns.ground import RECIPE
from click.testing import CliRunner, Result
from toys import photograph, residual_network, save, write_coco

import fcn_onnx.jobs.scratch as scratch
from fcn_onnx.cli import main
from fcn_onnx.jobs.files import SCRATCH
from fcn_onnx.jobs.journal import Journal

DATA = ("--data", "coco/val2017")
VALIDATE = ("validate", "--fp32", "fcn-toy-12.onnx", "--int8", "second.onnx", *DATA)

COMMANDS: dict[str, tuple[str, ...]] = {
    "calibrate": ("calibrate", *DATA, "--limit", "2", "--histograms", "out/h.npz", "--output", "out/t.json"),
    "quantize": ("quantize", *DATA, "--limit", "2", "--output", "out/int8.onnx"),
    "validate": (*VALIDATE, "--limit", "2", "--report", "out/report"),
    "predict": ("predict", "fcn-toy-12.onnx", "street.png", "coco/val2017", "--output", "out/pictures"),
    "benchmark": ("benchmark", "fcn-toy-12.onnx", "--size", "32x32", "--runs", "1", "--json", "out/b.json"),
    "inspect": ("inspect", "second.onnx", "--json", "out/i.json"),
    "plot": ("inspect", "h.npz", "--plot", "out/h.html", "--json", "out/h.json"),
    "export": ("export", "--arch", "tiny", "--output", "out/tiny.onnx", "--test-data"),
    "run": ("run", "r.yaml"),
}
SLOW = {"validate": 10, "export": 4, "run": 3}
"""Of commands that take a second or more: how many n are tried, spread over all."""


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


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """All files that Python writes lie on it."""
    disk = Disk()
    disk.install(monkeypatch.setattr)
    return disk


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    save(residual_network(), tmp_path / "fcn-toy-12.onnx")
    save(residual_network(1), tmp_path / "second.onnx")
    write_coco(tmp_path / "coco")
    photograph(40, 30, 9).save("street.png")
    Path("r.yaml").write_text(RECIPE)
    assert call("calibrate", *DATA, "--limit", "2", "--histograms", "h.npz", "--output", "h.json").exit_code == 0
    return tmp_path


def call(*arguments: str) -> Result:
    scratch._swept.cache_clear()  # as in a new process
    return CliRunner().invoke(main, list(arguments))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()} if folder.exists() else {}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full_from_any_write_on(folder: Path, disk: Disk, command: str) -> None:
    result = call(*COMMANDS[command])
    assert result.exit_code == 0, result.output
    whole, total = contents(Path("out")), disk.written
    assert total > 0
    tried = sorted({*np.linspace(1, total, SLOW.get(command, total), dtype=int)})
    for n in tried:
        shutil.rmtree("out", ignore_errors=True)
        disk.written, disk.full_at = 0, int(n)
        failed = call(*COMMANDS[command])
        disk.full_at = NEVER
        assert failed.exit_code in (1, 2), (n, failed.output)
        assert isinstance(failed.exception, SystemExit), (n, failed.exception)
        assert "Traceback" not in failed.output
        assert failed.stderr.count("error: ") == 1, failed.stderr
        assert "No space left" in failed.stderr, failed.stderr
        assert not list(Path("tmp").iterdir())
        for name, content in contents(Path("out")).items():
            if not name.endswith(".journal"):
                assert name in whole, (n, name)
                if name.endswith((".onnx", ".png", ".jpg", ".pb", ".npz")) and "report" not in name:
                    assert content == whole[name], (n, name)
    again = call(*COMMANDS[command])
    assert again.exit_code == 0, again.output
    assert contents(Path("out")).keys() == whole.keys()


def test_what_is_done_stays_done_on_a_disk_that_is_full_at_the_end(folder: Path, disk: Disk) -> None:
    assert call(*COMMANDS["validate"]).exit_code == 0
    shutil.rmtree("out", ignore_errors=True)
    disk.full_at, disk.written = disk.written, 0
    failed = call(*COMMANDS["validate"])
    disk.full_at = NEVER
    assert "the same command continues" in failed.stderr
    again = call(*COMMANDS["validate"])
    assert "continuing after 2 finished images" in again.stderr


@contextmanager
def no_file_above(size_bytes: int) -> Iterator[None]:
    """The kernel refuses what would make a file larger, whoever writes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_temporary_folder_does_not_blame_the_model(folder: Path) -> None:
    """What onnxruntime makes of a model is written by itself, and it says `Protobuf serialization failed`."""
    assert call("quantize", *DATA, "--limit", "2").exit_code == 0
    with no_file_above(2000):
        failed = call("inspect", "fcn-toy-12-int8.onnx")
    assert failed.exit_code == 2
    assert f"cannot write {folder}/tmp/{SCRATCH}" in failed.stderr
    assert "let TMPDIR name another folder" in failed.stderr
    assert not list(Path("tmp").iterdir())


def test_a_model_that_the_kernel_refuses_leaves_the_old_one(folder: Path) -> None:
    before = Path("fcn-toy-12.onnx").read_bytes()
    with no_file_above(1000):
        failed = call("export", "--arch", "tiny", "--output", "fcn-toy-12.onnx", "--opset", "18")
    assert failed.exit_code == 2
    assert "File too large" in failed.stderr
    assert Path("fcn-toy-12.onnx").read_bytes() == before
    assert onnx.load("fcn-toy-12.onnx").graph.node
