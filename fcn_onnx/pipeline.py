"""Stages put together: data opened, images drawn, one stage's result handed to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.artifact import digest_file, digest_json, require_writable, versions, write_text
from fcn_onnx.calibration import DEFAULT_METHOD, METHODS, Calibration, Observation, calibrate, get_method
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.discover import open_dataset, require_labels
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.selection import read_list
from fcn_onnx.errors import RecipeError, UsageError
from fcn_onnx.evaluation import PROTOCOLS, Validation, validate
from fcn_onnx.naming import fp32_name, int8_path
from fcn_onnx.progress import SILENT, Progress
from fcn_onnx.quantization import BACKENDS, FORMATS, TARGETS, Quantized, make_plan, up_to_date, write_int8
from fcn_onnx.ranges import RangeTable
from fcn_onnx.recipe import ExportSection, QuantizeSection, Recipe, ScenesSection, ValidateSection
from fcn_onnx.report import TensorPlot, to_histogram_page, write_report
from fcn_onnx.runtime import load_model, measured_cpu
from fcn_onnx.segmenter import Interface, preprocessing_of


@dataclass(frozen=True)
class RunResult:
    """What `run` made: both models, the comparison and the report's HTML file."""

    fp32: Path
    quantized: Quantized
    validation: Validation
    report: Path


def calibrate_data(
    model: Path,
    choice: ImageChoice,
    *,
    method: str = DEFAULT_METHOD,
    percentile: float | None = None,
    output: Path | None = None,
    histograms: Path | None = None,
    skip_bad_images: bool = False,
    workers: int = 1,
    interface: Interface = Interface(),
    threads: int = 0,
    progress: Progress = SILENT,
) -> Calibration:
    """Choose images and calibrate; the arguments are those of `fcn-onnx calibrate`.

    The table goes to `output`, by default `calibration/<model>-<method>.json`.
    """
    preprocessing = preprocessing_of(load_model(model), str(model), interface)
    samples = choice.choose(progress)
    if output is None:
        output = Path("calibration") / f"{model.stem}-{method}.json"
        output.parent.mkdir(exist_ok=True)
    return calibrate(
        model,
        samples,
        method=method,
        percentile=percentile,
        output=output,
        histograms=histograms,
        skip_bad_images=skip_bad_images,
        workers=workers,
        journal=_journal(output),
        preprocessing=preprocessing,
        threads=threads,
        progress=progress,
    )


def quantize(
    model: Path,
    choice: ImageChoice | None = None,
    *,
    ranges: Path | None = None,
    method: str = DEFAULT_METHOD,
    percentile: float | None = None,
    backend: str = "onnxruntime",
    quant_format: str = "auto",
    target: str = "auto",
    per_channel: bool | None = None,
    bias_correction: bool = True,
    output: Path | None = None,
    interface: Interface = Interface(),
    threads: int = 0,
    force: bool = False,
    progress: Progress = SILENT,
) -> Quantized:
    """Quantize `model` to int8, with ranges observed on images or read from a table.

    Args:
        model: fp32 ONNX file.
        choice: the images to calibrate on; not needed with `ranges`.
        ranges: a table that `calibrate` wrote.
        method: threshold method, a name in `METHODS`.
        percentile: for the method of that name, instead of its default; percent.
        backend, quant_format, target: names in `BACKENDS`, `FORMATS`, `TARGETS`.
        bias_correction: take what rounding the weights adds to the means off the biases.
        per_channel: weight scales; None means per channel wherever it is legal.
        output: default `<model>-int8.onnx` in the working folder.
        interface: of the model, where it does not say it itself.
        threads: of the calibration's session; 0 means all cores.
        force: redo it though nothing has changed.

    Raises:
        UsageError, ModelError, DatasetError, ImageError, TableError: see the message.
        QuantizationError: the int8 model cannot be written, loaded or run.
    """
    output = output or int8_path(model)
    require_writable(output)
    if (choice is None) == (ranges is None):
        raise UsageError(
            "ranges come either from images (--data) or from a table (--ranges)",
            fix="give exactly one of the two",
        )
    proto = load_model(model)
    plan = make_plan(
        proto,
        measured_cpu(),
        quant_format=quant_format,
        target=target,
        per_channel=per_channel,
        bias_correction=bias_correction,
    )
    for line in [f"plan: {plan}", *plan.reasons]:
        progress.note(line)
    preprocessing = preprocessing_of(proto, str(model), interface)
    source = digest_file(model)
    if ranges is not None:
        table = RangeTable.load(ranges)
        table.require_made_for(source, preprocessing.to_json())
        observed: Mapping[str, str] = table.images
        how: Mapping[str, object] = {"ranges": digest_file(ranges)}
        samples: Sequence[Sample] = ()
    else:
        assert choice is not None
        samples = choice.choose(progress)
        observed = {sample.name: digest_file(sample.path) for sample in samples}
        how = {"method": get_method(method, percentile).name, "images": dict(observed)}
    job = digest_json(
        {
            "stage": "quantize",
            "source": source,
            "plan": plan.to_json(),
            "backend": backend,
            "preprocessing": preprocessing.to_json(),
            "versions": versions(),
            **how,
        }
    )
    if not force and (existing := up_to_date(output, job, model, plan)):
        return existing
    if ranges is None:
        table = calibrate(
            model,
            samples,
            method=method,
            percentile=percentile,
            journal=_journal(output),
            preprocessing=preprocessing,
            threads=threads,
            progress=progress,
        ).table
    return write_int8(model, table, plan, output, backend=backend, job=job, calibration_images=observed)


