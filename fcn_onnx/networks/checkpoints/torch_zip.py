"""Archives of `torch.save`, since 1.6: `data.pkl` describes the tensors, `data/N` hold their bytes."""

from __future__ import annotations

import io
import zipfile

from fcn_onnx.errors import WeightsError
from fcn_onnx.jobs.typed import shown
from fcn_onnx.networks.checkpoints.checkpoint import Checkpoint
from fcn_onnx.networks.checkpoints.source import Source
from fcn_onnx.networks.checkpoints.torch_state import to_checkpoint
from fcn_onnx.networks.checkpoints.unpickling import Storage, unpickle

PICKLE = "/data.pkl"
PROGRAM = "/constants.pkl"
ENCRYPTED_BIT = 1
CHUNK_BYTES = 1 << 20


def recognises(head: bytes, size: int) -> bool:
    """Whether the file is a zip archive; `npz` is asked before."""
    return head.startswith(b"PK\x03\x04")


def read(source: Source) -> Checkpoint:
    """The state dict in the archive.

    Raises:
        WeightsError: it is a TorchScript archive, or holds no state dict.
        ValueError, *BROKEN: it is not whole.
    """
    with zipfile.ZipFile(source.stream) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if any(name.endswith(PROGRAM) for name in members):
            raise WeightsError(
                f"{source.path} is a TorchScript archive, a program: it is not run",
                fix="save its weights: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')",
            )
        _require_plain(members, len(archive.infolist()), source.size)
        pickles = [name for name in members if name.endswith(PICKLE)]
        if len(pickles) != 1:
            raise ValueError(f"the archive has {len(pickles)} members data.pkl")
        folder = pickles[0].removesuffix(PICKLE)
        order = members.get(f"{folder}/byteorder")
        if order is not None and archive.read(order) != b"little":
            raise ValueError("its bytes are not in little-endian order")

        def load(storage: Storage) -> bytearray:
            member = members.get(f"{folder}/data/{storage.key}")
            if member is None:
                raise ValueError(f"the archive has no storage {shown(storage.key)}")
            return _content(archive, member)

        found = unpickle(io.BytesIO(archive.read(members[pickles[0]])))
        return to_checkpoint(source, found, load)


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytearray:
    data = bytearray(member.file_size)
    begin = 0
    with archive.open(member) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            data[begin : begin + len(chunk)] = chunk
            begin += len(chunk)
    return data


def _require_plain(members: dict[str, zipfile.ZipInfo], count: int, size: int) -> None:
    """Raise ValueError where the members are not stored as torch does: each once, unpacked, and side by side."""
    if len(members) != count:
        raise ValueError("two members of the archive have one name")
    for member in members.values():
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & ENCRYPTED_BIT:
            raise ValueError(f"{shown(member.filename)} is packed or encrypted, which torch does not do")
    if sum(member.file_size for member in members.values()) > size:
        raise ValueError("the members of the archive are larger together than the archive")
