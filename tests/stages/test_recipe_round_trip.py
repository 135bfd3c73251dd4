"""Every option that a recipe has: as options, written as YAML, and read back as the same options."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.bounds import Bound
from fcn_onnx.jobs.fields import Declared, assemble, declared
from fcn_onnx.stages import options as stages
from fcn_onnx.stages.recipe import _section
from fcn_onnx.stages.yaml_text import read_yaml

STAGES = [kind for name, kind in vars(stages).items() if name.endswith("Options")]
MOST = 10**6
WORDS = st.text("aé1 -:#'\"{[&*!%@,.~_/\\", min_size=1, max_size=12).filter(lambda text: Path(text).name != "")


def numbers(kind: type, bound: Bound | None) -> st.SearchStrategy[Any]:
    """Of a type, within a bound."""
    least, most = (bound.least, min(bound.most, MOST)) if bound else (-MOST, MOST)
    if kind is int:
        return st.integers(int(least) + bool(bound and bound.above), int(most))
    return st.floats(least, most, exclude_min=bool(bound and bound.above))


def values(entry: Declared, kind: Any) -> st.SearchStrategy[Any]:
    """What an option of this type may be."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return st.one_of(values(entry, inner) for inner in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if inner[1:] == (Ellipsis,):
            return st.lists(values(entry, inner[0]), max_size=3).map(tuple)
        return st.tuples(*(values(entry, one) for one in inner))
    if kind is str:
        table = entry.option.table()
        return st.sampled_from(sorted(table)) if table else WORDS
    if kind in (int, float):
        return numbers(kind, entry.option.bound)
    return {Path: WORDS.map(Path), bool: st.booleans(), type(None): st.none()}[kind]


def sections(kind: type) -> st.SearchStrategy[dict[str, Any]]:
    """Some of a stage's options, and all that a recipe must have."""
    entries = [entry for entry in declared(kind) if entry.option.in_recipe and not entry.option.reads]
    wanted = {entry.name: values(entry, entry.hint) for entry in entries}
    needed = {entry.name for entry in entries if entry.required}
    return st.fixed_dictionaries(
        {name: some.filter(lambda value: value is not None) for name, some in wanted.items() if name in needed},
        optional={name: some for name, some in wanted.items() if name not in needed},
    )


def plain(value: Any) -> Any:
    """As YAML has it."""
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def built(build: Callable[[], Any]) -> Any:
    """The options, or why there are none."""
    try:
        return build()
    except UsageError as contradiction:
        return str(contradiction)


@pytest.mark.parametrize("kind", STAGES)
@given(data=st.data())
def test_what_a_recipe_says_is_what_the_stage_gets(kind: type, data: st.DataObject) -> None:
    asked = data.draw(sections(kind))
    text = yaml.safe_dump({name: plain(value) for name, value in asked.items()}, allow_unicode=True)
    section = _section(kind, read_yaml(text), "here")
    assert section.values == asked
    assert built(section.build) == built(lambda: assemble(kind, asked))


def test_every_option_of_a_recipe_is_tried() -> None:
    """One of a type that has no strategy would fail above; one that is a file to be read is left to its stage."""
    read = {entry.name for kind in STAGES for entry in declared(kind) if entry.option.reads}
    assert read <= {"classes"}
    assert len(STAGES) >= 7
