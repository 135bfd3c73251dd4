"""Records of finished work as bytes, in a file that may end or be damaged anywhere: what is whole before that is read.

A file is `FORMAT`, a framed job digest, and framed records. A frame is the payload's length and CRC-32, and the
payload; a record's payload is compressed (per-image confusion matrices are nearly all zeros).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

FORMAT = b"fcn-onnx journal 1\n"
FRAME = struct.Struct("<QI")
HEAD = struct.Struct("<I")
LEVEL = 1

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Record:
    """Finished items, and what they came to.

    Attributes:
        done: their names.
        arrays: of any shape and of any type but object.
    """

    done: tuple[str, ...]
    arrays: Arrays


class Packed(Sequence[Record]):
    """Records of a file, each unpacked when it is asked for.

    Args:
        payloads: of each, which can be unpacked.
    """

    def __init__(self, payloads: Sequence[bytes] = ()) -> None:
        self._payloads = payloads

    def __len__(self) -> int:
        return len(self._payloads)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Packed: ...
    def __getitem__(self, index: int | slice) -> Record | Packed:
        if isinstance(index, slice):
            return Packed(self._payloads[index])
        return _decode(self._payloads[index])


@dataclass(frozen=True)
class Contents:
    """What is whole in a file.

    Attributes:
        job: digest of the job that it is of; None if not even that can be read.
        records: in the order in which they were written.
        size_bytes: how much of the file that is.
        damaged: whether anything follows that is not whole.
    """

    job: str | None
    records: Packed
    size_bytes: int
    damaged: bool


def header(job: str) -> bytes:
    """How the file of a job begins."""
    return FORMAT + _frame(job.encode())


def encode(record: Record) -> bytes:
    """A record, framed."""
    arrays = {name: np.asarray(array, order="C") for name, array in record.arrays.items()}
    shapes = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    head = json.dumps({"done": record.done, "arrays": shapes}).encode()
    parts = [HEAD.pack(len(head)), head, *(array.tobytes() for array in arrays.values())]
    return _frame(zlib.compress(b"".join(parts), LEVEL))


def read(stream: BinaryIO) -> Contents:
    """What is whole in a file of records; never raises for what it holds."""
    if stream.read(len(FORMAT)) != FORMAT:
        return Contents(None, Packed(), 0, damaged=True)
    payloads = _payloads(stream)
    job, size = next(payloads, (None, 0))
    if job is None:
        return Contents(None, Packed(), 0, damaged=True)
    sound = []
    for payload, end in payloads:
        try:
            _decode(payload)
        except (zlib.error, struct.error, ValueError, KeyError, TypeError):
            break
        sound.append(payload)
        size = end
    return Contents(job.decode(errors="replace"), Packed(sound), size, damaged=bool(stream.seek(0, 2) - size))


def _frame(payload: bytes) -> bytes:
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _payloads(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Each payload from here on that is whole, and where its frame ends."""
    position = stream.tell()
    size = stream.seek(0, 2)
    stream.seek(position)
    while len(head := stream.read(FRAME.size)) == FRAME.size:
        length, check = FRAME.unpack(head)
        position += FRAME.size + length
        if position > size or zlib.crc32(payload := stream.read(length)) != check:
            return
        yield payload, position


def _decode(payload: bytes) -> Record:
    """The inverse of `encode`, without the frame; the arrays cannot be written to."""
    content = zlib.decompress(payload)
    (length,) = HEAD.unpack_from(content)
    position = HEAD.size + length
    head = json.loads(content[HEAD.size : position])
    arrays: dict[str, NDArray[Any]] = {}
    for name, kind, shape in head["arrays"]:
        dtype = np.dtype(kind)
        if dtype.hasobject:
            raise ValueError(f"{name} is of {kind}")
        arrays[name] = np.ndarray(shape, dtype, content, position)
        position += arrays[name].nbytes
    return Record(tuple(head["done"]), arrays)
