"""MindSpore's `.ckpt`: protobuf records without a header, walked one by one.

    Checkpoint { repeated Value value = 1 }
    Value { string tag = 1; oneof { TensorProto tensor = 2; MapTensorProto maptensor = 3 } }
    TensorProto { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3 }

A protobuf message ends at 2 GiB and such a file need not, so no protobuf library is used. (`checkpoint.proto` and
`train/serialization.py` of mindspore; a tensor above 512 MiB is written as several records of one tag.)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fcn_onnx.errors import WeightsError
from fcn_onnx.jobs.typed import shown
from fcn_onnx.networks.checkpoints.checkpoint import Checkpoint, listed, to_tensor
from fcn_onnx.networks.checkpoints.source import Source

if TYPE_CHECKING:
    import torch

ENCRYPTED = {0x7F3A5ED8: "AES-GCM", 0x7F3A5ED9: "AES-CBC", 0x7F3A5EDA: "SM4-CBC"}
"""By the first four bytes."""

CRC_MARK, CRC_BYTES = b"crc_num", 10
"""At the end of a file with a checksum: the mark, and CRC-32 of all before as a big-endian number of that length."""

CHUNK_BYTES = 1 << 20
VARINT, BYTES = 0, 2
"""Wire types of protobuf."""

TAG, TENSOR, MAP_TENSOR = 1, 2, 3
DIMS, TYPE, CONTENT = 1, 2, 3
MOST_NAME_BYTES = 4096

STRING = "str"
MOMENTS = ("moments.", "moment1.", "moment2.", "accum.", "stat.", "linear.", "adam_m.", "adam_v.")
"""What optimizers put before a parameter's name for a twin of it."""

SCALARS = frozenset(
    {
        *("learning_rate", "momentum", "weight_decay", "global_step", "epoch_num", "step_num", "current_iterator_step"),
        *("last_overflow_iterator_step", "scale_sense", "loss_scale", "beta1_power", "beta2_power"),
    }
)
"""Values of training, of one element."""


@dataclass
class _Record:
    """A tensor that is being read."""

    tag: str = ""
    dims: tuple[int, ...] = ()
    kind: str = ""
    content: bytearray = field(default_factory=bytearray)
    maps: bool = False

    def is_of(self, other: _Record) -> bool:
        """Whether both are parts of one tensor."""
        return not self.maps and (self.tag, self.dims, self.kind) == (other.tag, other.dims, other.kind)


def recognises(head: bytes, size: int) -> bool:
    """Whether the file begins with a record that begins with a tag; or is such a file, encrypted."""
    if int.from_bytes(head[:4], "little") in ENCRYPTED:
        return True
    length = next((index for index, byte in enumerate(head[1:11]) if byte < 0x80), None)
    return head[:1] == b"\x0a" and length is not None and head[length + 2 : length + 3] == b"\x0a"


def read(source: Source) -> Checkpoint:
    """All tensors by tag, those of the optimizer left out.

    Raises:
        WeightsError: the file is encrypted.
        ValueError: it is not whole, fails its checksum, or holds what is not read.
    """
    if cipher := ENCRYPTED.get(int.from_bytes(source.read(4), "little")):
        raise WeightsError(
            f"{source.path} is encrypted ({cipher})",
            fix="decrypt it with mindspore.load_checkpoint and save it plainly",
        )
    end = _checked_end(source)
    source.seek(0)
    state: dict[str, torch.Tensor] = {}
    left: list[str] = []
    for record in _joined(source, end):
        if record.tag in state or record.tag in left:
            raise ValueError(f"it holds {shown(record.tag)} twice")
        if record.maps or record.kind == STRING:
            left.append(record.tag)
        else:
            shape = () if record.dims == (0,) else record.dims  # so a scalar is written
            state[record.tag] = to_tensor(record.content, shape, record.kind, record.tag)
    training = [tag for tag in state if _of_training(tag, state)]
    notes = [f"not read, as they are no tensors of numbers: {listed(left)}"] if left else []
    if training:
        notes.append(f"left out, as they are of the optimizer: {listed(training)}")
    return Checkpoint({t: v for t, v in state.items() if t not in {*training}}, "MindSpore", tuple(notes))


