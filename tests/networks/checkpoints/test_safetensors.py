"""safetensors: the file by hand, and by the library."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import as_read, state
from safetensors.torch import save_file

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.checkpoints.reading import read_checkpoint


def by_hand(header: Any, data: bytes, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def read(folder: Path, content: bytes):  # type: ignore[no-untyped-def]
    (folder / "x").write_bytes(content)
    return read_checkpoint(folder / "x")


def test_what_the_library_writes_is_read_back(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "x.safetensors", metadata={"format": "pt"})
    found = read_checkpoint(tmp_path / "x.safetensors")
    assert (found.format, found.state.keys()) == ("safetensors", state().keys())
    for name, value in as_read(state()).items():
        assert found.state[name].dtype == value.dtype
        assert torch.equal(found.state[name], value)


def test_a_file_by_hand(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}
    assert read(tmp_path, by_hand(header, struct.pack("<ff", 1, -2))).state["a"].tolist() == [[1], [-2]]


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        ({"a": ONE}, bytes(7), None),
        ({"a": ONE | {"shape": [1 << 60]}}, bytes(8), None),
        ({"a": ONE | {"shape": [-2]}}, bytes(8), None),
        ({"a": ONE, "b": ONE}, bytes(8), None),
        ({"a": ONE | {"data_offsets": [0, 1 << 60]}}, bytes(8), None),
        ({"a": ONE | {"dtype": "C64", "shape": [1]}}, bytes(8), None),
        ({"a": ONE | {"dtype": "F8_E4M3", "shape": [8]}}, bytes(8), None),
        ({"a": 3}, bytes(8), None),
        ({"a": ONE}, bytes(8), 90_000_000),
        ({"a": ONE}, bytes(8), 10),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, header: Any, data: bytes, length: int | None) -> None:
    with pytest.raises(WeightsError, match="no whole safetensors checkpoint"):
        read(tmp_path, by_hand(header, data, length))


def test_a_file_without_tensors(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no tensors"):
        read(tmp_path, by_hand({"__metadata__": {"format": "pt"}}, b""))
