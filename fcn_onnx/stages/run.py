"""A recipe from end to end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.data.sets.discover import annotations_beside
from fcn_onnx.errors import RecipeError
from fcn_onnx.evaluation.result import Validation
from fcn_onnx.jobs.artifact import claim_outputs, write_text
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.quantization.writing import Quantized
from fcn_onnx.stages.naming import fp32_path, int8_path
from fcn_onnx.stages.options import ExportOptions, QuantizeOptions, ValidateOptions
from fcn_onnx.stages.quantize import choose_method, quantize, require_consistent
from fcn_onnx.stages.recipe import Recipe, ScenesSection, Section
from fcn_onnx.stages.recipe_writing import resolved, to_text
from fcn_onnx.stages.validate import report_files, validate


@dataclass(frozen=True)
class RunResult:
    """What `run` made: both models, the comparison and the report's HTML file."""

    fp32: Path
    quantized: Quantized
    validation: Validation
    report: Path


def run(
    recipe: Recipe,
    *,
    force: bool = False,
    save: Path | None = None,
    junit: Path | None = None,
    command: str | None = None,
    progress: Progress = SILENT,
) -> RunResult:
    """Run a recipe from end to end; models that are up to date are not made again.

    Args:
        force: make them again all the same.
        save: gets the recipe with all that was decided.
        junit: gets the run and its gates as JUnit XML.
        command: recorded in the report as the way to repeat it.

    Raises:
        FcnOnnxError: what the stages raise.
    """
    fp32, report = fp32_of(recipe), recipe.output / "report"
    exporting, quantizing, validating = stages_of(recipe, force=force, junit=junit)
    choose_method(quantizing)
    require_consistent(quantizing)
    claim_outputs(outputs_of(recipe) | {"--save": save, "--junit": junit}, inputs_of(recipe))
    if recipe.scenes:
        from fcn_onnx.demo.writer import write_scenes

        write_scenes(recipe.scenes.folder, images=recipe.scenes.images, seed=recipe.scenes.seed, progress=progress)
    if exporting:
        from fcn_onnx.stages.export import export  # needs torch

        export(exporting, progress=progress)
    quantized = quantize(quantizing, progress=progress)
    validation = validate(validating, command=command, progress=progress)
    if save is not None:
        values = resolved(recipe, quantized, validation.document)
        write_text(save, to_text(values, "What `fcn-onnx run` did, with all that it decided."))
    return RunResult(fp32, quantized, validation, report / "report.html")


def stages_of(
    recipe: Recipe, *, force: bool = False, junit: Path | None = None
) -> tuple[ExportOptions | None, QuantizeOptions, ValidateOptions]:
    """The options of each stage; `export`'s are None where the recipe brings its model."""
    fp32 = fp32_of(recipe)
    int8 = recipe.output / int8_path(fp32).name
    return (
        recipe.export.build(output=fp32, force=force) if recipe.export else None,
        recipe.quantize.build(model=fp32, output=int8, threads=recipe.threads, force=force),
        recipe.validate.build(
            fp32=fp32, int8=(int8,), report=recipe.output / "report", threads=recipe.threads, junit=junit
        ),
    )


def outputs_of(recipe: Recipe) -> dict[str, Path | None]:
    """What `run` writes of a recipe beside its scenes, by what it is called."""
    fp32 = fp32_of(recipe)
    models: dict[str, Path | None] = {"the fp32 model": fp32} if recipe.export else {}
    models["the int8 model"] = recipe.output / int8_path(fp32).name
    return models | report_files(recipe.output / "report")


def inputs_of(recipe: Recipe) -> dict[str, Path | None]:
    """Files that `run` reads of a recipe, images aside, by what they are called."""
    files: dict[str, Path | None] = {"model": recipe.model}
    if recipe.export:
        files["export.weights"] = Path(recipe.export.get("weights"))
        if isinstance(classes := recipe.export.get("classes"), str):
            files["export.classes"] = Path(classes)
    for name, section in (("quantize", recipe.quantize), ("validate", recipe.validate)):
        data: Path | None = section.get("data")
        files[f"{name}.annotations"] = section.get("annotations") or (annotations_beside(data) if data else None)
        files |= {f"{name}.{key}": section.get(key) for key in ("images", "classes")}
    return files


def fp32_of(recipe: Recipe) -> Path:
    if recipe.export is None:
        assert recipe.model is not None  # a recipe has one of the two
        return recipe.model
    path = fp32_path(*(recipe.export.get(key) for key in ("arch", "network", "opset")))
    if path is None:
        raise RecipeError("export says neither 'arch' nor 'network'", fix="add the one that is meant")
    return recipe.output / path


def demo_recipe(folder: Path) -> Recipe:
    """The demo: the tiny network on synthetic scenes, all under `folder`. `recipes/demo.yaml` is the same."""
    images = folder / "coco" / "val2017"
    return Recipe(
        export=Section(ExportOptions, {"arch": "tiny"}),
        quantize=Section(QuantizeOptions, {"data": images, "limit": 20}),
        validate=Section(ValidateOptions, {"data": images}),
        output=folder,
        scenes=ScenesSection(folder=folder / "coco", images=60),
    )
