"""Two runs towards one output: one at a time, and left-overs of killed ones go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fcn_onnx.errors import BusyError
from fcn_onnx.jobs import scratch
from fcn_onnx.jobs.artifact import atomic_folder, atomic_path
from fcn_onnx.jobs.files import SCRATCH
from fcn_onnx.jobs.holding import holding
from fcn_onnx.jobs.journal import Journals


def other(code: str, *, ends: bool = False) -> subprocess.Popen[str]:
    """A process that runs `code` and says so, and then sleeps for long, or ends after a second."""
    script = f"import time\n{code}\n    print('ready', flush=True)\n    time.sleep({1 if ends else 600})\n"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as printed:
        assert printed.readline() == "ready\n"
    return process


HOLDS = """
from pathlib import Path
from fcn_onnx.jobs.holding import holding
with holding(Path('out.json')):"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_second_is_told_who_is_at_work_and_waits_if_asked_to() -> None:
    process = other(HOLDS, ends=True)
    who = rf"process {process.pid}, started 2\d\d\d-"
    with pytest.raises(BusyError, match=who) as caught, holding(Path("out.json")):
        pass
    assert caught.value.exit_code == 1
    with pytest.raises(BusyError), Journals(Path("out.json"), wait_s=0.1):
        pass
    with holding(Path("other.json")):
        pass
    with Journals(Path("out.json"), wait_s=30):
        assert process.wait() == 0
        assert [p.name for p in Path().iterdir()] == [".out.json.lock"]
    assert not list(Path().iterdir())


def test_a_killed_holder_holds_nothing() -> None:
    process = other(HOLDS)
    process.kill()
    process.wait()
    assert Path(".out.json.lock").exists()
    with holding(Path("out.json")):
        assert str(os.getpid()) in Path(".out.json.lock").read_text()
    assert not list(Path().iterdir())


def test_many_that_want_it_have_it_one_after_the_other() -> None:
    code = (
        "from pathlib import Path\nfrom fcn_onnx.jobs.holding import holding\n"
        "for _ in range(20):\n    with holding(Path('out'), 60):\n"
        "        number = int(Path('count').read_text())\n        Path('count').write_text(str(number + 1))\n"
    )
    Path("count").write_text("0")
    crew = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in crew] == [0, 0, 0]
    assert Path("count").read_text() == "60"


def test_what_a_killed_run_left_issweep_once_by_the_next_and_what_a_living_one_has_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    code = """
from pathlib import Path
from fcn_onnx.jobs.artifact import atomic_folder, atomic_path
from fcn_onnx.jobs.scratch import scratch
with atomic_path(Path('m.onnx')) as file, atomic_folder(Path('report')) as folder, scratch() as work:
    file.write_text('half'), (folder / 'a').write_text('half'), (work / 'b').write_text('half')"""

    def left() -> list[str]:
        return sorted(p.name.partition("part-")[0] for p in Path().iterdir()) + [p.name for p in temporary.iterdir()]

    def write() -> None:
        scratch._swept.cache_clear()  # as in a new process
        with atomic_path(Path("m.onnx")) as file, atomic_folder(Path("report")) as folder, scratch.scratch():
            file.write_text("whole")
            (folder / "a").write_text("whole")

    process = other(code)
    before = left()
    assert [name for name in before if name.startswith(".")] == [".m.onnx.", ".report."]
    assert before[-1].startswith(SCRATCH)
    Path(".m.onnx.settings").write_text("the user's own")
    write()
    assert set(before) <= set(left())
    process.send_signal(signal.SIGKILL)
    process.wait()
    write()
    assert left() == [".m.onnx.settings", "m.onnx", "report", "tmp"]
    assert (Path("m.onnx").read_text(), Path("report/a").read_text()) == ("whole", "whole")
