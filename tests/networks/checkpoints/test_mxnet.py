"""MXNet's `.params` of all versions, and what none of them is."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import LEGACY, V1, V2, V3, as_read, mxnet, mxnet_array, state

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.checkpoints.reading import read_checkpoint


def read(folder: Path, content: bytes):  # type: ignore[no-untyped-def]
    (folder / "x.params").write_bytes(content)
    return read_checkpoint(folder / "x.params")


@pytest.mark.parametrize("version", [V1, V2, V3, LEGACY])
@pytest.mark.parametrize("device", [1, 2])
def test_a_file_is_read_back(tmp_path: Path, version: int, device: int) -> None:
    tensors = {k: v for k, v in state().items() if v.dim() or version == V3}
    found = read(tmp_path, mxnet(tensors, version, device=device))
    assert (found.format, found.notes) == ("MXNet", ())
    assert found.state.keys() == tensors.keys()
    for name, value in as_read(tensors).items():
        assert found.state[name].dtype == value.dtype
        assert torch.equal(found.state[name], value)


def test_six_lines_by_hand(tmp_path: Path) -> None:
    content = struct.pack("<QQQ", 0x112, 0, 1)
    content += struct.pack("<IiiqqiiI", V2, 0, 2, 1, 3, 2, 0, 0)  # dense, 2 dimensions, on GPU 0, float32
    content += struct.pack("<fff", 1, -2, 0.5) + struct.pack("<QQ", 1, 15) + b"arg:fcn0_weight"
    found = read(tmp_path, content).state
    assert {k: v.tolist() for k, v in found.items()} == {"arg:fcn0_weight": [[1, -2, 0.5]]}


def test_arrays_without_content_are_said(tmp_path: Path) -> None:
    empty = struct.pack("<Iii", V2, -1, 0)
    content = struct.pack("<QQQ", 0x112, 0, 2) + mxnet_array(torch.ones(2)) + empty
    content += struct.pack("<Q", 2) + struct.pack("<Q", 1) + b"a" + struct.pack("<Q", 1) + b"b"
    found = read(tmp_path, content)
    assert (list(found.state), found.notes) == (["a"], ("arrays without content: b",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b + b"\0", "goes on for 1 bytes after its end"),
        (lambda b: b[:-1], "says 5 more, and it has 137 in all"),
        (lambda b: b.replace(struct.pack("<Ii", V2, 0), struct.pack("<Ii", V2, 1)), "is sparse (storage type 1)"),
        (lambda b: b.replace(struct.pack("<iq", 1, 2), struct.pack("<iq", 1, 1 << 40)), "more, and it has"),
        (lambda b: b.replace(struct.pack("<iq", 1, 2), struct.pack("<iq", 1, -2)), "has the shape [-2]"),
        (lambda b: b.replace(struct.pack("<iq", 1, 2), struct.pack("<iq", 99, 2)), "99 dimensions"),
        (lambda b: b.replace(struct.pack("<qiii", 2, 1, 0, 0), struct.pack("<qiii", 2, 1, 0, 13)), "unknown type 13"),
        (lambda b: b.replace(b"other", b"first"), "two arrays are called 'first'"),
        (lambda b: b[:16] + struct.pack("<Q", 1 << 50) + b[24:], "arrays follow"),
        (lambda b: b[: b.index(b"first") - 16] + bytes(8), "2 arrays and 0 names"),
        (lambda b: b.replace(b"first", b"fi\xffst"), "can't decode"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, change, words: str) -> None:  # type: ignore[no-untyped-def]
    whole = mxnet({"first": torch.ones(2), "other": torch.zeros(2)})
    broken = change(whole)
    assert broken != whole
    with pytest.raises(WeightsError, match="no whole MXNet checkpoint") as caught:
        read(tmp_path, broken)
    assert words in str(caught.value)


def test_what_mxnet_2_writes_with_that_suffix_is_numpys(tmp_path: Path) -> None:
    with (tmp_path / "x.params").open("wb") as stream:
        np.savez(stream, **{"a.weight": np.ones((2, 3), ">f4"), "b": np.arange(3, dtype=np.int8)})
    found = read_checkpoint(tmp_path / "x.params")
    assert found.format == "numpy"
    assert torch.equal(found.state["a.weight"], torch.ones(2, 3))
    assert found.state["b"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["objects", "bomb", "text"])
def test_an_npz_of_objects_or_one_that_is_packed_tight_is_not_read(tmp_path: Path, kind: str) -> None:
    arrays = {
        "objects": np.array([{}, Path("a")], object),
        "bomb": np.zeros(1_000_000),
        "text": np.array(["a"]),
    }
    with (tmp_path / "x.params").open("wb") as stream:
        np.savez_compressed(stream, a=arrays[kind])
    with pytest.raises(WeightsError, match="no whole numpy checkpoint"):
        read_checkpoint(tmp_path / "x.params")
