"""What torch pickles, unpickled without executing any of it.

`torch.load(weights_only=True)` executes nothing either, but it believes what a file declares: 390 kB that unpack to
400 MB do so, and a legacy file of 16 bytes may have a gigabyte allocated. Here tensors are only described while the
pickle is read (`Declared`), and made later, those that are wanted, from bytes that are there. Whatever else a pickle
names becomes an inert object, and is said.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, NamedTuple, Protocol, cast

from fcn_onnx.jobs.typed import shown

MOST_OPERATIONS = 1_000_000
"""Of a pickle; a network of a thousand tensors with its optimizer has a tenth. Each makes at most one object."""

KINDS = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "Untyped": "uint8",
}
"""What torch's storages begin with, and the type of their values."""


@dataclass(frozen=True)
class Storage:
    """Bytes that tensors lie in, as a pickle describes them.

    Attributes:
        kind: a type's name in torch, or the class that stands for another.
        key: their name in the file.
        count: of values of that type.
    """

    kind: Any
    key: str
    count: int

    def __setstate__(self, _: Any) -> None:
        raise ValueError("it changes a storage")


class Declared(NamedTuple):
    """A tensor: what its pickle says of it, not checked yet.

    Attributes:
        storage, offset, size, stride: in values, as torch means them.
        kind: a type's name; None means the storage's.
    """

    storage: Any
    offset: Any
    size: Any
    stride: Any
    kind: Any = None


class Inert:
    """In place of an object that is not rebuilt: it takes what a pickle does to it, and does nothing.

    Attributes:
        stands_for: what the pickle names.
    """

    stands_for = "an object"

    def __new__(cls, *_: Any, **__: Any) -> Inert:  # a class is what a pickle calls
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Inert:
        return self

    def __setitem__(self, *_: Any) -> None:
        pass

    def ignore(self, *_: Any) -> None:
        """Take something, and do nothing."""

    __setstate__ = append = extend = add = update = ignore


class _Function:
    """A function of torch that a pickle may call; nothing can be set on it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, _: Any) -> None:
        raise ValueError("it changes a function")


def _tensor_v2(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Declared:
    return Declared(storage, offset, size, stride)


def _tensor_v3(storage: Any, offset: Any, size: Any, stride: Any, _: Any, __: Any, kind: Any, *___: Any) -> Declared:
    return Declared(storage, offset, size, stride, kind)


def _first(data: Any, *_: Any) -> Any:
    return data


def _with_attributes(function: Any, _: Any, arguments: Any, *__: Any) -> Any:
    return function(*arguments) if isinstance(function, _Function) else Inert()


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "_rebuild_tensor": _tensor_v2,
    "_rebuild_tensor_v2": _tensor_v2,
    "_rebuild_tensor_v3": _tensor_v3,
    "_rebuild_parameter": _first,
    "_rebuild_parameter_with_state": _first,
}
"""Of `torch._utils`: the arguments are those of torch's."""


class Unpickled(NamedTuple):
    """What was read.

    Attributes:
        content: the object; tensors in it are `Declared`.
        storages: all that it names, by key.
        inert: the full names of what was not rebuilt.
    """

    content: Any
    storages: Mapping[str, Storage]
    inert: tuple[str, ...]


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.storages: dict[str, Storage] = {}
        self.inert: dict[str, type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for here. Nothing is imported."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in FUNCTIONS:
            return _Function(FUNCTIONS[name])
        if (module, name) == ("torch._tensor", "_rebuild_from_type_v2"):
            return _Function(_with_attributes)
        if (module, name) == ("torch", "Size"):
            return tuple
        if module.partition(".")[0] == "torch" and name.endswith("Storage") and name[: -len("Storage")] in KINDS:
            return KINDS[name[: -len("Storage")]]
        if module == "torch" and name in KINDS.values():
            return name
        full = f"{module}.{name}"
        return self.inert.setdefault(full, type("Inert", (Inert,), {"stands_for": full}))

    def persistent_load(self, pid: Any) -> Any:
        """A storage, as torch names it: `("storage", type, key, location, count)`, and in old files a view."""
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":  # a class, and its source
            return pid[1]
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            return Inert()
        if pid[5:] not in ((), (None,)):
            raise ValueError("it holds views of storages, as torch wrote them before 0.4")
        _, kind, key, _, count = pid[:5]
        if type(key) is not str or type(count) is not int or type(kind) not in (str, type):
            raise ValueError(f"it describes no storage: {told(count)} values of {told(kind)} called {told(key)}")
        if self.storages.setdefault(key, found := Storage(kind, key, count)) != found:
            raise ValueError(f"it describes the storage {shown(key)} in two ways")
        return found


def told(value: Any) -> str:
    """Something from a pickle in a message: itself if it is short, else its type, or what it stands for.

    No more of it is looked at, as a small pickle may make what takes for ever to print.
    """
    if isinstance(value, str | int | float | None):
        return shown(value)
    if isinstance(value, Inert) or (isinstance(value, type) and issubclass(value, Inert)):
        return value.stands_for
    return type(value).__name__


class Stream(Protocol):
    """What is read forward, and gone back in; `Source` and `io.BytesIO` are."""

    def tell(self) -> int: ...
    def seek(self, position: int, /) -> object: ...
    def read(self, count: int, /) -> bytes: ...
    def readline(self) -> bytes: ...


def unpickle(stream: Stream) -> Unpickled:
    """The next pickle of a stream, which is left behind it.

    Raises:
        ValueError: it is no whole pickle, or does what none of torch's does.
    """
    begin = stream.tell()
    for index, (operation, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", stream))):
        if index > MOST_OPERATIONS:
            raise ValueError(f"its pickle has more than {MOST_OPERATIONS:,} operations")
        if operation.name in ("PUT", "LONG_BINPUT") and isinstance(argument, int) and argument > index:
            raise ValueError("its pickle numbers an object that it has not made")  # room is made for that many
    length = stream.tell() - begin
    stream.seek(begin)
    reading = _Unpickler(stream.read(length))
    try:
        content = reading.load()
    except Exception as error:  # of any type: what is called so is what the file says
        raise ValueError(f"its pickle cannot be read ({type(error).__name__}: {shown(str(error))})") from error
    return Unpickled(content, reading.storages, tuple(reading.inert))
