"""A recipe: everything a run needs to know, from a YAML file and overrides, checked before work starts.

    export:   {arch: resnet50, opset: 12}
    quantize: {data: coco/train2017, limit: 64}
    validate: {data: coco/val2017, max_drop: 1.0}
    output: build/resnet50

Each section's keys are the options of the command of that name. In place of `export`, `model: FILE` names a model that
is there already. Paths are relative to the working folder.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, Union

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.errors import RecipeError, UsageError
from fcn_onnx.jobs.bounds import COUNT, THREADS
from fcn_onnx.jobs.fields import assemble, declared, require
from fcn_onnx.jobs.reading import is_path, read_text
from fcn_onnx.jobs.typed import shown
from fcn_onnx.stages.options import ExportOptions, QuantizeOptions, ValidateOptions
from fcn_onnx.stages.yaml_text import read_yaml

T = TypeVar("T")
Stage = TypeVar("Stage")
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Section(Generic[Stage]):
    """What a recipe says of a stage.

    Attributes:
        options: the stage's class of options.
        values: of those that are given, by name; files that are to be read are still paths.
    """

    options: type[Stage]
    values: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """The value of an option, given or by default."""
        entry = next(entry for entry in declared(self.options) if entry.name == name)
        return self.values.get(name, entry.default)

    def build(self, **others: Any) -> Stage:
        """The stage's options, with `others` beside what the recipe says.

        Raises:
            UsageError: what contradicts itself, or a file that cannot be read.
        """
        return assemble(self.options, {**self.values, **others})


@dataclass(frozen=True)
class ScenesSection:
    """Synthetic scenes to write first, for a run without data of its own.

    Attributes:
        folder: gets `val2017/` and `annotations/`.
        images: how many.
    """

    folder: Path
    images: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        COUNT.require("images", self.images)


@dataclass(frozen=True)
class Recipe:
    """One run from end to end.

    Attributes:
        export: how the fp32 model is made, or
        model: where it lies.
        output: folder of the models that are made, and of the report.
        scenes: written before anything else, if set.
        threads: of each session; 0 means all cores.
    """

    quantize: Section[QuantizeOptions]
    validate: Section[ValidateOptions]
    export: Section[ExportOptions] | None = None
    model: Path | None = None
    output: Path = field(default=Path())
    scenes: ScenesSection | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        THREADS.require("threads", self.threads)
        if (self.export is None) == (self.model is None):
            said = "neither 'export' nor 'model'" if self.export is None else "both 'export' and 'model'"
            raise UsageError(f"the recipe has {said}", fix="say how the fp32 model is made, or where it lies")
        missing = self.quantize.get("data") is None
        images = [entry.name for entry in declared(ImageChoice) if entry.name in self.quantize.values]
        if missing and (images or self.export is not None):
            raise UsageError(
                "quantize does not say 'data'" + (f", and {images[0]!r} is of images" if images else ""),
                fix="name a folder of images; only a model that brings its ranges (TI's *_qat.onnx) needs none",
            )


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and apply `section.key=value` overrides, whose values are YAML too.

    Raises:
        RecipeError: no such file, not YAML, an unknown or missing key, or a value of another type or out of bounds.
    """
    if not path.is_file():
        raise RecipeError(f"no such recipe: {path}", fix="name a YAML file; recipes/ has examples")
    try:
        value = read_yaml(read_text(path, MAX_BYTES))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} is not YAML: {error}", fix="correct the file") from error
    if not isinstance(value, dict):
        raise RecipeError(f"{path} is not a mapping of sections", fix="see recipes/ for examples")
    for override in overrides:
        _apply(value, override)
    return _build(Recipe, value, str(path))


def _apply(value: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    *sections, last = key.split(".")
    if not separator or not all([*sections, last]):
        raise RecipeError(f"cannot read the override {override!r}", fix="write section.key=value")
    for section in sections:
        inner = value.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{section} in the override {override!r} is not a section", fix="check its name")
        value = inner
    try:
        value[last] = read_yaml(text)
    except ValueError as error:
        raise RecipeError(f"the value of {override!r} is not YAML: {error}", fix="quote it") from error


def _section(options: type[Stage], value: Any, where: str) -> Section[Stage]:
    """What is said of a stage, every key one of its options and every value what that may be."""
    entries = {entry.name: entry for entry in declared(options) if entry.option.in_recipe}
    given = _mapping(value, entries, where)
    missing = [name for name, entry in entries.items() if entry.required and name not in given]
    if missing:
        raise RecipeError(f"{where} does not say {missing[0]!r}", fix="add the missing key")
    values = {}
    for key, item in given.items():
        values[key] = _convert(entries[key].hint, item, f"{where}: {key}")
        try:
            require(entries[key], values[key], key)
        except UsageError as error:
            raise RecipeError(f"{where}: {error.what}", fix=error.fix) from error
    return Section(options, values)


def _mapping(value: Any, known: Collection[str], where: str) -> Mapping[str, Any]:
    """`value` as a mapping with no key but those known."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where} is {shown(value)}, not a mapping", fix="see recipes/ for examples")
    if unknown := sorted(set(map(str, value)) - set(known)):
        raise RecipeError(
            f"{where} has the unknown key {shown(unknown[0])}", fix=f"known keys: {', '.join(sorted(known))}"
        )
    return value


def _build(kind: type[T], value: Any, where: str) -> T:
    """A frozen dataclass from a mapping, every key known and every value of its type."""
    given = _mapping(value, {f.name for f in fields(kind)}, where)  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    built = {key: _convert(hints[key], item, f"{where}: {key}") for key, item in given.items()}
    try:
        return kind(**built)
    except TypeError as error:
        raise RecipeError(f"{where}: {error}".replace("__init__() ", ""), fix="add the missing key") from error
    except UsageError as error:
        raise RecipeError(f"{where}: {error.what}", fix=error.fix) from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if option is type(None) and value is None:
            return None
        if typing.get_origin(option) is Section:
            return _section(typing.get_args(option)[0], value, where)
        if is_dataclass(option) and value is not None:
            return _build(typing.cast(type[Any], option), value, where)
        if isinstance(value, str) and not is_path(value):
            continue
        if option is Path and isinstance(value, str):
            return Path(value)
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            if not -sys.float_info.max <= value <= sys.float_info.max:
                raise RecipeError(f"{where} is {shown(value)}, not a finite number", fix="correct the value")
            return float(value)
        if isinstance(option, type) and type(value) is option:
            return value
        if typing.get_origin(option) is tuple and isinstance(value, list):
            inner = typing.get_args(option)
            if inner[-1] is ...:
                inner = inner[:1] * len(value)
            if len(inner) == len(value):
                return tuple(_convert(h, v, where) for h, v in zip(inner, value, strict=True))
    names = " or ".join("null" if o is type(None) else getattr(o, "__name__", str(o)) for o in options)
    raise RecipeError(f"{where} is {shown(value)}, not {names}", fix="correct the value")
