"""Files of `torch.save` before 1.6: pickles one after the other, and then the tensors' bytes.

magic number | version | about the system | the object | keys of its storages | of each: i64 count, values
"""

from __future__ import annotations

from fcn_onnx.errors import WeightsError
from fcn_onnx.jobs.typed import shown
from fcn_onnx.networks.checkpoints.checkpoint import ITEM_BYTES, Checkpoint
from fcn_onnx.networks.checkpoints.source import Source
from fcn_onnx.networks.checkpoints.torch_state import to_checkpoint
from fcn_onnx.networks.checkpoints.unpickling import Storage, Unpickled, told, unpickle

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
PROTOCOLS = range(2, 6)


def recognises(head: bytes, size: int) -> bool:
    """Whether the file begins as a pickle."""
    return head[:1] == b"\x80" and len(head) > 1 and head[1] in PROTOCOLS


def read(source: Source) -> Checkpoint:
    """The state dict in the file.

    Raises:
        WeightsError: it is another pickle, or holds no state dict.
        ValueError: it is not whole.
    """
    if unpickle(source).content != MAGIC:
        raise WeightsError(
            f"{source.path} is a pickle, and not of torch: it may do anything, and is not read",
            fix="save the network's state_dict() with torch.save",
        )
    version, system = unpickle(source).content, unpickle(source).content
    if version != VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError(
            f"it is of version {told(version)}, or not of a little-endian system; only little-endian files are read"
        )
    found = unpickle(source)
    places = _places(source, found)

    def load(storage: Storage) -> bytearray:
        begin, size = places[storage.key]
        source.seek(begin)
        return source.take(size)

    return to_checkpoint(source, found, load)


def _places(source: Source, found: Unpickled) -> dict[str, tuple[int, int]]:
    """Where each storage begins, and its length in bytes."""
    keys = unpickle(source).content
    if not isinstance(keys, list) or sorted(found.storages) != sorted(map(str, keys)):
        raise ValueError("the storages that it lists are not those of its tensors")
    places = {}
    for key in keys:
        storage = found.storages[key]
        if source.number("q") != storage.count or storage.kind not in ITEM_BYTES:
            raise ValueError(f"{shown(key)} is not as described: {storage.count:,} values of {told(storage.kind)}")
        size = storage.count * ITEM_BYTES[storage.kind]
        places[key] = (source.tell(), size)
        source.skip(size)
    return places
