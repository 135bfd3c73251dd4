"""Artifacts are whole or absent, and digests are SHA-256."""

from __future__ import annotations

import errno
import hashlib
import os
from importlib.metadata import version
from pathlib import Path

import pytest

from fcn_onnx.errors import OutputError
from fcn_onnx.jobs import artifact


def test_digests_are_sha256(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    expected = "sha256:" + hashlib.sha256(data).hexdigest()
    assert artifact.digest_file(tmp_path / "file") == artifact.digest_bytes(data) == expected


def test_json_digest_ignores_the_order_of_keys_only() -> None:
    assert artifact.digest_json({"a": 1, "b": [1, 2]}) == artifact.digest_json({"b": [1, 2], "a": 1})
    assert artifact.digest_json({"a": [1, 2]}) != artifact.digest_json({"a": [2, 1]})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), artifact.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_finished_write_replaces_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_text("old")
    with artifact.atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_filled_at_the_end_and_keeps_other_files(tmp_path: Path) -> None:
    target = tmp_path / "report"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    with pytest.raises(ZeroDivisionError), artifact.atomic_folder(target) as temporary:
        (temporary / "a.json").write_text("half")
        raise ZeroDivisionError
    assert [p.name for p in target.iterdir()] == ["notes.txt"]
    with artifact.atomic_folder(target) as temporary:
        (temporary / "a.json").write_text("whole")
    assert sorted(p.name for p in target.iterdir()) == ["a.json", "notes.txt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report"]


@pytest.mark.parametrize("name", ["missing/model.onnx", "file/model.onnx", "."])
def test_an_unwritable_place_is_refused_before_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        artifact.require_writable(tmp_path / name)
    assert caught.value.exit_code == 2


def test_nan_is_not_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        artifact.dump_json({"miou": float("nan")})


def test_a_job_is_its_inputs_the_form_of_our_files_and_the_packages_that_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = artifact.job_digest("export", "torch", opset=12)
    assert artifact.job_digest("export", "torch", opset=12) == job
    assert artifact.job_digest("export", "torch", opset=13) != job
    assert artifact.job_digest("quantize", "torch", opset=12) != job

    def with_version(package: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(artifact, "version", lambda name: "0.0" if name == package else version(name))
            return artifact.job_digest("export", "torch", opset=12)

    assert with_version("torch") != job
    assert with_version("onnx") != job
    assert with_version("pillow") == job
    monkeypatch.setattr(artifact, "FORM_VERSION", artifact.FORM_VERSION + 1)
    assert artifact.job_digest("export", "torch", opset=12) != job


def test_outputs_are_claimed_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    good, bad = tmp_path / "a" / "b" / "c.json", tmp_path / "file" / "x"
    with pytest.raises(OutputError, match="is a file"):
        artifact.claim_outputs({"--output": good, "--json": bad})
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    artifact.claim_outputs({"--output": good, "--json": None}, {"the model": tmp_path / "file", "a list": None})
    assert good.parent.is_dir()
    assert not list(good.parent.iterdir())


def test_a_device_is_no_output() -> None:
    with pytest.raises(OutputError, match="device"):
        artifact.claim_outputs({"--json": Path("/dev/null")})


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_bytes_are_on_the_disk_before_their_name_and_the_name_is_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    done: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        done.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        done.append(("rename", self.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    if kind == "file":
        with artifact.atomic_path(tmp_path / "out") as temporary:
            temporary.write_text("whole")
        name = temporary.name
        assert done == [("fsync", name), ("rename", name), ("fsync", tmp_path.name)]
    else:
        with artifact.atomic_folder(tmp_path / "out") as temporary:
            for name in "ab":
                (temporary / name).write_text("whole")
        assert done == [("fsync", "a"), ("fsync", "b"), ("rename", "a"), ("rename", "b"), ("fsync", "out")]


def test_a_write_that_is_found_to_have_failed_at_the_close_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network's disk, by its quota."""
    close = os.close

    def closed(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch, pytest.raises(OutputError, match=r"cannot write .*quota"):
        patch.setattr(os, "close", closed)
        artifact.require_writable(tmp_path / "out.json")
    assert not list(tmp_path.iterdir())
