"""Recipes: what is accepted, what is refused and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcn_onnx.errors import RecipeError
from fcn_onnx.recipe import load_recipe

REPOSITORY = Path(__file__).parents[1]
MINIMAL = "export: {arch: tiny}\nquantize: {data: a}\nvalidate: {data: b}\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_defaults_and_overrides(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, MINIMAL),
        ["export.opset=13", "validate.max_drop=1", "output=out", "export.size=[64, 96]"],
    )
    assert (recipe.export.opset, recipe.validate.max_drop, recipe.output) == (13, 1.0, Path("out"))
    assert recipe.export.size == (64, 96)
    assert (recipe.quantize.method, recipe.quantize.limit, recipe.scenes) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("export: {arch: tiny", [], "not YAML"),
        ("- a\n- b\n", [], "not a mapping"),
        (MINIMAL + "extra: 1\n", [], "unknown key 'extra'"),
        ("export: {arch: tiny}\n", [], "quantize"),
        (MINIMAL, ["export.opset=twelve"], "opset is 'twelve', not int"),
        (MINIMAL, ["export.aux=1"], "aux is 1, not bool"),
        (MINIMAL, ["nothing"], "cannot read the override"),
        (MINIMAL, ["export.arch.name=x"], "not a section"),
        (MINIMAL, ["quantize=3"], "not a mapping"),
        ("!!python/object/apply:os.system [true]", [], "not YAML"),
    ],
)
def test_bad_recipes_are_refused(tmp_path: Path, text: str, overrides: list[str], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, text), overrides)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_of_the_repository_load_and_say_their_command_and_result(path: Path) -> None:
    load_recipe(path)
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("fcn-onnx run" in line or "fcn-onnx demo" in line for line in head)
    assert any("mIoU" in line for line in head)


def test_demo_recipe_is_the_command_demo() -> None:
    from fcn_onnx.pipeline import demo_recipe

    assert load_recipe(REPOSITORY / "recipes" / "demo.yaml") == demo_recipe(Path("demo"))
