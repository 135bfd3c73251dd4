"""The recipes that are published here: each can be read, its parts fit together, and it says what it is to reach."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import ti_small
from toys import write_coco, write_voc
from trees import write_ade20k, write_cityscapes

from fcn_onnx.data.sample import Dataset
from fcn_onnx.evaluation.protocols import get_protocol
from fcn_onnx.networks.families import get_architecture
from fcn_onnx.networks.names import means
from fcn_onnx.networks.tracing import legal_size
from fcn_onnx.stages.options import ValidateOptions
from fcn_onnx.stages.quantize import choose_method, require_consistent
from fcn_onnx.stages.recipe import Recipe, load_recipe
from fcn_onnx.stages.run import run

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))
HERE = ("Measured", "Counted here", "Not measured here")


def named(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


EACH = pytest.mark.parametrize("path", RECIPES, ids=named)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set of every kind, where the recipes have theirs."""
    root = tmp_path_factory.mktemp("trees")
    write_voc(root)
    write_cityscapes(root / "cityscapes")
    write_ade20k(root / "ADEChallengeData2016")
    coco = write_coco(root / "coco")
    shutil.copytree(coco, coco.with_name("train2017"))
    annotations = root / "coco" / "annotations"
    shutil.copy(annotations / "instances_val2017.json", annotations / "instances_train2017.json")
    shutil.copytree(root / "coco", root / "demo" / "coco")
    return root


@pytest.fixture
def inside(trees: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(trees)
    yield trees
    shutil.rmtree(trees / "build", ignore_errors=True)


@EACH
def test_its_head_says_its_command_and_what_was_published_and_measured(path: Path) -> None:
    lines = path.read_text().splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    assert f"fcn-onnx run recipes/{named(path)}.yaml" in head
    assert "mIoU" in head
    assert any(word in head for word in HERE)
    assert "Published" in head or path.parent == FOLDER
    assert max(map(len, lines)) <= 120


def classes_of(recipe: Recipe) -> tuple[str, ...]:
    """Of a recipe's network; () where its file says them."""
    if recipe.export is None:
        return ()
    architecture = get_architecture(recipe.export.get("arch"))
    number = recipe.export.get("classes") or len(architecture.classes)
    return next(names for names in (architecture.classes, *architecture.other_classes) if means(number, len(names)))


def opened(recipe: Recipe, classes: tuple[str, ...]) -> Dataset:
    options: ValidateOptions = recipe.validate.build(fp32=Path("fp32.onnx"))
    return options.choice.open(classes, len(classes) or None)


@EACH
def test_its_network_data_and_protocol_fit(path: Path, inside: Path) -> None:
    recipe = load_recipe(path)
    classes = classes_of(recipe)
    dataset = opened(recipe, classes)
    assert dataset.labelled
    assert classes in ((), dataset.label_space.names)
    protocol = recipe.validate.get("protocol")
    if recipe.export is not None:
        architecture = get_architecture(recipe.export.get("arch"))
        protocol = protocol or architecture.protocol
        if size := recipe.export.get("size"):
            assert legal_size(size, architecture.preprocessing.multiple_of) == size
        recipe.export.build()
    get_protocol(protocol, dataset.label_space).of_kind(dataset.kind)
    quantizing = recipe.quantize.build(model=Path("fp32.onnx"))
    choose_method(quantizing)
    require_consistent(quantizing)
    if quantizing.choice:
        assert quantizing.choice.open_images().samples


def test_no_two_write_to_one_place() -> None:
    assert len({load_recipe(path).output for path in RECIPES}) == len(RECIPES)


def test_it_runs_with_random_weights_on_small_images(inside: Path) -> None:
    """From torch to a report under the family's own protocol, and nothing else needs to be said."""
    path = FOLDER / "ti" / "deeplabv3plus-mobilenetv2-cityscapes.yaml"
    result = run(load_recipe(path, ["export.weights=none", "export.size=[32, 64]"]))
    assert result.validation.report["protocol"] == "ti"
    assert result.quantized.path.is_file()
    assert result.report.is_file()


def test_a_model_trained_for_int8_runs_without_images_to_calibrate_on(inside: Path) -> None:
    model = ti_small.export(ti_small.Small().eval(), inside / "small_qat.onnx")
    labels = f"output_name='{onnx.load(model).graph.output[-1].name}'"
    path = FOLDER / "ti" / "unet-aspp-mobilenetv2-cityscapes-qat.yaml"
    recipe = load_recipe(
        path, ["model=small_qat.onnx", f"quantize.{labels}", f"validate.{labels}", "validate.data=coco/val2017"]
    )
    result = run(recipe)
    assert model.is_file()
    assert result.quantized.path == Path("build/ti-unet-aspp-mobilenetv2-cityscapes-qat/small_qat-int8.onnx")
    assert result.validation.report["protocol"] == "ti"
