"""MindSpore's `.ckpt`: records by hand, and by protobuf's own writer."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from checkpoint_files import as_read, field, mindspore, raw, record, state
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.checkpoints.reading import read_checkpoint


def read(folder: Path, content: bytes):  # type: ignore[no-untyped-def]
    (folder / "x.ckpt").write_bytes(content)
    return read_checkpoint(folder / "x.ckpt")


@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("part_bytes", [1 << 20, 5])
def test_a_file_is_read_back(tmp_path: Path, crc: bool, part_bytes: int) -> None:
    found = read(tmp_path, mindspore(state(), crc=crc, part_bytes=part_bytes))
    assert (found.format, found.notes) == ("MindSpore", ())
    assert found.state.keys() == state().keys()
    for name, value in as_read(state()).items():
        assert found.state[name].dtype == value.dtype
        assert torch.equal(found.state[name], value)


def schema() -> type:
    """`Checkpoint` of mindspore's `checkpoint.proto`."""
    file = descriptor_pb2.FileDescriptorProto(name="checkpoint.proto", package="toy", syntax="proto2")
    kinds = {"str": 9, "int": 3, "bytes": 12}
    messages = {
        "TensorProto": [("dims", 1, "int", 3), ("tensor_type", 2, "str", 1), ("tensor_content", 3, "bytes", 1)],
        "Value": [("tag", 1, "str", 1), ("tensor", 2, ".toy.TensorProto", 1)],
        "Checkpoint": [("value", 1, ".toy.Value", 3)],
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for label, number, kind, often in fields:
            added = message.field.add(name=label, number=number, label=often, type=kinds.get(kind, 11))
            if kind not in kinds:
                added.type_name = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("toy.Checkpoint"))


def test_what_protobuf_writes_is_read_and_what_is_written_here_is_what_it_reads(tmp_path: Path) -> None:
    message = schema()()
    values = {"conv1.0.weight": torch.randn(3, 300), "bn.gamma": torch.ones(2)}
    for tag, tensor in values.items():
        added = message.value.add(tag=tag)
        added.tensor.dims.extend(tensor.shape)
        added.tensor.tensor_type, added.tensor.tensor_content = "Float32", raw(tensor)
    found = read(tmp_path, message.SerializeToString())
    assert all(torch.equal(found.state[tag], tensor) for tag, tensor in values.items())
    assert type(message).FromString(mindspore(values)) == message


def test_packed_dimensions_and_a_scalar(tmp_path: Path) -> None:
    content = record("a", [2, 1], "Float32", struct.pack("<ff", 1, 2), packed=True) + record(
        "s", [0], "Int32", b"\5\0\0\0"
    )
    found = read(tmp_path, content).state
    assert (found["a"].tolist(), found["s"].shape, int(found["s"])) == ([[1], [2]], (), 5)


def test_what_is_of_the_optimizer_or_no_tensor_is_left_out_and_said(tmp_path: Path) -> None:
    one = torch.ones(2)
    tensors = {"w": one, "moments.w": one, "moments.of.inertia": one, "learning_rate": torch.tensor(0.1)}
    content = mindspore(tensors) + record("note", [0], "str", b"hello") + field(1, field(1, b"table") + field(3, b"??"))
    found = read(tmp_path, content)
    assert list(found.state) == ["w", "moments.of.inertia"]
    assert found.notes == (
        "not read, as they are no tensors of numbers: note, table",
        "left out, as they are of the optimizer: moments.w, learning_rate",
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (mindspore({"a": torch.ones(2)}, crc=True)[:-1] + b"\0", "checksum"),
        (mindspore({"a": torch.ones(2)})[:-1], "goes on after"),
        (record("a", [2], "Float32", bytes(7)), "needs 8 bytes"),
        (
            record("a", [2], "Float32", bytes(8)) + record("b", [0], "Int8", b"1") + record("a", [2], "Float32", b""),
            "twice",
        ),
        (record("a", [1 << 62, 1 << 62], "Float32", b""), "has the shape"),
        (record("a", [(1 << 64) - 1], "Float32", b""), "has the shape"),
        (record("a", [2], "Complex64", bytes(16)), "'complex64', which is not read"),
        (record("", [2], "Float32", bytes(8)), "has no name"),
        (record("a\x80".encode("latin1").decode("latin1"), [2], "Int4", bytes(1)), "which is not read"),
        (mindspore({"a": torch.ones(2)}) + b"\x12\x00", "unknown field 2"),
        (field(1, field(1, b"a") + b"\x0a" + b"\xff" * 12), "too long"),
        (field(1, field(1, b"a" * 5000)), "unknown field 1"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(WeightsError, match="no whole MindSpore checkpoint") as caught:
        read(tmp_path, content)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("magic", "cipher"), [(0x7F3A5ED8, "AES-GCM"), (0x7F3A5ED9, "AES-CBC"), (0x7F3A5EDA, "SM4-CBC")]
)
def test_an_encrypted_file_is_named(tmp_path: Path, magic: int, cipher: str) -> None:
    with pytest.raises(WeightsError, match=f"is encrypted \\({cipher}\\)"):
        read(tmp_path, struct.pack("<I", magic) + bytes(60))
