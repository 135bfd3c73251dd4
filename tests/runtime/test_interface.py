"""What a user says of a model: what no model can have is refused, by every way in."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from toys import compare, photograph, pixel_classifier, save, write_coco

from fcn_onnx.cli import main
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import RecipeError, UsageError
from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.model.interface import Interface
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.recipe import load_recipe

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"std": (INF, INF, INF)}, "--std inf,inf,inf is not three finite numbers"),
        ({"std": (1.0, NAN, 1.0)}, "--std 1,nan,1 is not"),
        ({"mean": (NAN, 0.0, 0.0)}, "--mean nan,0,0 is not"),
        ({"std": (1.0, 0.0, 1.0)}, "--std 1,0,1 holds a number that is not positive"),
        ({"channels": "GBR"}, "--channels is 'GBR'"),
        ({"multiple_of": 0}, "--multiple-of is 0"),
    ],
)
def test_what_no_model_can_have_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Interface(**values)  # type: ignore[arg-type]
    assert words in str(caught.value)


@pytest.mark.parametrize("option", ["--std=inf,inf,inf", "--std=nan,1,1", "--mean=nan,0,0", "--mean=0,0,inf"])
def test_the_command_line_refuses_it_before_any_work(
    tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(pixel_classifier(), tmp_path / "m.onnx")
    photograph(20, 20, 1).save(tmp_path / "i.png")
    result = CliRunner().invoke(main, ["predict", "m.onnx", "i.png", option])
    assert result.exit_code == 2
    assert "finite" in result.output
    assert not (tmp_path / "predictions").exists()


@pytest.mark.parametrize("bound", [NAN, INF, -1.0])
def test_a_gate_that_bounds_nothing_is_refused(tmp_path: Path, bound: float) -> None:
    images = write_coco(tmp_path / "coco")
    model = save(pixel_classifier(), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="--max-drop"):
        compare(model, model, open_dataset(images), gates=Gates(max_drop=bound))
    with pytest.raises(UsageError, match="--max-drop"):
        quantize(QuantizeOptions(model=model, choice=ImageChoice(images), max_drop=bound, output=tmp_path / "q.onnx"))
    for command in (["validate", "--fp32", str(model), "--int8", str(model)], ["quantize", "--model", str(model)]):
        result = CliRunner().invoke(main, [*command, "--data", str(images), f"--max-drop={bound}"])
        assert result.exit_code == 2, result.output
        assert "--max-drop" in result.output
    assert not (tmp_path / "q.onnx").exists()


@pytest.mark.parametrize("override", ["validate.max_drop=.nan", "quantize.max_drop=.inf", "quantize.std=[.inf, 1, 1]"])
def test_a_recipe_takes_finite_numbers_only(tmp_path: Path, override: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("export: {arch: tiny}\nquantize: {data: a}\nvalidate: {data: b}\n")
    with pytest.raises(RecipeError, match="not a finite number"):
        load_recipe(recipe, [override])


def test_a_recipe_says_what_the_model_does_not(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    names = tmp_path / "names.txt"
    names.write_text("nothing\nroad\n")
    recipe.write_text("export: {arch: tiny}\nquantize: {data: a}\nvalidate: {data: b}\n")
    overrides = ["std=[1, 1, 1]", "mean=[0, 0.5, 0]", "channels=BGR", "output_name=x", "multiple_of=32"]
    loaded = load_recipe(recipe, [f"quantize.{o}" for o in [*overrides, f"classes={names}"]])
    assert loaded.quantize.build().interface == Interface(
        mean=(0, 0.5, 0), std=(1, 1, 1), output_name="x", channels="BGR", classes=("nothing", "road"), multiple_of=32
    )
    assert loaded.validate.build().interface == Interface()


@pytest.mark.parametrize("command", ["calibrate", "quantize", "validate", "predict", "inspect", "sensitivity"])
def test_every_command_that_runs_models_on_images_takes_what_they_do_not_say(command: str) -> None:
    text = CliRunner().invoke(main, [command, "--help"]).output
    for option in ("--mean", "--std", "--channels", "--output-name", "--classes", "--multiple-of"):
        assert option in text


def test_a_multiple_is_recorded_only_where_there_is_one() -> None:
    assert "multiple_of" not in Preprocessing().to_json()
    padded = Preprocessing(multiple_of=32)
    assert padded.to_json()["multiple_of"] == 32
    assert Preprocessing.from_json(padded.to_json()) == padded
    with pytest.raises(ValueError, match="multiples of 0"):
        Preprocessing.from_json(padded.to_json() | {"multiple_of": 0})
