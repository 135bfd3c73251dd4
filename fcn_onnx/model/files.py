"""ONNX files: read, written and told apart together with the data files that their weights may lie in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import onnx
from onnx import TensorProto

from fcn_onnx.errors import ModelError
from fcn_onnx.jobs.artifact import atomic_path, digest_file, digest_json
from fcn_onnx.jobs.files import sync
from fcn_onnx.jobs.scratch import folder_in, scratch
from fcn_onnx.model.arity import require_connected
from fcn_onnx.model.inference import skeleton
from fcn_onnx.model.tensors import require_whole, tensor_bytes, tensors_of

PROTO_LIMIT = 2**31 - 2**20
"""Bytes of weights that one protobuf file may hold: 2 GiB, and room for the graph."""

LOADABLE_BYTES = 1_500_000_000
"""Bytes of weights above which a model is handed on as a file: as bytes it would be in memory once more."""

INLINE_BYTES = 1024
"""Tensors up to this size stay in the model's own file: onnx wants to see the values of shapes and axes there."""


def load_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file and its external data.

    Raises:
        ModelError: it is missing or not a whole ONNX model, a tensor does not have the values that its dimensions
            say, or its external data is missing, cut off, or lies outside the model's folder.
    """
    return load_with_data(path)[0]


def load_with_data(path: Path) -> tuple[onnx.ModelProto, tuple[Path, ...]]:
    """The same, and the files that its external data was read from, for `digest_model` and `model_bytes`."""
    model = _parse(path)
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path} holds no ONNX graph", fix="make the file again")
    require_whole(model, str(path))
    require_connected(model, str(path))
    data = _data_files(model, path)
    for tensor in tensors_of(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            _read_external(tensor, path)
    return model, data


def external_files(path: Path) -> tuple[Path, ...]:
    """The data files that the model at `path` refers to, sorted, each once.

    Raises:
        ModelError: as for `load_model`.
    """
    return _data_files(_parse(path), path)


def _data_files(model: onnx.ModelProto, path: Path) -> tuple[Path, ...]:
    external = [tensor for tensor in tensors_of(model) if tensor.data_location == TensorProto.EXTERNAL]
    return tuple(sorted({_data_file(tensor, path) for tensor in external}))


def data_inputs(model: Path, outputs: Iterable[Path | None]) -> dict[str, Path | None]:
    """The data files of `model`, by what they are called, for `claim_outputs`.

    A model is parsed for them, which takes half a second where its weights are inside; where none of `outputs` is there
    already, none can be among them, and nothing is read.

    Raises:
        ModelError: as for `load_model`.
    """
    if not any(path and path.is_file() for path in outputs):
        return {}
    return {f"the data file {file.name} of {model}": file for file in external_files(model)}


def digest_model(path: Path, data: tuple[Path, ...] | None = None) -> str:
    """`sha256:<hex>` of a model with its external data; that of the file alone where there is none.

    Args:
        data: its data files; None finds them, for which the model is parsed.

    Raises:
        ModelError: as for `load_model`.
    """
    data = external_files(path) if data is None else data
    if not data:
        return digest_file(path)
    return digest_json({"model": digest_file(path), "data": [[file.name, digest_file(file)] for file in data]})


def digest_content(model: onnx.ModelProto) -> str:
    """`sha256:<hex>` of all that `model` computes with, external data loaded: of everything but its metadata."""
    bare = skeleton(model)
    del bare.metadata_props[:]
    content = hashlib.sha256(bare.SerializeToString(deterministic=True))
    for tensor in model.graph.initializer:
        content.update(tensor.SerializeToString(deterministic=True))
    return f"sha256:{content.hexdigest()}"


def model_bytes(path: Path, data: tuple[Path, ...] | None = None) -> int:
    """Size of a model with its external data.

    Args:
        data: see `digest_model`.

    Raises:
        ModelError: as for `load_model`.
    """
    return sum(file.stat().st_size for file in (path, *(external_files(path) if data is None else data)))


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all tensors of `model` together."""
    return sum(tensor_bytes(tensor) for tensor in tensors_of(model))


