"""How an option is declared: one field of a frozen dataclass, with all that its flag, its recipe key and the job need.

A field's metadata holds an `Option`: the command line makes the flag from it, a recipe's section has its name as a key.
Options that several stages share are classes of their own, which a stage's class has as parts; on the command line and
in a recipe all of them stand side by side. Tables of names (methods, protocols, …) are named by their place and looked
up when they are needed, so that declaring an option imports nothing.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.bounds import Bound
from fcn_onnx.jobs.places import found

OPTION, PART = "option", "part"
Pair = tuple[int, int]
Triple = tuple[float, float, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """What is said of a field beside its name, its type and its default.

    Attributes:
        help: one sentence or two, understandable alone.
        flag: of the command line; by default the field's name with hyphens.
        opposite: the flag that says no. One that is True by default, and has no `flag`, has this alone.
        argument: whether it is given by its place, not by a flag.
        metavar: what stands for the value in the help.
        names: `package.module:TABLE` of the names that are allowed.
        also: names beside those of the table, and what they mean.
        reads: `package.module:function` that makes the value of the file that is named.
        bound: of a number, or of each of several.
        decides: whether the result depends on it.
        in_recipe: whether a recipe's section has it as a key.
    """

    help: str
    flag: str | None = None
    opposite: str | None = None
    argument: bool = False
    metavar: str | None = None
    names: str | None = None
    also: Mapping[str, str] = field(default_factory=dict)
    reads: str | None = None
    bound: Bound | None = None
    decides: bool = True
    in_recipe: bool = True

    def table(self) -> Mapping[str, str]:
        """Allowed names and what they mean; empty where anything is allowed."""
        return dict(self.also) | (dict(_described(self.names)) if self.names else {})


def option(default: Any = MISSING, *, help: str, **said: Any) -> Any:
    """A dataclass field that is an option; the other arguments are those of `Option`."""
    return field(default=default, metadata={OPTION: Option(help, **said)})


def part(kind: type[T], *, given: str | None = None) -> Any:
    """A field that is a class of options of its own; None unless its option `given` is, where one is named.

    It has to be given where one of its options has to be.
    """
    metadata = {PART: (kind, given)}
    if given is not None:
        return field(default=None, metadata=metadata)
    if any(entry.required for entry in declared(kind)):
        return field(metadata=metadata)
    return field(default_factory=kind, metadata=metadata)


@dataclass(frozen=True)
class Declared:
    """One option of a class of options.

    Attributes:
        name: of the field.
        part: the field of the part that it belongs to, if any.
        option: what is said of it.
        hint: its type, as it is written; that of a path where a file is read.
        default: `MISSING` where there is none.
    """

    name: str
    part: str | None
    option: Option
    hint: Any
    default: Any

    @property
    def several(self) -> bool:
        """Whether any number may be given."""
        kind = _without_none(self.hint)
        return typing.get_origin(kind) is tuple and typing.get_args(kind)[1:] == (Ellipsis,)

    @property
    def kind(self) -> Any:
        """Its type without None, and without the tuple where several may be given."""
        kind = _without_none(self.hint)
        return typing.get_args(kind)[0] if self.several else kind

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is MISSING

    @property
    def flag(self) -> str:
        """What the command line calls it."""
        said = self.option
        if said.argument:
            return self.name.upper()
        only_no = said.opposite if said.flag is None and self.default is True else None
        return only_no or said.flag or "--" + self.name.replace("_", "-")


def declared(options: type) -> tuple[Declared, ...]:
    """The options of a class and its parts, in the order in which they are written."""
    known = _DECLARED.get(options)
    if known is None:
        known = _DECLARED[options] = _read(options)
    return known


_DECLARED: dict[type, tuple[Declared, ...]] = {}
"""Type hints are resolved once a class."""


def _read(options: type) -> tuple[Declared, ...]:
    hints = typing.get_type_hints(options)
    entries: list[Declared] = []
    for entry in fields(options):
        if PART in entry.metadata:
            kind, given = entry.metadata[PART]
            for one in declared(kind):  # without `given` there is no part, so it is not required
                default = None if one.name == given and one.required else one.default
                entries.append(replace(one, part=entry.name, default=default))
        elif OPTION in entry.metadata:
            said: Option = entry.metadata[OPTION]
            hint = Path | None if said.reads else hints[entry.name]
            entries.append(Declared(entry.name, None, said, hint, entry.default))
    return tuple(entries)


def assemble(options: type[T], values: Mapping[str, Any]) -> T:
    """An instance from values by name, parts and all; what is not named has its default.

    A file that is to be read is read here.

    Raises:
        UsageError: a value that no stage takes, a file that cannot be read, or an option of a part that there is not.
    """
    holders = {entry.name: entry.metadata[PART] for entry in fields(options) if PART in entry.metadata}  # type: ignore[arg-type]
    parts: dict[str, dict[str, Any]] = {name: {} for name in holders}
    own: dict[str, Any] = {}
    for entry in declared(options):
        if entry.name in values:
            value = values[entry.name]
            if entry.option.reads and isinstance(value, Path):
                value = found(entry.option.reads)(value)
            (own if entry.part is None else parts[entry.part])[entry.name] = value
    for name, (kind, given) in holders.items():
        if given is None or parts[name].get(given) is not None:
            own[name] = kind(**parts[name])
        else:
            _require_default(kind, given, parts[name])
    return options(**own)


def _require_default(kind: type, given: str, values: Mapping[str, Any]) -> None:
    """Raise UsageError where a value is said of a part, and `given`, without which there is no part, is not."""
    entries = {entry.name: entry for entry in declared(kind)}
    for name, value in values.items():
        if name != given and value != entries[name].default:
            flag = entries[given].flag
            raise UsageError(
                f"{entries[name].flag} is of {flag}, which is not given", fix=f"give {flag}, or leave it out"
            )


class Checked:
    """The base of classes of options: a value out of its bounds, or that no table has, is refused.

    Raises:
        UsageError: names the option as the command line does, and says what is allowed.
    """

    def __post_init__(self) -> None:
        for entry in declared(type(self)):
            if entry.part is None:
                require(entry, getattr(self, entry.name), entry.flag)

    def decisive(self) -> dict[str, Any]:
        """What the result depends on, as plain values by name; what lies in files is left to whoever opens them."""
        return {
            entry.name: getattr(self, entry.name)
            for entry in declared(type(self))
            if entry.part is None and entry.option.decides and entry.kind is not Path
        }


def require(entry: Declared, value: Any, name: str) -> None:
    """Raise UsageError where a value is out of its bounds or in no table; `name` is what the user calls the option."""
    said = entry.option
    for one in value if entry.several else (value,):
        if said.bound is not None:
            sides = one if isinstance(one, tuple) else None
            for number in sides or (one,):
                said.bound.require(f"a side of {name}" if sides else name, number)
        if isinstance(one, str) and (said.names or said.also) and one not in (table := said.table()):
            raise UsageError(f"{name} is {one!r}", fix=f"choose one of: {', '.join(table)}")


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return hint
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 else hint


@cache
def _described(names: str) -> Mapping[str, str]:
    """Name → what its help says, by default its description, of every entry of the table at `package.module:TABLE`."""
    entries: Mapping[str, Any] = found(names)
    return {name: getattr(entry, "listed", entry.description) for name, entry in entries.items()}
