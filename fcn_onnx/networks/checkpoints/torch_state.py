"""The state dict in what was unpickled: found among what trainers put around it, and made of bytes that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from fcn_onnx.errors import WeightsError
from fcn_onnx.jobs.typed import shown
from fcn_onnx.networks.checkpoints.checkpoint import ITEM_BYTES, Checkpoint, as_float32, elements, listed, values
from fcn_onnx.networks.checkpoints.source import Source
from fcn_onnx.networks.checkpoints.unpickling import Declared, Inert, Storage, Unpickled, told

if TYPE_CHECKING:
    import torch

WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict", "network", "net")
"""Keys under which trainers keep the weights: torchvision's, mmcv's, pycls' and others; one may hold another."""

PREFIXES = ("module.", "_orig_mod.")
"""What `DataParallel` and `torch.compile` put before every name."""

MOST_VIEWED = 4
"""How many times a file's bytes its tensors may hold together, as several may be views of one storage."""

MOST_CLASSES, MOST_CLASS_LENGTH = 10_000, 200
MOST_CONFIG_LENGTH = 1 << 20


def to_checkpoint(source: Source, found: Unpickled, load: Callable[[Storage], bytearray]) -> Checkpoint:
    """The state dict, its tensors made.

    Args:
        load: the bytes of a storage.

    Raises:
        WeightsError: there is no state dict.
        ValueError: a tensor is described that the file does not hold.
    """
    wrapped, beside = _unwrapped(found.content)
    if not isinstance(wrapped, Mapping) or not wrapped or not all(isinstance(v, Declared) for v in wrapped.values()):
        _refuse(source, wrapped)
    making = _Making(load, MOST_VIEWED * source.size)
    state: dict[str, torch.Tensor] = {}
    for key, declared in wrapped.items():
        name = _plain(key)
        if name in state:
            raise ValueError(f"it holds {shown(name)} twice")
        state[name] = making.tensor(declared, name)
    notes = [f"not read, beside the weights: {listed(beside)}"] if beside else []
    if found.inert:
        notes.append(f"not rebuilt, as it is no tensor: {listed(found.inert)}")
    return Checkpoint(state, "torch", tuple(notes), _classes(found.content), _config(found.content))


def _unwrapped(content: Any) -> tuple[Any, list[str]]:
    """What the wrappers hold, and the keys that stand beside."""
    beside: list[str] = []
    seen: set[int] = set()
    while isinstance(content, Mapping) and id(content) not in seen:  # a pickle may hold a mapping that holds itself
        seen.add(id(content))
        inner = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping | Inert)), None)
        if inner is None:
            break
        beside += [told(key).strip("'") for key in content if key != inner]
        content = content[inner]
    return content, beside


def _plain(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"a tensor is called {told(key)}")
    while prefix := next((prefix for prefix in PREFIXES if key.startswith(prefix)), None):
        key = key.removeprefix(prefix)
    return str(key)


class _Making:
    """Makes tensors of what is declared; what is declared twice is made once."""

    def __init__(self, load: Callable[[Storage], bytearray], most_bytes: int) -> None:
        self.load = load
        self.left_bytes = most_bytes
        self.storages: dict[tuple[str, str], torch.Tensor] = {}
        self.made: dict[tuple[object, ...], torch.Tensor] = {}

    def tensor(self, declared: Declared, name: str) -> torch.Tensor:
        storage, offset, size, stride, kind = declared
        if not isinstance(storage, Storage):
            raise ValueError(f"{shown(name)} lies in no storage")
        kind = storage.kind if kind is None else kind
        if not isinstance(kind, str):
            raise ValueError(f"{shown(name)} has values of the type {told(kind)}, which is not read")
        size, stride = tuple(_integers(size, name)), tuple(_integers(stride, name))
        (offset,) = _integers((offset,), name)
        view = (storage.key, kind, offset, size, stride)
        if view not in self.made:
            self.made[view] = self._view(storage, kind, offset, size, stride, name)
        return self.made[view]

    def _view(self, storage: Storage, kind: str, offset: int, size: Any, stride: Any, name: str) -> torch.Tensor:
        count = elements(size, kind, name)
        self.left_bytes -= count * ITEM_BYTES[kind]
        if self.left_bytes < 0:
            raise ValueError(f"its tensors, up to {shown(name)}, are much larger than the file")
        whole = self._whole(storage, kind, name)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else offset
        if last >= len(whole) + (count == 0):
            raise ValueError(f"{shown(name)} reaches to value {last:,} of a storage of {len(whole):,}")
        return as_float32(whole.as_strided(size, stride, offset))

    def _whole(self, storage: Storage, kind: str, name: str) -> torch.Tensor:
        place = (storage.key, kind)
        if place not in self.storages:
            data = self.load(storage)
            if storage.kind not in ITEM_BYTES or storage.count != len(data) // ITEM_BYTES[storage.kind]:
                raise ValueError(f"{shown(name)} needs {storage.count:,} values, and has {len(data):,} bytes")
            self.storages[place] = values(data, kind)
        return self.storages[place]


def _integers(found: Any, name: str) -> Iterator[int]:
    if not isinstance(found, tuple | list):
        raise ValueError(f"{shown(name)} has the shape {told(found)}")
    for number in found:
        if type(number) is not int or not 0 <= number < 1 << 48:
            raise ValueError(f"{shown(name)} has the number {told(number)} in its shape")
        yield number


def _meta(content: Any) -> Mapping[Any, Any]:
    """What mmsegmentation writes beside the weights."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def _config(content: Any) -> str:
    """Its configuration: `meta.config`, or `meta.cfg`."""
    meta = _meta(content)
    text = meta.get("config", meta.get("cfg"))
    return text if type(text) is str and len(text) <= MOST_CONFIG_LENGTH else ""


def _classes(content: Any) -> tuple[str, ...]:
    """Names in label order, where it puts them: `meta.CLASSES`, or `meta.dataset_meta.classes`."""
    meta = _meta(content)
    newer = meta.get("dataset_meta")
    names = newer.get("classes") if isinstance(newer, Mapping) else meta.get("CLASSES")
    if not isinstance(names, list | tuple) or len(names) > MOST_CLASSES:
        return ()
    return tuple(names) if all(type(n) is str and 0 < len(n) <= MOST_CLASS_LENGTH for n in names) else ()


def _refuse(source: Source, found: Any) -> NoReturn:
    """Raise WeightsError for what is no state dict."""
    if isinstance(found, Inert):
        raise WeightsError(
            f"{source.path} holds a whole object ({found.stands_for}), which only its own code can rebuild",
            fix="load it where that code is, and save its state_dict()",
        )
    items = found if isinstance(found, Mapping) else {}
    strange = [key for key, value in items.items() if not isinstance(value, Declared)]
    if strange and (len(strange) < len(items) or isinstance(items[strange[0]], Inert)):
        what = f"{told(strange[0])} is {told(items[strange[0]])}, not a tensor"
    else:
        what = f"found {_described(found)}"
    raise WeightsError(f"{source.path} holds no state dict ({what})", fix="save the network's state_dict()")


def _described(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a mapping with the keys {listed([told(key) for key in found]) or 'none'}"
    return told(found)
