"""Files of every format that are cut, or have other bits: a WeightsError, or tensors of the same names and shapes."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_files import LEGACY, as_read, mindspore, mxnet, state
from safetensors.torch import save

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.checkpoints.reading import read_checkpoint


def torch_file(zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save({"model": state(), "epoch": 3}, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


WRITERS: dict[str, Callable[[], bytes]] = {
    "torch zip": lambda: torch_file(True),
    "torch legacy": lambda: torch_file(False),
    "mxnet": lambda: mxnet({k: v for k, v in state().items() if v.dim()}),
    "mxnet legacy": lambda: mxnet({k: v for k, v in state().items() if v.dim()}, LEGACY),
    "mindspore": lambda: mindspore(state(), part_bytes=40),
    "mindspore with a checksum": lambda: mindspore(state(), crc=True),
    "safetensors": lambda: save(state()),
}
CHECKED = {"torch zip", "mindspore with a checksum"}
"""Whose format says whether the values are those that were written."""


@pytest.fixture(params=WRITERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def outcome(path: Path, content: bytes) -> dict[str, torch.Tensor] | None:
    """What is read; None where it is refused."""
    path.write_bytes(content)
    try:
        return read_checkpoint(path).state
    except WeightsError:
        return None


def test_a_file_that_is_cut_anywhere(tmp_path: Path, kind: str) -> None:
    whole = WRITERS[kind]()
    for length in range(0, len(whole), 7):
        found = outcome(tmp_path / "w", whole[:length])
        # a MindSpore file that ends behind a tensor, or before its checksum, is a whole one
        assert found is None or ("mindspore" in kind and found.keys() <= state().keys()), length
    assert outcome(tmp_path / "w", whole) is not None


def test_a_file_with_another_bit(tmp_path: Path, kind: str) -> None:
    whole = WRITERS[kind]()
    expected = as_read(state())
    choose = random.Random(kind)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[choose.randrange(len(whole))] ^= 1 << choose.randrange(8)
        found = outcome(tmp_path / "w", bytes(damaged))
        if found is not None and kind in CHECKED and found.keys() == expected.keys():
            assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_file_with_other_lengths(tmp_path: Path, kind: str) -> None:
    """Bytes as huge numbers: whatever was a length there is not believed."""
    whole = WRITERS[kind]()
    choose = random.Random(kind)
    for _ in range(300):
        at, width = choose.randrange(len(whole)), choose.choice((1, 2, 4, 8))
        value = choose.choice((b"\xff", b"\x7f", b"\x80", b"\x00")) * width
        outcome(tmp_path / "w", whole[:at] + value + whole[at + width :])


def test_a_file_with_parts_of_itself_elsewhere(tmp_path: Path, kind: str) -> None:
    whole = WRITERS[kind]()
    choose = random.Random(kind)
    for _ in range(150):
        a, b, c = sorted(choose.randrange(len(whole)) for _ in range(3))
        for content in (whole[:a] + whole[b:], whole[:b] + whole[a:], whole[:a] + whole[b:c] + whole[a:b] + whole[c:]):
            outcome(tmp_path / "w", content)
