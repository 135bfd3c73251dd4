"""Checkpoints written by hand, from what is known of their formats, by none of the code that reads them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import torch

MXNET_TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.uint8: 3, torch.int32: 4, torch.int8: 5}
MXNET_TYPES |= {torch.int64: 6, torch.bool: 7, torch.int16: 8, torch.bfloat16: 12}
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
LEGACY = 0

MINDSPORE_TYPES = {torch.float32: "Float32", torch.float64: "Float64", torch.float16: "Float16", torch.bool: "Bool"}
MINDSPORE_TYPES |= {torch.bfloat16: "BFloat16", torch.int8: "Int8", torch.uint8: "Uint8", torch.int64: "Int64"}


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors of all usual types and shapes: scalars, none, and many dimensions."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(4, 3, 2, 2, generator=random)
    return {
        "conv.weight": values,
        "conv.half": values.half(),
        "conv.brain": values.bfloat16(),
        "conv.double": values.double(),
        "bn.weight": torch.rand(5, generator=random),
        "bn.counter": torch.tensor(7),
        "mask": torch.tensor([True, False, True]),
        "small": torch.tensor([-3, 4], dtype=torch.int8),
        "bytes": torch.arange(6, dtype=torch.uint8).reshape(2, 3),
    }


def as_read(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What reading gives: floating point as float32."""
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def raw(tensor: torch.Tensor) -> bytes:
    """The values, little-endian, in C order."""
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def mxnet(tensors: Mapping[str, torch.Tensor], version: int = V2, *, device: int = 1) -> bytes:
    """A `.params` file."""
    arrays = b"".join(mxnet_array(tensor, version, device=device) for tensor in tensors.values())
    names = b"".join(struct.pack("<Q", len(name.encode())) + name.encode() for name in tensors)
    return struct.pack("<QQQ", 0x112, 0, len(tensors)) + arrays + struct.pack("<Q", len(tensors)) + names


def mxnet_array(tensor: torch.Tensor, version: int = V2, *, device: int = 1) -> bytes:
    """An array of one."""
    count = tensor.dim()
    context = struct.pack("<iii", device, 0, MXNET_TYPES[tensor.dtype])
    if version == LEGACY:
        return struct.pack(f"<I{count}I", count, *tensor.shape) + context + raw(tensor)
    kind = b"" if version == V1 else struct.pack("<i", 0)
    return struct.pack("<I", version) + kind + struct.pack(f"<i{count}q", count, *tensor.shape) + context + raw(tensor)


def varint(value: int) -> bytes:
    """An unsigned integer of protobuf."""
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def field(number: int, content: bytes) -> bytes:
    """Bytes as a field of protobuf."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def record(tag: str, dims: Sequence[int], kind: str, content: bytes, *, packed: bool = False) -> bytes:
    """One value of a MindSpore checkpoint."""
    lengths = [varint(length) for length in dims]
    head = field(1, b"".join(lengths)) if packed else b"".join(b"\x08" + length for length in lengths)
    tensor = head + field(2, kind.encode()) + field(3, content)
    return field(1, field(1, tag.encode()) + field(2, tensor))


def mindspore(tensors: Mapping[str, torch.Tensor], *, crc: bool = False, part_bytes: int = 1 << 20) -> bytes:
    """A `.ckpt` file; tensors of more than `part_bytes` are split."""
    records = []
    for name, tensor in tensors.items():
        content, dims = raw(tensor), list(tensor.shape) or [0]
        for begin in range(0, max(len(content), 1), part_bytes):
            part = content[begin : begin + part_bytes]
            records.append(record(name, dims, MINDSPORE_TYPES[tensor.dtype], part))
    whole = b"".join(records)
    return whole + (b"crc_num" + zlib.crc32(whole).to_bytes(10, "big") if crc else b"")
