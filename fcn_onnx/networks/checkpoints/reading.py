"""A checkpoint of any format, recognised by what is in it. Files are not trusted: nothing in them is executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.errors import WeightsError, first_line
from fcn_onnx.jobs.arrays import BROKEN
from fcn_onnx.networks.checkpoints import mindspore, mxnet, npz, safetensors, torch_legacy, torch_zip
from fcn_onnx.networks.checkpoints.checkpoint import Checkpoint
from fcn_onnx.networks.checkpoints.source import Source, open_source

HEAD_BYTES = 512


@dataclass(frozen=True)
class Format:
    """A way to write a checkpoint.

    Attributes:
        name: as users call it.
        recognises: tells from the file's first bytes, and its length.
        read: from its begin; what is wrong raises ValueError, OSError or `BROKEN`.
    """

    name: str
    recognises: Callable[[bytes, int], bool]
    read: Callable[[Source], Checkpoint]


FORMATS = (
    Format("MXNet", mxnet.recognises, mxnet.read),
    Format("safetensors", safetensors.recognises, safetensors.read),
    Format("numpy", npz.recognises, npz.read),
    Format("torch", torch_zip.recognises, torch_zip.read),
    Format("torch", torch_legacy.recognises, torch_legacy.read),
    Format("MindSpore", mindspore.recognises, mindspore.read),
)

READ = "a checkpoint: torch, MXNet, MindSpore or safetensors"
"""What a file with weights can be, for help and messages."""

AGAIN = "copy or download it again: it is cut or damaged"


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a file; memory is bounded by its size, whatever it declares.

    Raises:
        WeightsError: the file is missing, damaged, of no format that is read, or holds no named tensors.
    """
    if not path.exists():
        raise WeightsError(f"no such weights: {path}", fix=f"name {READ}; or DEFAULT or none")
    name = None
    try:
        with open_source(path) as source:
            head = source.read(HEAD_BYTES)
            source.seek(0)
            found = next((f for f in FORMATS if f.recognises(head, source.size)), None)
            if found is None:
                raise WeightsError(
                    f"{path} is not a checkpoint of a format that is read", fix=f"name {READ}; or DEFAULT or none"
                )
            name = found.name
            checkpoint = found.read(source)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}", fix="name another file") from error
    except (ValueError, *BROKEN) as error:
        raise WeightsError(f"{path} is no whole {name} checkpoint: {first_line(error)}", fix=AGAIN) from error
    if not checkpoint.state:
        raise WeightsError(f"{path} holds no tensors", fix="save the network's weights again")
    return checkpoint
