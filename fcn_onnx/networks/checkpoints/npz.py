"""Arrays in numpy's `.npz`, which mxnet 2 writes with the suffix `.params`; never of Python objects."""

from __future__ import annotations

import numpy as np

from fcn_onnx.jobs.arrays import read_arrays
from fcn_onnx.networks.checkpoints.checkpoint import ITEM_BYTES, Checkpoint, to_tensor
from fcn_onnx.networks.checkpoints.source import Source

LENGTH_AT, NAME_AT = 26, 30
"""In a zip archive's first bytes: the length of the first member's name, and the name."""

MOST_PACKED = 4
"""How many times smaller a file may be than what it holds: trained weights hardly pack at all."""


def recognises(head: bytes, size: int) -> bool:
    """Whether the file is a zip archive whose first member is an array."""
    length = int.from_bytes(head[LENGTH_AT : LENGTH_AT + 2], "little")
    return head.startswith(b"PK\x03\x04") and head[NAME_AT : NAME_AT + length].endswith(b".npy")


def read(source: Source) -> Checkpoint:
    """All arrays by name.

    Raises:
        ValueError, *BROKEN: the file is not whole, unpacks to more than it should, or holds what is not numbers.
    """
    state = {}
    for name, array in read_arrays(source.path, MOST_PACKED * source.size).items():
        if array.dtype.name not in ITEM_BYTES:
            raise ValueError(f"{name} has values of the type {array.dtype.name}, which is not read")
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        state[name] = to_tensor(bytearray(little.tobytes()), array.shape, array.dtype.name, name)
    return Checkpoint(state, "numpy")
