"""torch's files of both kinds: what trainers put in them, what must not run, and what is not believed."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import as_read, state

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.checkpoints.checkpoint import Checkpoint
from fcn_onnx.networks.checkpoints.reading import read_checkpoint

KINDS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def saved(value: Any, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def read(folder: Path, content: bytes) -> Checkpoint:
    (folder / "w.pth").write_bytes(content)
    return read_checkpoint(folder / "w.pth")


def refused(folder: Path, content: bytes) -> str:
    with pytest.raises(WeightsError) as caught:
        read(folder, content)
    return str(caught.value)


def assert_same(found: Checkpoint, expected: dict[str, torch.Tensor]) -> None:
    assert found.state.keys() == expected.keys()
    for name, value in as_read(expected).items():
        assert found.state[name].dtype == value.dtype
        assert torch.equal(found.state[name], value), name


@KINDS
def test_all_types_and_views_are_read_back(tmp_path: Path, zipped: bool) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    views = {"transposed": whole.t(), "part": whole[1:3, ::2], "expanded": torch.ones(3, 1).expand(3, 4)}
    tensors = state() | views | {"twin": whole, "none": torch.empty(0, 3), "parameter": torch.nn.Parameter(whole)}
    found = read(tmp_path, saved(tensors, zipped))
    assert_same(found, {k: v.detach() for k, v in tensors.items()})
    assert (found.format, found.notes, found.classes) == ("torch", (), ())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@KINDS
def test_every_protocol_of_pickle(tmp_path: Path, zipped: bool, protocol: int) -> None:
    stream = io.BytesIO()
    torch.save(state(), stream, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert_same(read(tmp_path, stream.getvalue()), state())


@KINDS
def test_a_module_with_buffers_is_what_torch_itself_loads(tmp_path: Path, zipped: bool) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).half()
    content = saved(network.state_dict(), zipped)  # an OrderedDict with attributes
    assert_same(read(tmp_path, content), torch.load(io.BytesIO(content), weights_only=True))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"model": s},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {"model_state": {f"module._orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {"model": {"state_dict": s}},
    ],
)
@KINDS
def test_wrappers_and_prefixes_go(tmp_path: Path, wrap: Callable[[Any], Any], zipped: bool) -> None:
    assert_same(read(tmp_path, saved(wrap(state()), zipped)), state())


@KINDS
def test_what_trainers_keep_beside_the_weights_is_said_and_not_read(tmp_path: Path, zipped: bool) -> None:
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    value = {
        "epoch": 3,
        "state_dict": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "quantize": False,
    }
    found = read(tmp_path, saved(value, zipped))
    assert_same(found, dict(network.state_dict()))
    assert found.notes == ("not read, beside the weights: epoch, optimizer, scheduler, quantize",)


def mmseg(hub: Any, **meta: Any) -> dict[str, Any]:
    """As mmcv and mmengine write it, with numpy in what they remember of the training."""
    weights = OrderedDict(state())
    weights._metadata = OrderedDict(version=1)  # type: ignore[attr-defined]
    return {
        "meta": {"config": "model = dict()\n" * 50, "seed": 0, "hook_msgs": {"best_score": np.float64(0.7)}, **meta},
        "state_dict": weights,
        "message_hub": {"history": hub},
    }


class History:
    """Stands for mmengine's HistoryBuffer: an object of a class that is not here, with arrays."""

    def __init__(self) -> None:
        self.values = np.arange(5.0)


@pytest.mark.parametrize(
    "meta", [{"CLASSES": ("wall", "sky"), "PALETTE": [[0, 0, 0]] * 2}, {"dataset_meta": {"classes": ["wall", "sky"]}}]
)
@KINDS
def test_mmsegmentations_classes_are_found_and_its_objects_are_not_made(
    tmp_path: Path, zipped: bool, meta: dict[str, Any]
) -> None:
    content = saved(mmseg(History(), **meta), zipped)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(io.BytesIO(content), weights_only=True)
    found = read(tmp_path, content)
    assert_same(found, state())
    assert found.classes == ("wall", "sky")
    assert found.notes[0] == "not read, beside the weights: meta, message_hub"
    assert "not rebuilt, as it is no tensor: " in found.notes[1]
    assert f"{__name__}.History" in found.notes[1]


