"""The journal: what it keeps, whose it keeps, and what it does with damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fcn_onnx.errors import OutputError
from fcn_onnx.journal import Journal


class Notes:
    def __init__(self) -> None:
        self.said: list[str] = []

    def track(self, items, *, total, label, done=0):  # type: ignore[no-untyped-def]
        return iter(items)

    def note(self, message: str) -> None:
        self.said.append(message)


def journal(path: Path | None, job: str = "job", **options: float) -> Journal:
    return Journal(path, job, interval_s=options.get("interval_s", 0.0), progress=Notes())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    arrays = {"a": np.arange(5), "b": np.array(["x", "yz"])}
    journal(tmp_path / "j").save(lambda: arrays, ["one", "two"])
    state = journal(tmp_path / "j").load()
    assert state is not None
    assert state.done == ("one", "two")
    assert all(np.array_equal(state.arrays[name], arrays[name]) for name in arrays)
    assert [p.name for p in tmp_path.iterdir()] == ["j"]


@pytest.mark.parametrize("damage", ["other job", "truncated", "text", "missing", "empty"])
def test_what_cannot_be_used_is_said_and_not_used(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "j"
    journal(path).save(lambda: {"a": np.arange(500)}, ["one"])
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-50])
        case "text":
            path.write_text("hello")
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
    notes = Notes()
    reader = Journal(path, "another" if damage == "other job" else "job", progress=notes)
    assert reader.load() is None
    assert len(notes.said) == (0 if damage == "missing" else 1)


def test_writes_are_rare_and_only_when_due(tmp_path: Path) -> None:
    lazy = journal(tmp_path / "j", interval_s=1000)
    lazy.save(lambda: pytest.fail("nobody asked for the arrays"), ["one"])
    assert not (tmp_path / "j").exists()


def test_a_finished_job_leaves_no_journal_and_a_failed_one_does(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with pytest.raises(ZeroDivisionError), journal(path) as record:
        record.save(lambda: {"a": np.zeros(1)}, ["one"])
        raise ZeroDivisionError
    assert path.exists()
    with journal(path):
        pass
    assert not path.exists()


def test_no_path_keeps_nothing(tmp_path: Path) -> None:
    record = journal(None)
    record.save(lambda: pytest.fail("nobody asked"), [])
    assert record.load() is None


def test_an_unwritable_journal_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        journal(tmp_path / "missing" / "j").save(lambda: {"a": np.zeros(1)}, [])
