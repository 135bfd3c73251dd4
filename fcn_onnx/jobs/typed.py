"""Whether JSON from a file is of the type that a field declares, so that no later line meets another."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Union


def holds(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of the type `hint`, all the way down.

    Args:
        value: what `json.loads` returns; a list stands for a tuple.
        hint: `Any`, None, bool, int, float (a finite number), str, `tuple[T, ...]`, `Mapping[str, T]`, or a union.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(holds(value, option) for option in inner)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(holds(item, inner[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, dict) and all(isinstance(k, str) and holds(v, inner[1]) for k, v in value.items())
    if hint is float:
        return type(value) in (int, float) and _is_finite(value)
    return type(value) is hint


def require_typed(values: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Raise ValueError for the first of `values` that is not of its type in `hints`."""
    for name, value in values.items():
        if not holds(value, hints[name]):
            raise ValueError(f"{name} is {shown(value)}")


def shown(value: object, most: int = 60) -> str:
    """A value of a file as an error message quotes it, however long or deep it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list of thousands of brackets
        return f"a huge {type(value).__name__}"
    return text if len(text) <= most else text[:most] + "…"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float is as large as
        return False