class Runs:
    """An object whose pickle calls a function with arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@KINDS
@pytest.mark.parametrize("where", ["alone", "beside", "wrapped", "among"])
def test_nothing_runs(tmp_path: Path, zipped: bool, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    for call in (Runs(os.system, f"touch {ran}"), Runs(Path.touch, ran), Runs(eval, f"open({str(ran)!r}, 'w')")):
        value: Any = {
            "alone": call,
            "beside": {"model": state(), "meta": call},
            "wrapped": {"model": call},
            "among": state() | {"extra": call},
        }[where]
        if where == "beside":
            found = read(tmp_path, saved(value, zipped))
            assert_same(found, state())
            assert any(name in found.notes[1] for name in ("posix.system", "getattr", "eval"))
        else:
            assert "save" in refused(tmp_path, saved(value, zipped))
        assert not ran.exists()


def test_functions_and_classes_cannot_be_changed(tmp_path: Path) -> None:
    for opcodes in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"cnumpy\nndarray\n"):
        for change in (b"}X\x01\x00\x00\x00aK\x01sb", b"}}X\x01\x00\x00\x00aK\x01s\x86b"):
            refused(tmp_path, in_zip(b"\x80\x02" + opcodes + change + b"."))
    assert_same(read(tmp_path, saved(state())), state())


def in_zip(data: bytes, **members: bytes) -> bytes:
    """An archive of torch's with this pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in {"data.pkl": data, "byteorder": b"little", "version": b"3\n", **members}.items():
            archive.writestr(f"w/{name}", content)
    return stream.getvalue()


