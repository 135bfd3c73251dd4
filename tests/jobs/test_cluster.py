"""A cluster's executor: the results of any split, said deaths, checked files, and nothing that is left."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
from clusters import needs_ray
from notes import Notes
from squares import Squares, Summed

from fcn_onnx.errors import ImageError, MissingDependencyError, OutputError, UsageError, WorkerError
from fcn_onnx.jobs.cluster import OnRay
from fcn_onnx.jobs.engines import Running, executor_of
from fcn_onnx.jobs.shards import Failed, Finished, Work, run_shard

ITEMS = {str(i): i for i in range(12)}
SQUARES = {(str(i),): i * i for i in range(12)}


@needs_ray
def test_what_adds_up_crosses_once_a_shard(address: str) -> None:
    together = list(OnRay(address, shard=5).map(Summed(), ITEMS))
    assert sorted(len(names) for names, _ in together) == [2, 5, 5]
    assert sum(total for _, total in together) == sum(SQUARES.values())
    assert list(OnRay(address).map(Squares(), {})) == []


@needs_ray
def test_a_death_is_said_and_its_shard_is_done_again_and_counted_once(address: str, tmp_path: Path) -> None:
    notes = Notes()
    found = list(OnRay(address, shard=4, progress=notes).map(Squares(tmp_path, dies=1), ITEMS))
    assert len(found) == 12
    assert dict(found) == SQUARES
    (said,) = (text for text in notes.said if "died" in text)
    assert re.fullmatch(
        r"the worker process \d+ on \S+ died \(crashed or killed\) at 4 … 7 \(4 images\): it is done again", said
    )


@needs_ray
def test_what_kills_every_time_is_named(address: str, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"died \(crashed or killed\) at 7, as did the 2 that tried it before"):
        list(OnRay(address, shard=4).map(Squares(tmp_path, dies=9), ITEMS))


@needs_ray
def test_errors_of_a_task_and_of_nodes_that_differ(address: str, tmp_path: Path) -> None:
    notes = Notes()
    found = dict(OnRay(address, shard=4, progress=notes).map(Squares(tmp_path, unread_at=3), ITEMS))
    assert found == SQUARES
    assert any("at 0 … 3 (4 images): cannot read: it is done again" in text for text in notes.said)
    with pytest.raises(ImageError, match="cannot read 5") as caught:
        list(OnRay(address).map(Squares(fails_at=5), ITEMS))
    assert caught.value.fix == "nothing"
    with pytest.raises(UsageError, match="no node of the cluster has the 64 cores of a task"):
        list(OnRay(address, cpus=64).map(Squares(), ITEMS))


def shard(work: Work) -> list[Any]:
    return list(run_shard("key", lambda: work, [], last=False))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"files": {"model": "sha256:0"}}, "model is another file than the driver's for process"),
        ({"files": {"none": "sha256:0"}}, "none cannot be read for process"),
        ({"versions": {"numpy": "0.1"}}, r"has numpy \d\S+, and the driver 0\.1"),
        ({"folder": "/nowhere"}, "cannot see the folder /nowhere"),
    ],
)
def test_a_node_that_sees_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model").write_text("weights")
    work = {"task": b"", "folder": str(tmp_path), "files": {}, "about": "", "versions": {}}
    _, failed = shard(Work(**(work | changed)))
    assert isinstance(failed, Failed)
    assert not failed.passing
    assert isinstance(failed.error, WorkerError)
    assert re.search(said, failed.error.what)


def test_machines_that_differ_are_noted() -> None:
    notes = Notes()
    executor = OnRay.__new__(OnRay)
    executor.about, executor.address, executor.progress = "fcn_onnx.jobs.text:visible", None, notes
    executor._unlike({"A: avx2", "B: avx512f"})
    assert executor.remarks == tuple(notes.said)
    assert notes.said == [
        "the machines differ (A: avx2; B: avx512f), and so may the last bits of what they compute in floats"
    ]
    assert isinstance(Finished(b"", "A"), Finished)


@pytest.mark.parametrize("said", ["127.0.0.1", "ray://127.0.0.1:10001", ":6379", "127.0.0.1:port", "http://x:1"])
@needs_ray
def test_what_is_no_address_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match="--address is") as caught:
        executor_of(Running(engine="ray", address=said), 0, Notes())
    assert "HOST:PORT" in caught.value.fix


@needs_ray
def test_where_nobody_answers_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"no Ray cluster answers at 127.0.0.1:{port}: Connection refused"):
            OnRay(f"127.0.0.1:{port}")
        taken.listen()  # but says nothing
        monkeypatch.setattr("fcn_onnx.jobs.cluster.CONNECT_S", 2.0)
        with pytest.raises(UsageError, match=r"no cluster answers at .* within 2 s"):
            list(OnRay(f"127.0.0.1:{port}").map(Squares(), ITEMS))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcn_onnx.jobs.cluster.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="not installed") as caught:
        executor_of(Running(engine="ray"), 0, Notes())
    assert caught.value.fix == "install it with: pip install 'fcn-onnx[ray]'"
    assert caught.value.exit_code == 2


def test_an_address_is_of_ray_alone() -> None:
    with pytest.raises(UsageError, match="--address is of a Ray cluster"):
        Running(address="127.0.0.1:6379")


@needs_ray
def test_a_temporary_folder_that_is_too_deep_for_sockets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(OutputError, match="too long for them") as caught:
        list(OnRay().map(Squares(), ITEMS))
    assert "TMPDIR" in caught.value.fix
    assert not list(deep.iterdir())
