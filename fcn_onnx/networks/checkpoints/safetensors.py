"""safetensors, as Hugging Face's library and MindSpore 2 write it."""

from __future__ import annotations

from fcn_onnx.errors import MissingDependencyError, first_line
from fcn_onnx.networks.checkpoints.checkpoint import ITEM_BYTES, Checkpoint
from fcn_onnx.networks.checkpoints.source import Source

HEADER_AT = 8
MOST_HEADER_BYTES = 100_000_000
"""Of the library."""


def recognises(head: bytes, size: int) -> bool:
    """Whether the file begins with the length of a JSON object and the object."""
    return head[HEADER_AT : HEADER_AT + 1] == b"{" and int.from_bytes(head[:HEADER_AT], "little") <= MOST_HEADER_BYTES


def read(source: Source) -> Checkpoint:
    """All tensors by name.

    Raises:
        ValueError: the file is not whole, or holds values of types that are not read.
        MissingDependencyError: the library is not installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingDependencyError(
            f"a safetensors file needs that package, which does not import: {error}",
            fix="pip install 'fcn-onnx[export]'",
        ) from error
    import torch

    state = {}
    try:
        with safe_open(source.path, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no mapping
                tensor = opened.get_tensor(name)
                kind = str(tensor.dtype).removeprefix("torch.")
                if kind not in ITEM_BYTES:
                    raise ValueError(f"{name} has values of the type {kind}, which is not read")
                # a copy: the library's lies in the file, which may change
                state[name] = tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
    except SafetensorError as error:
        raise ValueError(first_line(error)) from error
    return Checkpoint(state, "safetensors")
