"""The journal: what it keeps, whose it keeps, what it does with damage, and that it is forgotten last."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from notes import Notes

from fcn_onnx.errors import OutputError
from fcn_onnx.jobs.journal import Journal, Journals, forget, journal_path
from fcn_onnx.jobs.records import Record

JOB, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def row(number: int) -> Record:
    return Record((f"{number}.jpg",), {"counts": np.arange(number, number + 500)})


def names(records: tuple[Record, ...]) -> list[str]:
    return [name for record in records for name in record.done]


def write_rows(path: Path, *numbers: int, job: str = JOB) -> None:
    with closing(Journal(path, job, interval_s=0)) as journal:
        journal.load()
        for number in numbers:
            journal.append(row(number))


def test_rows_are_appended_and_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write_rows(path, 1, 2)
    inode, size = path.stat().st_ino, path.stat().st_size
    write_rows(path, 3)
    assert path.stat().st_ino == inode
    assert size < path.stat().st_size < 2 * size
    records = Journal(path, JOB).load()
    assert names(records) == ["1.jpg", "2.jpg", "3.jpg"]
    assert all(np.array_equal(r.arrays["counts"], row(i).arrays["counts"]) for i, r in enumerate(records, 1))
    assert os.listdir(tmp_path) == ["j"]  # noqa: PTH208  # hidden ones too


def test_a_snapshot_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", JOB, interval_s=0)
    for number in (1, 2):
        journal.snapshot(lambda number=number: row(number))  # type: ignore[misc]
    assert names(Journal(tmp_path / "j", JOB).load()) == ["2.jpg"]
    assert os.listdir(tmp_path) == ["j"]  # noqa: PTH208


@pytest.mark.parametrize("damage", ["other job", "torn", "text", "missing", "empty", "folder", "pipe"])
def test_what_cannot_be_used_is_said_and_done_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "j"
    write_rows(path, 1, 2)
    match damage:
        case "torn":
            path.write_bytes(path.read_bytes()[:-50])
        case "text":
            path.write_text("hello")
        case "empty":
            path.write_bytes(b"")
        case "missing" | "folder" | "pipe":
            path.unlink()
    if damage == "folder":
        path.mkdir()
    if damage == "pipe":
        os.mkfifo(path)
    notes = Notes()
    journal = Journal(path, OTHER if damage == "other job" else JOB, interval_s=0, progress=notes)
    with closing(journal):
        assert names(journal.load()) == (["1.jpg"] if damage == "torn" else [])
        assert len(notes.said) == {"missing": 0, "torn": 2}.get(damage, 1)
        if damage == "folder":
            with pytest.raises(OutputError):
                journal.append(row(3))
            return
        journal.append(row(3))
    assert names(Journal(path, journal._job).load()) == (["1.jpg", "3.jpg"] if damage == "torn" else ["3.jpg"])


def test_each_job_has_a_journal_of_its_own_beside_the_output(tmp_path: Path) -> None:
    output = tmp_path / "report"
    assert journal_path(output, JOB) == tmp_path / ".report.aaaaaaaaaaaaaaaa.journal"
    write_rows(journal_path(output, JOB), 1)
    write_rows(journal_path(output, OTHER), 2, job=OTHER)
    output.mkdir()  # the place does not depend on what is there, nor on how the output is called
    assert journal_path(output / "." / "x" / "..", JOB).name == journal_path(output, JOB).name
    assert names(Journal(journal_path(output, JOB), JOB).load()) == ["1.jpg"]
    assert names(Journal(journal_path(output, OTHER), OTHER).load()) == ["2.jpg"]


def test_the_folder_is_made_with_the_first_record(tmp_path: Path) -> None:
    write_rows(tmp_path / "a" / "b" / "j")
    assert not (tmp_path / "a").exists()
    write_rows(tmp_path / "a" / "b" / "j", 1)
    assert (tmp_path / "a" / "b" / "j").is_file()


def test_the_first_seconds_leave_nothing_and_are_kept_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with closing(Journal(tmp_path / "j", JOB, interval_s=5)) as journal:
        journal.append(row(1))
        journal.snapshot(lambda: pytest.fail("nobody asked for the arrays"))
        assert not (tmp_path / "j").exists()
        now += 6
        journal.append(row(2))
        assert names(Journal(tmp_path / "j", JOB).load()) == ["1.jpg", "2.jpg"]
        journal.append(row(3))  # from now on, at once
        assert names(Journal(tmp_path / "j", JOB).load()) == ["1.jpg", "2.jpg", "3.jpg"]


def test_journals_go_together_when_all_is_done_and_stay_when_it_is_not(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    output = tmp_path / "out.onnx"

    def work(*, fails: bool) -> None:
        with Journals(output) as journals:
            journals.of(JOB).append(row(1))
            journals.of(OTHER).snapshot(lambda: row(2))
            assert len(list(tmp_path.iterdir())) == 3  # with the lock
            if fails:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work(fails=True)
    assert len(list(tmp_path.iterdir())) == 2
    work(fails=False)
    assert not list(tmp_path.iterdir())


def test_journals_of_other_jobs_are_named_when_all_is_done(tmp_path: Path) -> None:
    output, notes = tmp_path / "out[1].onnx", Notes()
    write_rows(journal_path(output, OTHER), 1, job=OTHER)
    for stranger in ("out1.onnx", "out[1].onnx.json"):
        write_rows(journal_path(tmp_path / stranger, OTHER), 1, job=OTHER)
    with Journals(output, progress=notes) as journals:
        journals.of(JOB)
    kept = journal_path(output, OTHER)
    assert notes.said == [f"kept for jobs of other options that were interrupted: {kept}"]
    assert kept.exists()


def test_what_a_killed_run_left_beside_its_result_is_forgotten_and_another_jobs_step_is_not(tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    for job in (JOB, OTHER):
        write_rows(journal_path(output, job), 1, job=job)
    output.write_bytes(b"done")
    os.utime(output, ns=(10**9, 10**9))
    os.utime(journal_path(output, JOB), ns=(0, 0))
    forget(output, JOB, OTHER)
    assert sorted(path.name for path in tmp_path.iterdir()) == [journal_path(output, OTHER).name, "out.onnx"]


def test_no_output_keeps_nothing() -> None:
    with Journals(None) as journals:
        journal = journals.of(JOB)
        journal.append(row(1))
        journal.snapshot(lambda: pytest.fail("nobody asked"))
        assert journal.load() == ()


def test_a_memo_is_measured_once(tmp_path: Path) -> None:
    values = {"a": 0.1 + 0.2, "b": float("inf"), "c": -0.0}
    with closing(Journal(tmp_path / "j", JOB, interval_s=0)) as journal:
        for key, value in values.items():
            assert journal.memo(key, lambda value=value: value) == value  # type: ignore[misc]
            assert journal.memo(key, lambda: pytest.fail("measured twice")) == value
    with closing(Journal(tmp_path / "j", JOB)) as journal:
        assert {key: journal.memo(key, lambda: pytest.fail("measured twice")) for key in values} == values
    assert Journal(None, JOB).memo("a", lambda: 2.0) == 2.0


def test_an_unwritable_journal_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for keep in (lambda j: j.append(row(1)), lambda j: j.snapshot(lambda: row(1))):
        with pytest.raises(OutputError, match="cannot write the journal"):
            keep(Journal(tmp_path / "file" / "j", JOB, interval_s=0))


def test_a_full_disk_keeps_what_was_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"
    write_rows(path, 1)
    write, room = os.write, 40

    def full(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = write(descriptor, bytes(data)[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", full)
    for keep in (lambda j: j.append(row(2)), lambda j: j.snapshot(lambda: row(2))):
        room = 40
        with pytest.raises(OutputError, match="No space left"), closing(Journal(path, JOB, interval_s=0)) as journal:
            keep(journal)
        assert os.listdir(tmp_path) == ["j"]  # noqa: PTH208
        assert names(Journal(path, JOB).load()) == ["1.jpg"]


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "j"
    victim.write_text("precious")
    for name in ("j", "j.part"):
        (tmp_path / name).symlink_to(victim)
    write_rows(path, 1)
    assert victim.read_text() == "precious"
    assert names(Journal(path, JOB).load()) == ["1.jpg"]
    path.unlink()
    path.symlink_to(victim)
    Journal(path, JOB, interval_s=0).snapshot(lambda: row(1))
    assert victim.read_text() == "precious"


def test_twins_do_not_share_a_journal(tmp_path: Path) -> None:
    path, notes = tmp_path / "j", Notes()
    write_rows(path, 1)
    with closing(Journal(path, JOB, interval_s=0)) as first:
        first.load()
        first.append(row(2))
        with closing(Journal(path, JOB, interval_s=0, progress=notes)) as second:
            second.load()
            second.append(row(3))
            second.append(row(4))
            second.remove()
        first.append(row(5))
    assert notes.said[-1].startswith("another run of this job keeps the journal")
    assert names(Journal(path, JOB).load()) == ["1.jpg", "2.jpg", "5.jpg"]


def test_snapshots_of_twins_do_not_meet(tmp_path: Path) -> None:
    """Each writes to a file of its own; what the other is writing is not taken for a left-over."""
    path = tmp_path / "j"

    def slow() -> Record:
        Journal(path, JOB, interval_s=0).snapshot(lambda: row(1))
        return row(2)

    Journal(path, JOB, interval_s=0).snapshot(slow)
    assert names(Journal(path, JOB).load()) == ["2.jpg"]


def test_what_a_killed_run_was_writing_is_swept(tmp_path: Path) -> None:
    for left in ("j[1].ab12_xyz", "j1.ab12_xyz", "j[1].bak"):
        (tmp_path / left).write_text("half")
    write_rows(tmp_path / "j[1]", 1)
    assert sorted(os.listdir(tmp_path)) == ["j1.ab12_xyz", "j[1]", "j[1].bak"]  # noqa: PTH208  # others' stay


def test_big_rows_are_appended_and_read_in_linear_time(tmp_path: Path) -> None:
    """150 classes: a 150 × 150 confusion matrix for each of two models. Nothing of it is written twice."""
    counts = np.zeros((2, 22500), np.int64)
    counts[:, ::450] = np.arange(50) * 1000
    written = []
    with closing(Journal(tmp_path / "j", JOB, interval_s=0)) as journal:
        for index in range(200):
            journal.append(Record((str(index),), {"counts": counts}))
            written.append((tmp_path / "j").stat().st_size)
    steps = np.diff(written)
    assert steps.max() < 1.1 * steps.min() < 10_000
    records = Journal(tmp_path / "j", JOB).load()
    assert len(records) == 200
    assert all(np.array_equal(record.arrays["counts"], counts) for record in records)
