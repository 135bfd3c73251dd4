"""What every checkpoint format is read into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from fcn_onnx.jobs.typed import shown

if TYPE_CHECKING:
    import torch

ITEM_BYTES = {
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64"), 8),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("int8", "uint8", "bool"), 1),
}
"""The types that are read, by torch's name."""

MOST_DIMENSIONS = 16
SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors from a file.

    Attributes:
        state: by the names that the file has, without wrappers and `module.`; floating point as float32.
        format: such as `torch`.
        notes: what the file also holds and was not read, a sentence each, for the user and the model card.
        classes: names in label order, where the file has them.
        config: of its training, as the text that the file has. It is searched, never run.
    """

    state: dict[str, torch.Tensor]
    format: str
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    config: str = ""


def elements(shape: Sequence[int], kind: str, name: str) -> int:
    """How many values a tensor has.

    Raises:
        ValueError: the shape or the type is none that is read.
    """
    if kind not in ITEM_BYTES:
        raise ValueError(f"{shown(name)} has values of the type {shown(kind)}, which is not read")
    if len(shape) > MOST_DIMENSIONS or any(length < 0 for length in shape) or prod(max(d, 1) for d in shape) >= 1 << 60:
        raise ValueError(f"{shown(name)} has the shape {shown(list(shape))}")
    return prod(shape)


def to_tensor(data: bytearray, shape: Sequence[int], kind: str, name: str) -> torch.Tensor:
    """A tensor of little-endian values in C order; floating point as float32. It keeps `data`.

    Raises:
        ValueError: `data` is longer or shorter than shape and type say.
    """
    needed = elements(shape, kind, name) * ITEM_BYTES[kind]
    if needed != len(data):
        raise ValueError(f"{shown(name)} needs {needed:,} bytes for its shape {list(shape)}, and has {len(data):,}")
    return as_float32(values(data, kind)).reshape(tuple(shape))


def values(data: bytearray, kind: str) -> torch.Tensor:
    """The same in one dimension, of its own type."""
    import torch

    if not data:
        return torch.empty(0, dtype=getattr(torch, kind))
    if kind == "bool":
        return torch.frombuffer(data, dtype=torch.uint8) != 0
    return torch.frombuffer(data, dtype=getattr(torch, kind))


def as_float32(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, or in float32 where it is of another floating point type."""
    return tensor.float() if tensor.is_floating_point() else tensor


def listed(names: Sequence[str]) -> str:
    """The first of some names, and whether there are more."""
    text = ", ".join(name if len(name) <= 80 else name[:80] + "…" for name in names[:SHOWN])
    return f"{text} and {len(names) - SHOWN} more" if len(names) > SHOWN else text