def _of_training(tag: str, state: dict[str, torch.Tensor]) -> bool:
    twin = next((tag.removeprefix(prefix) for prefix in MOMENTS if tag.startswith(prefix)), None)
    return twin in state or (tag in SCALARS and state[tag].numel() == 1)


def _checked_end(source: Source) -> int:
    """Where the records end. Raises ValueError where the file has a checksum and it is another."""
    end = source.size - len(CRC_MARK) - CRC_BYTES
    if end < 0:
        return source.size
    source.seek(end)
    trailer = source.take(len(CRC_MARK) + CRC_BYTES)
    if not trailer.startswith(CRC_MARK):
        return source.size
    source.seek(0)
    found = 0
    while (left := end - source.tell()) > 0:
        found = zlib.crc32(source.take(min(left, CHUNK_BYTES)), found)
    if found != int.from_bytes(trailer[len(CRC_MARK) :], "big"):
        raise ValueError("its checksum is another")
    return end


def _joined(source: Source, end: int) -> Iterator[_Record]:
    """Whole tensors: records of one tag that follow each other are parts of one."""
    whole: _Record | None = None
    while source.tell() < end:
        part = _record(source, end)
        if whole is not None and (part.tag, part.dims, part.kind, False) == (
            whole.tag,
            whole.dims,
            whole.kind,
            part.maps,
        ):
            whole.content += part.content
            continue
        if whole is not None:
            yield whole
        whole = part
    if whole is not None:
        yield whole


def _record(source: Source, end: int) -> _Record:
    """The next `Value`."""
    number, wire, length = _field(source, end)
    if (number, wire) != (TAG, BYTES):
        raise _unknown(source, number, "where a record should be")
    end = source.tell() + length
    record = _Record()
    while source.tell() < end:
        number, wire, length = _field(source, end)
        if wire == BYTES and number == TAG and length <= MOST_NAME_BYTES:
            record.tag = source.take(length).decode()
        elif wire == BYTES and number == TENSOR:
            _tensor(source, source.tell() + length, record)
        elif wire == BYTES and number == MAP_TENSOR:
            source.skip(length)
            record.maps = True
        else:
            raise _unknown(source, number, "in a record")
    if not record.tag:
        raise ValueError(f"the record that ends at byte {end:,} has no name")
    return record


def _tensor(source: Source, end: int, record: _Record) -> None:
    """Read a `TensorProto` into the record."""
    dims = list(record.dims)
    while source.tell() < end:
        number, wire, value = _field(source, end)
        if wire == VARINT and number == DIMS:
            dims.append(value)
        elif wire == BYTES and number == DIMS:
            packed = source.tell() + value
            while source.tell() < packed:
                dims.append(source.varint())
        elif wire == BYTES and number == TYPE and value <= MOST_NAME_BYTES:
            record.kind = source.take(value).decode().lower()
        elif wire == BYTES and number == CONTENT:
            record.content += source.take(value)
        else:
            raise _unknown(source, number, "in a tensor")
    record.dims = tuple(dims)


def _field(source: Source, end: int) -> tuple[int, int, int]:
    """The next field's number, wire type, and value; of bytes, which come next, how many."""
    key, value = source.varint(), source.varint()
    number, wire = key >> 3, key & 7
    if source.tell() + (value if wire == BYTES else 0) > end:
        raise ValueError(f"the field {number} of {value:,} before byte {source.tell():,} goes on after {end:,}")
    return number, wire, value


def _unknown(source: Source, number: int, where: str) -> ValueError:
    return ValueError(f"before byte {source.tell():,} stands an unknown field {number} {where}")
