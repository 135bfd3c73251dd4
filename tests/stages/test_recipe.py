"""Recipes: what is accepted, what is refused and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcn_onnx.errors import RecipeError, UsageError
from fcn_onnx.stages.recipe import load_recipe
from fcn_onnx.stages.run import outputs_of, run

REPOSITORY = Path(__file__).parents[2]
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
    assert (recipe.export.get("opset"), recipe.validate.get("max_drop"), recipe.output) == (13, 1.0, Path("out"))
    assert recipe.export.get("size") == (64, 96)
    assert (recipe.quantize.get("method"), recipe.quantize.get("limit"), recipe.scenes) == (None, None, None)


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
        (MINIMAL, ["quantize.limit=-1"], "quantize: limit is -1, not a number 1 or more"),
        (MINIMAL, ["quantize.limit=0"], "limit is 0"),
        (MINIMAL, ["quantize.percentile=0"], "percentile is 0.0, not a number in (0, 100]"),
        (MINIMAL, ["quantize.percentile=100.1"], "percentile is 100.1"),
        (MINIMAL, ["quantize.max_drop=-5"], "quantize: max_drop is -5.0, not a number 0 or more"),
        (MINIMAL, ["validate.max_drop=-5"], "validate: max_drop is -5.0"),
        (MINIMAL, ["validate.max_drop=.nan"], "not a finite number"),
        (MINIMAL, ["validate.max_drop=.inf"], "not a finite number"),
        (MINIMAL, ["validate.max_drop=1" + 400 * "0"], "not a finite number"),
        (MINIMAL, ["validate.limit=-1"], "validate: limit is -1"),
        (MINIMAL, ["threads=-4"], "threads is -4, not a number in [0, 1024]"),
        (MINIMAL, ["threads=99999999999"], "threads is 99999999999"),
        (MINIMAL, ["export.size=[0, 64]"], "export: a side of size is 0"),
        (MINIMAL, ["scenes.folder=x", "scenes.images=0"], "scenes: images is 0"),
        ("export: {arch: tiny}\nquantize: {limit: 3}\nvalidate: {data: b}\n", [], "quantize does not say 'data'"),
        ("model: a.onnx\nquantize: {limit: 3}\nvalidate: {data: b}\n", [], "'data', and 'limit' is of images"),
        ("quantize: {data: a}\nvalidate: {data: b}\n", [], "neither 'export' nor 'model'"),
        (MINIMAL, ["model=a.onnx"], "both 'export' and 'model'"),
        (MINIMAL, ["quantize.method=guess"], "method is 'guess'"),
        (MINIMAL, ["export.arch=vgg"], "arch is 'vgg'"),
        (MINIMAL, ["quantize.output=x"], "unknown key 'output'"),
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


def test_demo_recipe_is_the_command_demo() -> None:
    from fcn_onnx.stages.run import demo_recipe

    assert load_recipe(REPOSITORY / "recipes" / "demo.yaml") == demo_recipe(Path("demo"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["quantize.images=list.txt", "quantize.limit=3"], "--images contradicts"),
        (["quantize.percentile=99"], "does not go with --method mse"),
        (["quantize.std=[1, 0, 1]"], "--std"),
        (["quantize.backend=neural-compressor", "quantize.percentile=99"], "a percentile of its own"),
        (["quantize.backend=neural-compressor", "quantize.refine=true"], "leave --refine out"),
    ],
)
def test_what_contradicts_itself_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(write(tmp_path, MINIMAL), overrides)
    with pytest.raises(UsageError) as caught:
        run(recipe)
    assert words in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


def test_a_recipe_names_its_network(tmp_path: Path) -> None:
    """By architecture, by another name of one, or by a factory; a file alone is looked into by `export` only."""
    path = tmp_path / "recipe.yaml"
    for said, name in (("arch: fcn_resnet50", "resnet50"), ('network: "my.unets:build"', "build")):
        path.write_text(f"export: {{{said}}}\nquantize: {{data: a}}\nvalidate: {{data: a}}\noutput: out\n")
        assert outputs_of(load_recipe(path))["the fp32 model"] == Path(f"out/fcn-{name}-12.onnx")
    path.write_text("export: {weights: w.pth}\nquantize: {data: a}\nvalidate: {data: a}\n")
    with pytest.raises(RecipeError, match="neither 'arch' nor 'network'"):
        outputs_of(load_recipe(path))