def pickled(size: bytes, *, count: bytes = b"K\x04", stride: bytes = b"K\x01\x85", offset: bytes = b"K\x00") -> bytes:
    """`{"a": a tensor}`, its storage `0` of `count` float32."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + count + b"tQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride + b"\x89NtR"
    return b"\x80\x02}X\x01\x00\x00\x00a" + made + b"s."


HUGE = b"J\x00\x00\x00\x10"
FOUR = struct.pack("<4f", 1, 2, 3, 4)


def test_a_pickle_by_hand(tmp_path: Path) -> None:
    assert read(tmp_path, in_zip(pickled(b"K\x04\x85"), **{"data/0": FOUR})).state["a"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pickled(HUGE + b"\x85", count=HUGE), "much larger than the file"),
        (pickled(b"K\x04\x85", count=HUGE), "needs 268,435,456 values, and has 16 bytes"),
        (pickled(HUGE + b"\x85"), "much larger than the file"),
        (pickled(HUGE + b"\x85", stride=b"K\x00\x85"), "much larger than the file"),
        (pickled(b"K\x05\x85"), "reaches to value 4 of a storage of 4"),
        (pickled(b"K\x02\x85", stride=b"K\x04\x85"), "reaches to value 4 of a storage of 4"),
        (pickled(b"K\x04\x85", offset=b"K\x01"), "reaches to value 4 of a storage of 4"),
        (pickled(b"K\x00\x85", offset=b"K\x05"), "reaches to value 5 of a storage of 4"),
        (pickled(b"J\xff\xff\xff\xff\x85"), "the number -1 in its shape"),
        (pickled(b"K\x04\x85", offset=b"J\xff\xff\xff\xff"), "the number -1 in its shape"),
        (pickled(b"K\x02K\x02\x86"), "shorter"),
        (pickled(b"N"), "has the shape None"),
        (pickled(b"X\x01\x00\x00\x00a\x85"), "the number 'a' in its shape"),
        (pickled(b"K\x04\x85").replace(b"FloatStorage", b"ComplexFloatStorage"), "torch.ComplexFloatStorage"),
        (pickled(b"K\x04\x85").replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x001"), "has no storage '1'"),
        (b"\x80\x02}r\xff\xff\xff\xff.", "numbers an object that it has not made"),
        (b"\x80\x02" + b"}0" * 600_000 + b"].", "more than 1,000,000 operations"),
        (b"\x80\x04\x8e\x00\x00\x00\x00\x00\x01\x00\x00.", "no whole torch checkpoint"),
        (b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.", "holds no state dict"),
        (b"\x80\x02", "pickle exhausted"),
        (b"", "pickle exhausted"),
        (b"\x80\x02R.", "its pickle cannot be read"),
    ],
)
def test_what_an_archive_declares_is_not_believed(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in refused(tmp_path, in_zip(data, **{"data/0": FOUR}))


def test_archives_that_torch_does_not_write(tmp_path: Path) -> None:
    def again(change: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(saved(state()))) as whole, zipfile.ZipFile(stream, "w") as archive:
            for member in whole.infolist():
                change(archive, member, whole.read(member))
        return stream.getvalue()

    def packed(archive: zipfile.ZipFile, member: zipfile.ZipInfo, content: bytes) -> None:
        archive.writestr(member.filename, content, zipfile.ZIP_DEFLATED)

    def big_endian(archive: zipfile.ZipFile, member: zipfile.ZipInfo, content: bytes) -> None:
        archive.writestr(member.filename, b"big" if member.filename.endswith("byteorder") else content)

    def twice(archive: zipfile.ZipFile, member: zipfile.ZipInfo, content: bytes) -> None:
        archive.writestr(member.filename, content)
        if member.filename.endswith("data.pkl"):
            archive.writestr(member.filename, content)

    assert "is packed or encrypted" in refused(tmp_path, again(packed))
    assert "little-endian" in refused(tmp_path, again(big_endian))
    with pytest.warns(UserWarning, match="Duplicate name"):
        doubled = again(twice)
    assert "one name" in refused(tmp_path, doubled)
    whole = saved({"a": torch.arange(100.0)})
    at = whole.index(struct.pack("<f", 50))
    assert "CRC" in refused(tmp_path, whole[:at] + b"\x01" + whole[at + 1 :])


def test_a_torchscript_archive_is_named(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="is a TorchScript archive, a program"):
        read_checkpoint(tmp_path / "w.pth")


@KINDS
def test_a_whole_network_is_named_by_its_class(tmp_path: Path, zipped: bool) -> None:
    for value in (torch.nn.Linear(2, 2), {"model": torch.nn.Linear(2, 2)}):
        assert "a whole object (torch.nn.modules.linear.Linear)" in refused(tmp_path, saved(value, zipped))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([torch.zeros(1)], "found list"),
        ({"epoch": 3}, "a mapping with the keys 'epoch'"),
        ({}, "a mapping with the keys none"),
        ({"a": torch.ones(1), "b": 3}, "'b' is 3, not a tensor"),
        ({"a": torch.ones(1), 3: torch.ones(1)}, "a tensor is called 3"),
        ({"a": torch.ones(1), "module.a": torch.zeros(1)}, "holds 'a' twice"),
        ({"a": torch.ones(2).to_sparse()}, "torch._utils._rebuild_sparse_tensor, not a tensor"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "torch.ComplexFloatStorage"),
    ],
)
@KINDS
def test_what_is_no_state_dict(tmp_path: Path, zipped: bool, value: Any, words: str) -> None:
    assert words in refused(tmp_path, saved(value, zipped))


def test_other_pickles_and_other_files(tmp_path: Path) -> None:
    assert "is a pickle, and not of torch" in refused(tmp_path, pickle.dumps({"a": 1}))
    for content in (b"", b"\0", b"GIF89a", b"{}", b"\x80", b"PK\x03\x04"):
        assert "is not a checkpoint" in refused(tmp_path, content) or "no whole" in refused(tmp_path, content)
    with pytest.raises(WeightsError, match="no such weights"):
        read_checkpoint(tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="a folder, not a file"):
        read_checkpoint(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="a pipe, not a file"):
        read_checkpoint(tmp_path / "pipe")


def test_a_legacy_file_that_declares_a_gigabyte_has_none_allocated(tmp_path: Path) -> None:
    """torch itself allocates it before it finds that 16 bytes are there."""
    whole = saved({"a": torch.arange(4.0)}, zipped=False)
    evil = whole.replace(b"K\x04N", HUGE + b"N").replace(b"K\x04\x85", HUGE + b"\x85")
    assert len(evil) == len(whole) + 6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "is not as described" in refused(tmp_path, evil)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (100 << 10)