def is_large(model: onnx.ModelProto) -> bool:
    """Whether the weights do not fit into one protobuf message."""
    return weight_bytes(model) > PROTO_LIMIT


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write `model` to `path`; above `PROTO_LIMIT` its weights go to a file beside it, in the place of older ones."""
    if not is_large(model):
        onnx.save(model, path)
        return
    with atomic_model(model, path):
        pass


def _save_split(model: onnx.ModelProto, path: Path, name: str) -> Path:
    """Write `model` to `path`, and its weights to `<name>.<digest>.data` beside it, which is returned.

    As the name holds the digest of what is inside, no file of other content is ever written over.
    """
    split = onnx.ModelProto()
    split.CopyFrom(model)  # onnx empties the tensors that it writes
    with folder_in(path.parent, f".{name}.part-") as folder:
        written, weights = Path(folder, "model.onnx"), Path(folder, "weights")
        onnx.save(split, written, save_as_external_data=True, location=weights.name, size_threshold=INLINE_BYTES)
        sync(weights)
        data = path.with_name(f"{name}.{digest_file(weights).removeprefix('sha256:')[:8]}.data")
        for tensor in tensors_of(split):
            for entry in tensor.external_data:
                entry.value = data.name if entry.key == "location" else entry.value
        path.write_bytes(split.SerializeToString())
        weights.replace(data)
    return data


@contextmanager
def loadable(model: onnx.ModelProto) -> Iterator[bytes | str]:
    """What a library loads `model` from: its bytes, or above `LOADABLE_BYTES` a file, there as long as the context."""
    if weight_bytes(model) <= LOADABLE_BYTES:
        yield model.SerializeToString()
        return
    with scratch() as folder:
        path = Path(folder, "model.onnx")
        save_model(model, path)
        yield str(path)


def check_model(model: onnx.ModelProto) -> None:
    """onnx's full check.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: the model is not sound.
    """
    with loadable(model) as source:
        onnx.checker.check_model(source, full_check=True)


@contextmanager
def atomic_model(model: onnx.ModelProto, path: Path) -> Iterator[Path]:
    """Write `model` beside `path` and yield that file; on success it becomes `path`, else nothing is left.

    External data has a name of its own, so `path` changes in one step from one whole model to another.

    Raises:
        OutputError: `path` cannot be written.
    """
    before: tuple[Path, ...] = ()
    with suppress(ModelError):  # whatever is there is replaced
        before = external_files(path)
    data: Path | None = None
    try:
        with atomic_path(path) as temporary:
            if is_large(model):
                data = _save_split(model, temporary, path.name)
            else:
                onnx.save(model, temporary)
            yield temporary
    except BaseException:
        if data is not None and data not in before:
            data.unlink(missing_ok=True)
        raise
    for file in set(before) - {data}:
        if re.fullmatch(re.escape(path.name) + r"\.[0-9a-f]{8}\.data", file.name):  # ours, of what was replaced
            file.unlink(missing_ok=True)


def _parse(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ModelError(f"no such model: {path}", fix="check the path, or run `fcn-onnx export` first")
    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has moved between packages
        raise ModelError(
            f"{path} is not a whole ONNX model ({type(error).__name__}: {error})",
            fix="make the file again; it may be truncated or of another format",
        ) from error


def _data_file(tensor: TensorProto, path: Path) -> Path:
    """Where a tensor's external data is: an ordinary file that lies in the model's folder, links followed."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    file, folder = path.parent / location, path.parent.resolve()
    if not location or "\\" in location or not file.resolve().is_relative_to(folder):
        raise ModelError(
            f"{path} keeps {tensor.name!r} in {location!r}, which leads out of its folder",
            fix="keep external data as an ordinary file beside the model",
        )
    if not file.is_file():
        raise ModelError(
            f"{path} keeps {tensor.name!r} in {location!r}, and there is no such file beside it",
            fix="put the data file beside the model, under its own name",
        )
    return file


def _read_external(tensor: TensorProto, path: Path) -> None:
    """Move a tensor's external data into it."""
    file = _data_file(tensor, path)
    where = {entry.key: entry.value for entry in tensor.external_data}
    try:
        expected = tensor_bytes(tensor)
        offset, length = int(where.get("offset", 0)), int(where.get("length", expected))
        with file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(max(0, min(length, file.stat().st_size - offset)))
    except (ValueError, OSError, OverflowError) as error:
        raise ModelError(f"{path}: external data of {tensor.name!r}: {error}", fix="make the model again") from error
    if len(data) != expected:
        raise ModelError(
            f"{path}: {file.name} holds {len(data)} of the {expected} bytes of {tensor.name!r}",
            fix="make the model again; its data file is cut off or another model's",
        )
    tensor.raw_data = data
    tensor.ClearField("data_location")
    del tensor.external_data[:]
