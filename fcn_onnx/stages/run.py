"""A recipe from end to end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fcn_onnx.calibration.thresholds import METHODS
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.sample import read_classes
from fcn_onnx.data.sets.discover import annotations_beside
from fcn_onnx.errors import RecipeError
from fcn_onnx.evaluation.protocols import PROTOCOLS
from fcn_onnx.evaluation.result import Validation
from fcn_onnx.jobs.artifact import claim_outputs
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.interface import Interface
from fcn_onnx.quantization.backends import BACKENDS
from fcn_onnx.quantization.plan import FORMATS, TARGETS
from fcn_onnx.quantization.writing import Quantized
from fcn_onnx.stages.naming import fp32_name, int8_path
from fcn_onnx.stages.options import ExportOptions, QuantizeOptions
from fcn_onnx.stages.quantize import choose_method, quantize, require_consistent
from fcn_onnx.stages.recipe import ExportSection, ModelSection, QuantizeSection, Recipe, ScenesSection, ValidateSection
from fcn_onnx.stages.validate import report_files, validate_and_report


@dataclass(frozen=True)
class RunResult:
    """What `run` made: both models, the comparison and the report's HTML file."""

    fp32: Path
    quantized: Quantized
    validation: Validation
    report: Path


def run(recipe: Recipe, *, force: bool = False, command: str | None = None, progress: Progress = SILENT) -> RunResult:
    """Run a recipe from end to end; models that are up to date are not made again.

    Raises:
        RecipeError: a name that no table has, before any work.
        FcnOnnxError: what the stages raise.
    """
    from fcn_onnx.stages.export import export  # needs torch only when called

    _require_known_names(recipe)
    chosen = _quantize_options(recipe, force=force)
    choose_method(chosen)
    require_consistent(chosen)
    scored_as = _interface(recipe.validate)
    claim_outputs(outputs_of(recipe), inputs_of(recipe))
    if recipe.scenes:
        from fcn_onnx.demo.writer import write_scenes

        write_scenes(recipe.scenes.folder, images=recipe.scenes.images, seed=recipe.scenes.seed, progress=progress)
    section = recipe.export
    exported = export(
        ExportOptions(
            arch=section.arch,
            opset=section.opset,
            weights=section.weights,
            aux=section.aux,
            size=section.size,
            output=_fp32(recipe),
            force=force,
        ),
        progress=progress,
    )
    quantized = quantize(replace(chosen, model=exported.path), progress=progress)
    scored = recipe.validate
    report = recipe.output / "report"
    validation = validate_and_report(
        exported.path,
        [quantized.path],
        scored.data,
        report=report,
        annotations=scored.annotations,
        protocol=scored.protocol,
        images=scored.images,
        limit=scored.limit,
        include_calibration_images=scored.include_calibration_images,
        gates=scored.gates,
        interface=scored_as,
        threads=recipe.threads,
        command=command,
        progress=progress,
    )
    return RunResult(exported.path, quantized, validation, report / "report.html")


def _quantize_options(recipe: Recipe, *, force: bool) -> QuantizeOptions:
    """What the recipe's section says, for the model that is yet to be exported."""
    section = recipe.quantize
    return QuantizeOptions(
        choice=ImageChoice(
            section.data, section.annotations, section.images, section.limit, section.seed, section.spread
        ),
        method=section.method,
        percentile=section.percentile,
        backend=section.backend,
        format=section.format,
        target=section.target,
        per_channel=section.per_channel,
        bias_correction=section.bias_correction,
        keep_float=section.keep_float,
        refine=section.refine,
        max_drop=section.max_drop,
        output=recipe.output / int8_path(_fp32(recipe)).name,
        interface=_interface(section),
        threads=recipe.threads,
        force=force,
    )


def outputs_of(recipe: Recipe) -> dict[str, Path]:
    """What `run` writes of a recipe beside its scenes, by what it is called."""
    fp32 = _fp32(recipe)
    models = {"the fp32 model": fp32, "the int8 model": recipe.output / int8_path(fp32).name}
    return models | report_files(recipe.output / "report")


def inputs_of(recipe: Recipe) -> dict[str, Path | None]:
    """Files that `run` reads of a recipe, images aside, by what they are called."""
    sections: dict[str, QuantizeSection | ValidateSection] = {"quantize": recipe.quantize, "validate": recipe.validate}
    files: dict[str, Path | None] = {"export.weights": Path(recipe.export.weights)}
    for name, section in sections.items():
        files[f"{name}.annotations"] = section.annotations or annotations_beside(section.data)
        files |= {f"{name}.images": section.images, f"{name}.classes": section.classes}
    return files


def _fp32(recipe: Recipe) -> Path:
    return recipe.output / fp32_name(recipe.export.arch, recipe.export.opset)


def demo_recipe(folder: Path) -> Recipe:
    """The demo: the tiny network on synthetic scenes, all under `folder`. `recipes/demo.yaml` is the same."""
    images = folder / "coco" / "val2017"
    return Recipe(
        export=ExportSection(arch="tiny"),
        quantize=QuantizeSection(data=images, limit=20),
        validate=ValidateSection(data=images),
        output=folder,
        scenes=ScenesSection(folder=folder / "coco", images=60),
    )


def _interface(section: ModelSection) -> Interface:
    """What a section says of the model. Raises UsageError on what no model can have."""
    names = read_classes(section.classes) if section.classes else None
    return Interface(section.mean, section.std, section.output_name, section.channels, names, section.multiple_of)


def _require_known_names(recipe: Recipe) -> None:
    from fcn_onnx.networks.families import ARCHITECTURES

    for key, name, table in (
        ("export.arch", recipe.export.arch, ARCHITECTURES),
        ("quantize.method", recipe.quantize.method, (None, *METHODS)),
        ("quantize.backend", recipe.quantize.backend, BACKENDS),
        ("quantize.format", recipe.quantize.format, FORMATS),
        ("quantize.target", recipe.quantize.target, ("auto", *TARGETS)),
        ("validate.protocol", recipe.validate.protocol, PROTOCOLS),
    ):
        if name not in table:
            raise RecipeError(f"{key} is {name!r}", fix=f"choose one of: {', '.join(filter(None, table))}")
