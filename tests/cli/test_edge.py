"""What a command says, and how it ends, when something happens that no stage has foreseen."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper
from toys import photograph, pixel_classifier, residual_network, save, write_coco

import fcn_onnx.calibration.collector as collector
import fcn_onnx.runtime.session as session
import fcn_onnx.stages.inspect as inspect
from fcn_onnx.cli import main
from fcn_onnx.jobs.journal import Journal

DATA = ("--data", "coco/val2017")
MODEL = "fcn-toy-12.onnx"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a toy fp32 model, and a COCO data set in `coco`."""
    monkeypatch.chdir(tmp_path)
    save(residual_network(), tmp_path / MODEL)
    write_coco(tmp_path / "coco")
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def child(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The command in a process of its own; what it prints is read as UTF-8."""
    return subprocess.Popen(
        [sys.executable, "-m", "fcn_onnx", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, **environment},
    )


def raising(error: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def ended(result: Result, code: int) -> str:
    """What it said on stderr, having ended as a command does."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code
    assert "Traceback" not in result.output
    return result.stderr


def test_a_fault_of_ours_is_one_line_and_a_folder_to_attach(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("large.bin").write_bytes(bytes(10**6 + 1))
    monkeypatch.setattr(inspect, "load_model", raising(KeyError("boom\nand more")))
    monkeypatch.setattr(sys, "argv", ["fcn-onnx", "inspect", MODEL, "--plot=list.txt", "large.bin"])
    Path("list.txt").write_text("what\n")
    said = ended(call("inspect", MODEL), 1)
    (kept,) = Path().glob("fcn-onnx-fault-*")
    assert said.splitlines() == [
        f"error: a fault of fcn-onnx (KeyError: 'boom\\nand more'); {kept} holds what a report of it needs"
    ]
    assert "in inspect" in (kept / "traceback.txt").read_text()
    assert (kept / "command.txt").read_text() == f"fcn-onnx inspect {MODEL} --plot=list.txt large.bin\n"
    assert f"onnx {onnx.__version__}\n" in (kept / "versions.txt").read_text()
    inputs = {p.name: p.read_bytes() for p in (kept / "inputs").iterdir()}
    assert inputs == {f"0-{MODEL}": Path(MODEL).read_bytes(), "1-list.txt": b"what\n"}


def test_a_fault_where_the_working_folder_is_gone_is_kept_elsewhere(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("tmp")
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    monkeypatch.setattr(inspect, "load_model", raising(KeyError("boom")))
    gone = folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    said = ended(call("inspect", str(folder / MODEL)), 1)
    (kept,) = elsewhere.glob("fcn-onnx-fault-*")
    assert str(kept) in said
    os.chdir(folder)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "x.bin"), "error: Permission denied: x.bin\n"),
        (OSError(errno.EIO, "Input/output error"), "error: [Errno 5] Input/output error\n"),
        (MemoryError("8 GB"), "error: out of memory (8 GB)\n  → use smaller images or fewer --workers\n"),
    ],
)
def test_what_the_system_refuses_is_said_in_its_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(inspect, "load_model", raising(error))
    assert ended(call("inspect", MODEL), 1) == said
    assert not list(Path().glob("fcn-onnx-fault-*"))


