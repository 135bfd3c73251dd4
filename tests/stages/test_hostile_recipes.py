"""Recipes that would take the machine's memory, or that hold what no option can be."""

from __future__ import annotations

from pathlib import Path

import pytest
from limits import refused

from fcn_onnx.errors import RecipeError
from fcn_onnx.stages.recipe import load_recipe
from fcn_onnx.stages.yaml_text import MAX_VALUES, read_yaml

MINIMAL = "export: {arch: tiny}\nquantize: {data: a}\nvalidate: {data: b}\n"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("where", ["file", "override"])
def test_an_alias_bomb_is_refused(tmp_path: Path, where: str) -> None:
    """393 bytes that stand for 10⁹ values, which an error message would write out."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(BOMB if where == "file" else MINIMAL)
    override = "quantize.data={" + BOMB.replace("\n", ", ") + "}"
    options = ["--set", override] if where == "override" else []
    assert "aliases" in refused("run", recipe, *options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [*a]", "what it is in"),
        ("&a {b: *a}", "what it is in"),
        ("[" * 5000, "nested too deep"),
        ("{a: " * 5000, "nested too deep"),
        ("a: \0", "special characters"),
        ("2001-99-99", "month"),
        ("1" * 5000, "digits"),
        ("!!binary é", "ascii"),
        ("!!python/object/apply:os.system [true]", "python/object"),
        ("a: *nobody", "undefined alias"),
    ],
)
def test_what_yaml_cannot_be_read_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_yaml(text)


def test_aliases_of_a_few_values_are_fine() -> None:
    assert read_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    assert read_yaml("") is None
    few = "&a [" + "1," * 90 + "]"
    assert len(read_yaml(f"[{few}" + ", *a" * 100 + "]")) == 101
    assert MAX_VALUES >= 9_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + 'output: "a\\0b"\n', "output is"),
        (MINIMAL + 'output: "\\uD800"\n', "output is"),
        (MINIMAL.replace("data: a", 'data: "a\\0"'), "data is"),
        (MINIMAL + "threads: 0x" + "f" * 5000, "huge int"),
        (MINIMAL.replace("data: b", "data: b, max_drop: 0x" + "f" * 5000), "huge int"),
        (MINIMAL + "threads: [" + "[" * 150 + "]" * 150 + "]", "threads is [["),
        (MINIMAL + "? [a, b]\n: 1\n", "unhashable"),
        (MINIMAL + "? !!python/tuple [a]\n: 1\n", "not YAML"),
        (MINIMAL + "null: 1\n", "unknown key 'None'"),
        (MINIMAL + "x" * 500 + ": 1\n", "unknown key"),
        (MINIMAL + "threads: 2001-01-01\n", "threads is"),
        (MINIMAL.replace("tiny", '"ti\\0ny"'), "arch is"),
    ],
)
def test_values_that_no_option_can_have_are_refused_in_a_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \xe9", b"\0" * 100, b"x" * (1 << 21)])
def test_bytes_that_are_no_recipe_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError):
        load_recipe(path)


def test_an_output_folder_that_is_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL + f"output: {tmp_path / 'taken'}\n")
    assert "taken" in refused("run", path)
    assert (tmp_path / "taken").read_text() == "mine"
