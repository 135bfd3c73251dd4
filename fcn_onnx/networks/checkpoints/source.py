"""A file that is read forward: no length that it declares is believed before it is known to be there."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from fcn_onnx.jobs.reading import open_regular

VARINT_BYTES = 10


class Source:
    """An open file and its length.

    Attributes:
        path: for messages.
        size: bytes of the file.
        stream: the file itself.
    """

    def __init__(self, path: Path, stream: BufferedReader) -> None:
        self.path = path
        self.stream = stream
        self.size = os.fstat(stream.fileno()).st_size

    def tell(self) -> int:
        """Bytes from the file's begin."""
        return self.stream.tell()

    def seek(self, position: int) -> None:
        """Go on from `position`."""
        self.stream.seek(position)

    def read(self, count: int) -> bytes:
        """At most `count` bytes."""
        return self.stream.read(min(count, self.size - self.tell()))

    def readline(self) -> bytes:
        """What is left of a line."""
        return self.stream.readline()

    def take(self, count: int) -> bytearray:
        """`count` bytes; raises ValueError if fewer are left."""
        self._require(count)
        data = bytearray(count)
        if self.stream.readinto(data) != count:
            raise ValueError("it became shorter while it was read")
        return data

    def skip(self, count: int) -> None:
        """Leave out `count` bytes; raises ValueError if fewer are left."""
        self._require(count)
        self.stream.seek(count, os.SEEK_CUR)

    def numbers(self, form: str) -> tuple[int, ...]:
        """Little-endian integers, described as for `struct`; raises ValueError if the file ends before."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))

    def number(self, form: str) -> int:
        """One of them."""
        return self.numbers(form)[0]

    def varint(self) -> int:
        """An unsigned integer of protobuf: seven bits a byte, the lowest first; the top bit says that more follow."""
        value = 0
        for index in range(VARINT_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value & (1 << 64) - 1
        raise ValueError(f"the number that ends at byte {self.tell():,} is too long")

    def _require(self, count: int) -> None:
        if not 0 <= count <= self.size - self.tell():
            raise ValueError(f"at byte {self.tell():,} it says {count:,} more, and it has {self.size:,} in all")


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a regular file.

    Raises:
        OSError: see `open_regular`.
    """
    with open_regular(path) as stream:
        yield Source(path, stream)
