"""Keys of an origin that does not write torch's, under the names that the module has for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from fcn_onnx.errors import WeightsError

Value = TypeVar("Value")


def renamed(state: Mapping[str, Value], name: Callable[[str], str]) -> dict[str, Value]:
    """The same values, each under the name of its key.

    Raises:
        WeightsError: two keys have one name.
    """
    found: dict[str, Value] = {}
    origins: dict[str, str] = {}
    for key, value in state.items():
        new = name(key)
        if new in origins:
            raise WeightsError(
                f"the checkpoint holds {new} twice, as {origins[new]} and {key}",
                fix="keep one of them: it was put together from several files",
            )
        origins[new], found[new] = key, value
    return found


def last_renamed(key: str, kinds: Mapping[str, str]) -> str:
    """`key` with its last part, the kind of parameter, renamed where `kinds` has a name for it."""
    module, dot, kind = key.rpartition(".")
    return f"{module}{dot}{kinds.get(kind, kind)}"
