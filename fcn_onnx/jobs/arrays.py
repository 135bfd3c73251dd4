"""Arrays as an `.npz` file, and from one of a stranger: what it declares is bounded before it is unpacked."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.jobs.reading import open_regular

BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, RuntimeError)
"""What a damaged archive raises, beside OSError and ValueError."""

npy: Any = np.lib.format  # which has no types
READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
SUFFIX = ".npy"


class Blocks(Protocol):
    """An array that is made some of its first axis at a time, as it would be too large at once."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def blocks(self) -> Iterator[NDArray[Any]]:
        """Its parts in order."""
        ...


def npz(arrays: Mapping[str, NDArray[Any] | Blocks]) -> bytes:
    """The arrays as a compressed `.npz`, as `np.savez_compressed` writes it.

    It is made in memory: an archive is left open that cannot be written to the end, and complains of it later.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}{SUFFIX}", "w", force_zip64=True) as member:
                if isinstance(values, np.ndarray):
                    npy.write_array(member, values, allow_pickle=False)
                    continue
                described = {"descr": values.dtype.str, "fortran_order": False, "shape": values.shape}
                npy.write_array_header_1_0(member, described)
                for block in values.blocks():
                    member.write(block.tobytes())
    return stream.getvalue()


def read_arrays(path: Path, most: int, *, prefix: str = "") -> dict[str, NDArray[Any]]:
    """The arrays of an archive whose names begin with `prefix`, by name; never of Python objects.

    Args:
        most: bytes of all of them together, unpacked.

    Raises:
        OSError: see `open_regular`.
        ValueError, *BROKEN: it is no such archive, holds more, or an array declares what is not there.
    """
    with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
        members = [member for member in archive.infolist() if member.filename.startswith(prefix)]
        if (size := sum(member.file_size for member in members)) > most:
            raise ValueError(f"it holds {size:,} bytes, more than the limit of {most:,}")
        return {member.filename.removesuffix(SUFFIX): _read(archive, member) for member in members}


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as stream:
        reader = READERS.get(npy.read_magic(stream))
        if reader is None:
            raise ValueError(f"{member.filename} is of an unknown version")
        try:
            shape, fortran, dtype = reader(stream)
        except TokenError as error:  # a header is Python, of which only a literal is read
            raise ValueError(f"{member.filename} has a header that is none") from error
        content = stream.read()  # no more than `file_size`, whatever the archive packs
    if dtype.hasobject or prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{member.filename} declares {dtype} {shape}, and has {len(content)} bytes")
    return np.ndarray(shape, dtype, bytearray(content), order="F" if fortran else "C")