def test_a_model_that_runs_out_of_memory_is_not_to_blame(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Poor(session.ort.InferenceSession):
        def run(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 9999")

    monkeypatch.setattr(session.ort, "InferenceSession", Poor)
    said = ended(call("benchmark", MODEL, "--size", "32x32", "--multiple-of", "1"), 1)
    assert "out of memory" in said
    assert "--multiple-of" not in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_says_that_the_next_run_continues(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    seen = iter(range(9))
    load = collector.Pass.load

    def interrupted(self: Any, item: Any) -> Any:
        if next(seen) == 3:
            os.kill(os.getpid(), number)
            time.sleep(0.2)
        return load(self, item)

    monkeypatch.setattr(collector.Pass, "load", interrupted)
    arguments = ("calibrate", *DATA, "--limit", "5", "--output", "t.json")
    said = ended(call(*arguments), code)
    words = {130: "interrupted", 143: "terminated"}[code]
    assert said.splitlines()[-2:] == [words, "  what is done is kept: the same command continues after it"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    again = call(*arguments)
    assert again.exit_code == 0
    assert "continuing after" in again.stderr
    assert {p.name for p in Path().iterdir()} == {MODEL, "coco", "t.json"}


def descendants(pid: int) -> set[int]:
    """Processes that `pid` started, and those that they did."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, new = set(), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new}
    return found - {pid}


def alive(pids: set[int]) -> set[int]:
    found = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_no_worker_is_left_after_five_seconds(folder: Path, number: signal.Signals, code: int) -> None:
    Path("tmp").mkdir()
    Path("many").mkdir()
    photograph(900, 700, 0).save("many/0.png")
    for index in range(1, 400):
        os.link("many/0.png", f"many/{index}.png")
    arguments = ("calibrate", "--data", "many", "--limit", "400", "--workers", "2", "--output", "t.json")
    process = child(*arguments, TMPDIR=str(folder / "tmp"))
    until = time.monotonic() + 60
    while len(workers := descendants(process.pid)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1)
    workers |= descendants(process.pid)
    assert len(workers) >= 2
    assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=5)
    assert process.returncode == code, said
    assert "Traceback" not in said
    until = time.monotonic() + 5
    while alive(workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(workers)
    assert not list(Path("tmp").iterdir())
    assert {p.name for p in Path().iterdir() if not p.name.endswith(".journal")} == {MODEL, "coco", "many", "tmp"}


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path) -> None:
    process = child("benchmark", MODEL, "--size", "32x32", "--runs", "2")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stream:
        said = stream.read()
    assert process.wait() == 0
    assert "Traceback" not in said
    assert "Broken" not in said


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_file_of_ours(folder: Path, closed: str) -> None:
    """The next file that is opened would get its number, and be written to by whoever prints."""
    arguments = ["calibrate", *DATA, "--limit", "2", "--output", "t.json"]
    assert call(*arguments).exit_code == 0
    expected = Path("t.json").read_bytes()
    Path("t.json").unlink()
    script = f'exec "$0" -m fcn_onnx "$@" {closed}'
    done = subprocess.run(["sh", "-c", script, sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert Path("t.json").read_bytes() == expected
    assert {p.name for p in Path().iterdir()} == {MODEL, "coco", "t.json"}


def test_a_terminal_of_ascii_shows_what_it_can(folder: Path) -> None:
    save(pixel_classifier(), folder / "größe.onnx")
    for plain in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        out, said = (process := child("inspect", "größe.onnx", **plain)).communicate()
        assert process.returncode == 0, said
        assert "at 520\\xd7520" in out
        out, said = (process := child("inspect", "größe.onnx", "--json", "-", **plain)).communicate()
        assert process.returncode == 0, said
        assert os.fsencode(json.loads(out)["path"]).decode() == "größe.onnx"


def test_a_layer_that_is_always_zero_has_no_ratio(folder: Path) -> None:
    model = residual_network()
    for tensor in model.graph.initializer:
        if tensor.name.startswith("inner."):
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))
    save(model, Path(MODEL))
    assert call("quantize", *DATA).exit_code == 0
    result = call("inspect", MODEL, "fcn-toy-12-int8.onnx", *DATA, "--json", "-")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout, parse_constant=pytest.fail)
    assert found["sqnr_db"]["inner_relu"] is None
    assert found["sqnr_not_finite"] == list(found["sqnr_db"].values()).count(None) >= 1


def test_a_channel_alone_is_told_what_classes_it_can_have(folder: Path) -> None:
    save(pixel_classifier(classes=1), Path("one.onnx"))
    Path("names.txt").write_text("a\nb\nc\n")
    said = ended(call("predict", "one.onnx", "coco/val2017", "--classes", "names.txt"), 2)
    assert "--classes names two: the background and what the channel scores" in said


def test_the_second_run_towards_an_output_waits_or_is_told(folder: Path) -> None:
    code = (
        "import time\nfrom pathlib import Path\nfrom fcn_onnx.jobs.holding import holding\n"
        "with holding(Path('predictions')):\n    print('ready', flush=True)\n    time.sleep(3)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        said = ended(call("predict", MODEL, "coco/val2017"), 1)
        assert f"another run is at work on predictions: process {first.pid}, started " in said
        assert not Path("predictions").exists()
        waited = call("predict", MODEL, "coco/val2017", "--wait", "60")
    assert waited.exit_code == 0, waited.output
    assert "waiting up to 60 s" in waited.stderr
    assert len(list(Path("predictions").iterdir())) == 15