def validate_and_report(
    fp32: Path,
    int8: Path,
    data: Path,
    *,
    report: Path = Path("report"),
    annotations: Path | None = None,
    protocol: str = "torchvision",
    images: Path | None = None,
    limit: int | None = None,
    include_calibration_images: bool = False,
    max_drop: float | None = None,
    interface: Interface = Interface(),
    threads: int = 0,
    command: str | None = None,
    progress: Progress = SILENT,
) -> Validation:
    """Open `data`, validate, and write the report; the arguments are those of `fcn-onnx validate`."""
    dataset = open_dataset(data, annotations=annotations)
    require_labels(dataset)
    require_writable(_nearest_folder(report) / "report.json")
    chosen = read_list(images, dataset) if images else None
    result = validate(
        fp32,
        int8,
        dataset,
        protocol=protocol,
        images=chosen,
        limit=limit,
        include_calibration_images=include_calibration_images,
        max_drop=max_drop,
        interface=interface,
        threads=threads,
        journal=_journal(report),
        command=command,
        progress=progress,
    )
    write_report(result.report, report)
    return result


def run(recipe: Recipe, *, force: bool = False, command: str | None = None, progress: Progress = SILENT) -> RunResult:
    """Run a recipe from end to end; models that are up to date are not made again.

    Raises:
        RecipeError: a name that no table has, before any work.
        FcnOnnxError: what the stages raise.
    """
    from fcn_onnx.exporter import export  # needs torch only when called

    _require_known_names(recipe)
    recipe.output.mkdir(parents=True, exist_ok=True)
    if recipe.scenes:
        from fcn_onnx.data.scenes import write_scenes

        write_scenes(recipe.scenes.folder, images=recipe.scenes.images, seed=recipe.scenes.seed, progress=progress)
    section = recipe.export
    exported = export(
        section.arch,
        opset=section.opset,
        weights=section.weights,
        aux=section.aux,
        size=section.size,
        output=recipe.output / fp32_name(section.arch, section.opset),
        force=force,
        progress=progress,
    )
    chosen = recipe.quantize
    quantized = quantize(
        exported.path,
        ImageChoice(chosen.data, chosen.annotations, chosen.images, chosen.limit, chosen.seed, chosen.spread),
        method=chosen.method,
        percentile=chosen.percentile,
        backend=chosen.backend,
        quant_format=chosen.format,
        target=chosen.target,
        per_channel=chosen.per_channel,
        output=recipe.output / int8_path(exported.path).name,
        threads=recipe.threads,
        force=force,
        progress=progress,
    )
    scored = recipe.validate
    report = recipe.output / "report"
    validation = validate_and_report(
        exported.path,
        quantized.path,
        scored.data,
        report=report,
        annotations=scored.annotations,
        protocol=scored.protocol,
        images=scored.images,
        limit=scored.limit,
        include_calibration_images=scored.include_calibration_images,
        max_drop=scored.max_drop,
        threads=recipe.threads,
        command=command,
        progress=progress,
    )
    return RunResult(exported.path, quantized, validation, report / "report.html")


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


def _require_known_names(recipe: Recipe) -> None:
    from fcn_onnx.models import ARCHITECTURES

    for key, name, table in (
        ("export.arch", recipe.export.arch, ARCHITECTURES),
        ("quantize.method", recipe.quantize.method, METHODS),
        ("quantize.backend", recipe.quantize.backend, BACKENDS),
        ("quantize.format", recipe.quantize.format, FORMATS),
        ("quantize.target", recipe.quantize.target, ("auto", *TARGETS)),
        ("validate.protocol", recipe.validate.protocol, PROTOCOLS),
    ):
        if name not in table:
            raise RecipeError(f"{key} is {name!r}", fix=f"choose one of: {', '.join(table)}")


def plot_histograms(histograms: Path, output: Path | None = None) -> tuple[TensorPlot, ...]:
    """Every tensor of a file of histograms with every method's threshold; `output` gets a page that draws them.

    Raises:
        TableError: not a file of histograms.
    """
    if output is not None:
        require_writable(output)
    observation = Observation.load(histograms)
    plots = tuple(
        TensorPlot(
            name=name,
            counts=histogram.counts,
            lowest=histogram.lowest_edge,
            width=histogram.width,
            thresholds={method.name: method.threshold(histogram) for method in METHODS.values()},
        )
        for name, histogram in observation.histograms.items()
    )
    if output is not None:
        title = f"Activations of {observation.model[:19]}… on {len(observation.images)} images"
        write_text(output, to_histogram_page(title, plots))
    return plots


def _journal(output: Path) -> Path:
    """Where the work towards `output` is kept until it is done."""
    return _nearest_folder(output) / f".{output.name}.journal"


def _nearest_folder(path: Path) -> Path:
    """`path` itself if it is a folder, or the first of its parents that exists."""
    return next(p for p in [path, *path.absolute().parents] if p.is_dir())
