"""Frozen dataclasses as JSON: written, read back strictly, and described as JSON Schema, all from the same annotations.

Fields are scalars, enumerations of strings, tuples, mappings from strings, other dataclasses, any of these or None, and
`Any` for JSON that is handed on as it is. A field with a default may be missing; a key that no field has may not be
there.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, Union

from fcn_onnx.errors import ReportError
from fcn_onnx.jobs.typed import holds, shown

T = TypeVar("T")
SCALARS: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
FIX = "name a report.json that `fcn-onnx validate` wrote"


def to_json(value: Any) -> Any:
    """`value` as what `json` writes: objects, lists and scalars."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(inner) for inner in value]
    return value


def from_json(kind: type[T], value: Any, where: str) -> T:
    """The dataclass that `to_json` wrote as `value`.

    Args:
        where: what the value is called in errors, such as a file.

    Raises:
        ReportError: a key is unknown or missing, or a value is not of its type.
    """
    if not isinstance(value, Mapping):
        raise _wrong(where, value, "an object")
    hints, known = typing.get_type_hints(kind), {field.name: field for field in fields(typing.cast(Any, kind))}
    for key in value:
        if key not in known:
            raise ReportError(f"{where} has the key {shown(key)}, which no report of this version has", fix=FIX)
    for name, field in known.items():
        if name not in value and _required(field):
            raise ReportError(f"{where} has no {name!r}", fix=FIX)
    return kind(**{key: _read(hints[key], inner, f"{where}: {key}") for key, inner in value.items()})


def schema_of(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a dataclass; those that it is made of go to `definitions`."""
    hints = typing.get_type_hints(kind)
    return {
        "type": "object",
        "properties": {field.name: _described(hints[field.name], definitions) for field in fields(kind)},
        "required": [field.name for field in fields(kind) if _required(field)],
        "additionalProperties": False,
    }


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        (own,) = (option for option in inner if option is not types.NoneType)
        return None if value is None else _read(own, value, where)
    if is_dataclass(hint):
        return from_json(typing.cast(type, hint), value, where)
    if origin is tuple and isinstance(value, list):
        if inner[-1] is not ... and len(inner) != len(value):
            raise _wrong(where, value, f"{len(inner)} values")
        kinds = inner[:1] * len(value) if inner[-1] is ... else inner
        return tuple(_read(own, item, f"{where}[{i}]") for i, (own, item) in enumerate(zip(kinds, value, strict=True)))
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {key: _read(inner[1], item, f"{where}: {key}") for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Enum) and value in [member.value for member in hint]:
        return hint(value)
    if hint is float and holds(value, float):
        return float(value)
    if hint in SCALARS and type(value) is hint and hint is not float:
        return value
    raise _wrong(where, value, _named(hint))


def _wrong(where: str, value: Any, wanted: str) -> ReportError:
    return ReportError(f"{where} is {shown(value)}, not {wanted}", fix=FIX)


def _named(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of: {', '.join(member.value for member in hint)}"
    return SCALARS.get(hint, "a list" if typing.get_origin(hint) is tuple else "an object")


def _described(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if origin in (Union, types.UnionType):
        (own,) = (option for option in inner if option is not types.NoneType)
        return {"anyOf": [_described(own, definitions), {"type": "null"}]}
    if is_dataclass(hint):
        name = typing.cast(type, hint).__name__
        if name not in definitions:
            definitions[name] = schema_of(typing.cast(type, hint), definitions)
        return {"$ref": f"#/$defs/{name}"}
    if origin is tuple and inner[-1] is ...:
        return {"type": "array", "items": _described(inner[0], definitions)}
    if origin is tuple:
        items = [_described(own, definitions) for own in inner]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _described(inner[1], definitions)}
    if issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    return {"type": SCALARS[hint]}
