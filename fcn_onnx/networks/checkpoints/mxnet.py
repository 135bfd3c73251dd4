"""MXNet's `.params`, as `save_parameters` and `export` write it, of all versions.

    u64 0x112 | u64 0 | u64 count | arrays | u64 count | names, each u64 length and UTF-8

An array begins with its version, or before 0.11 with its number of dimensions. (`NDArray::Save` and `Load` of
mxnet 1.9, `src/ndarray/ndarray.cc`.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fcn_onnx.jobs.typed import shown
from fcn_onnx.networks.checkpoints.checkpoint import (
    ITEM_BYTES,
    MOST_DIMENSIONS,
    Checkpoint,
    elements,
    listed,
    to_tensor,
)
from fcn_onnx.networks.checkpoints.source import Source

if TYPE_CHECKING:
    import torch

MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
KINDS = (
    *("float32", "float64", "float16", "uint8", "int32", "int8", "int64"),
    *("bool", "int16", "uint16", "uint32", "uint64", "bfloat16"),
)
"""In the order of mshadow's type flags."""

DENSE, UNDEFINED = 0, -1
LEAST_BYTES = 4
"""Of an array; and of a name, which has a length of 8, more."""


def recognises(head: bytes, size: int) -> bool:
    """Whether the file begins as a list of arrays."""
    return head[:16] == MAGIC.to_bytes(8, "little") + bytes(8)


def read(source: Source) -> Checkpoint:
    """All arrays by name, as stored: structural (`layer1.0.bn1.gamma`) or with `arg:` and `aux:`.

    Raises:
        ValueError: the file is not whole, or holds what is not read: sparse arrays, arrays without names.
    """
    source.skip(16)
    arrays = [_array(source, index) for index in range(_count(source, "arrays"))]
    names = [_name(source) for _ in range(_count(source, "names"))]
    if source.tell() != source.size:
        raise ValueError(f"it goes on for {source.size - source.tell():,} bytes after its end")
    if len(names) != len(arrays):
        raise ValueError(f"it has {len(arrays)} arrays and {len(names)} names")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two arrays are called {shown(twice)}")
    state = {name: array for name, array in zip(names, arrays, strict=True) if array is not None}
    empty = [name for name in names if name not in state]
    notes = (f"arrays without content: {listed(empty)}",) if empty else ()
    return Checkpoint(state, "MXNet", notes)


def _count(source: Source, what: str) -> int:
    count = source.number("Q")
    if count * LEAST_BYTES > source.size - source.tell():
        raise ValueError(f"it says that {count:,} {what} follow, and has {source.size:,} bytes in all")
    return count


def _name(source: Source) -> str:
    return source.take(source.number("Q")).decode()


def _array(source: Source, index: int) -> torch.Tensor | None:
    """The next array; None where it has no content."""
    name = f"array {index}"
    version = source.number("I")
    if version in (V2, V3) and (storage := source.number("i")) not in (DENSE, UNDEFINED):
        raise ValueError(f"{name} is sparse (storage type {storage}), which is not read")
    shape = _shape(source, version, name)
    if shape is None:
        return None
    source.skip(8)  # the device that it was on, and that device's number
    kind = source.number("i")
    if not 0 <= kind < len(KINDS):
        raise ValueError(f"{name} is of the unknown type {kind}")
    count = elements(shape, KINDS[kind], name)
    return to_tensor(source.take(count * ITEM_BYTES[KINDS[kind]]), shape, KINDS[kind], name)


def _shape(source: Source, version: int, name: str) -> tuple[int, ...] | None:
    """Of the next array; None where it has none, and then nothing else either."""
    dimensions = source.number("i") if version in (V1, V2, V3) else version
    if dimensions == (-1 if version == V3 else 0):
        return None
    if not 0 <= dimensions <= MOST_DIMENSIONS:
        raise ValueError(f"{name} has {dimensions} dimensions")
    shape = source.numbers(f"{dimensions}{'q' if version in (V1, V2, V3) else 'I'}")
    return None if version == V3 and -1 in shape else shape
