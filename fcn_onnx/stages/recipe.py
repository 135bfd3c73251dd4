"""A recipe: everything a run needs to know, from a YAML file and overrides, checked before work starts.

    export:   {arch: resnet50, opset: 12}
    quantize: {data: coco/train2017, limit: 64}
    validate: {data: coco/val2017, max_drop: 1.0}
    output: build/resnet50

Each section's keys are the options of the command of that name. Paths are relative to the working folder.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union

from fcn_onnx.errors import RecipeError, UsageError
from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.jobs.bounds import COUNT, DROP, FRACTION, PERCENT, POSITIVE, SIDE, THREADS
from fcn_onnx.jobs.fields import declared
from fcn_onnx.jobs.reading import is_path, read_text
from fcn_onnx.jobs.typed import shown
from fcn_onnx.stages.yaml_text import read_yaml

T = TypeVar("T")
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class ExportSection:
    """Options of `export`."""

    arch: str
    opset: int = 12
    weights: str = "DEFAULT"
    aux: bool = True
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for side in self.size or ():
            SIDE.require("a side of size", side)


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """What the model may not say itself; `classes` is a file."""

    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    channels: str | None = None
    output_name: str | None = None
    classes: Path | None = None
    multiple_of: int | None = None


@dataclass(frozen=True)
class QuantizeSection(ModelSection):
    """Options of `quantize`, calibration included."""

    data: Path
    annotations: Path | None = None
    images: Path | None = None
    limit: int | None = None
    seed: int = 0
    spread: bool = False
    method: str | None = None
    percentile: float | None = None
    backend: str = "onnxruntime"
    format: str = "auto"
    target: str = "auto"
    per_channel: bool | None = None
    bias_correction: bool = True
    keep_float: tuple[str, ...] = ()
    refine: bool = False
    max_drop: float | None = None

    def __post_init__(self) -> None:
        COUNT.require("limit", self.limit)
        PERCENT.require("percentile", self.percentile)
        DROP.require("max_drop", self.max_drop)


@dataclass(frozen=True)
class ValidateSection(ModelSection):
    """Options of `validate`."""

    data: Path
    annotations: Path | None = None
    images: Path | None = None
    limit: int | None = None
    protocol: str = "torchvision"
    include_calibration_images: bool = False
    max_drop: float | None = None
    min_agreement: float | None = None
    min_speedup: float | None = None
    max_latency: float | None = None
    max_size: float | None = None
    confident: bool = False

    def __post_init__(self) -> None:
        COUNT.require("limit", self.limit)
        DROP.require("max_drop", self.max_drop)
        FRACTION.require("min_agreement", self.min_agreement)
        for key in ("min_speedup", "max_latency", "max_size"):
            POSITIVE.require(key, getattr(self, key))

    @property
    def gates(self) -> Gates:
        """What the int8 model must meet."""
        return Gates(**{entry.name: getattr(self, entry.name) for entry in declared(Gates)})


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
        output: folder of both models and the report.
        scenes: written before anything else, if set.
        threads: of each session; 0 means all cores.
    """

    export: ExportSection
    quantize: QuantizeSection
    validate: ValidateSection
    output: Path = field(default=Path())
    scenes: ScenesSection | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        THREADS.require("threads", self.threads)

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain values, paths as strings."""
        plain: dict[str, Any] = asdict(self, dict_factory=_plain)
        return plain


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


def _build(kind: type[T], value: Any, where: str) -> T:
    """A frozen dataclass from a mapping, every key known and every value of its type."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where} is {shown(value)}, not a mapping", fix="see recipes/ for examples")
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(map(str, value)) - known):
        raise RecipeError(
            f"{where} has the unknown key {shown(unknown[0])}", fix=f"known keys: {', '.join(sorted(known))}"
        )
    hints = typing.get_type_hints(kind)
    built = {key: _convert(hints[key], item, f"{where}: {key}") for key, item in value.items()}
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


def _plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in items}
