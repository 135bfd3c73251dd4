"""The outline of each command that works long: what `--dry-run` shows. What decides is what decides when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fcn_onnx.calibration.observing import pass_of
from fcn_onnx.data.images import read_rgb, stored_size, upright
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.scoring import Contest
from fcn_onnx.jobs.artifact import check_outputs
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.files import data_inputs
from fcn_onnx.model.form import require_float32
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.quantization.writing import up_to_date
from fcn_onnx.report.sensitivity import FILES
from fcn_onnx.runtime.interface import classes_of, declared_classes, preprocessing_of
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages import calibrate as calibrating
from fcn_onnx.stages import predict as predicting
from fcn_onnx.stages import quantize as quantizing
from fcn_onnx.stages import run as running
from fcn_onnx.stages import sensitivity as trying
from fcn_onnx.stages import validate as validating
from fcn_onnx.stages.naming import find_fp32, int8_path
from fcn_onnx.stages.options import (
    CalibrateOptions,
    PredictOptions,
    QuantizeOptions,
    SensitivityOptions,
    ValidateOptions,
)
from fcn_onnx.stages.outline import Estimate, Outline, ends, estimated, shown_sizes, states
from fcn_onnx.stages.recipe import Recipe

ON_TOP = "observing; making and proving the int8 model comes on top"


def calibrate(options: CalibrateOptions, progress: Progress = SILENT) -> tuple[Outline, ...]:
    """What `calibrate` would do. Raises what it raises."""
    outputs, inputs = calibrating.files_of(options)
    check_outputs(outputs, inputs)
    decided = {"method": options.method, "levels": options.levels}
    if options.choice is None:
        return (Outline(stage="calibrate", decided=decided | {"from": str(options.source)}, outputs=states(outputs)),)
    fp32 = Model.open(options.model or find_fp32())
    require_float32(fp32.proto, fp32.name)
    interface = settle([fp32], options.interface, progress)
    shown = preprocessing_of(fp32.proto, fp32.name, interface)
    samples = options.choice.choose(progress, *_known(fp32, interface)).samples
    sizes = shown_sizes(samples, shown)
    work = _observing(fp32, samples, shown, options.threads)
    return (
        Outline(
            stage="calibrate",
            decided={"model": fp32.name, **decided, "shown": str(shown.resize)},
            outputs=states(outputs),
            images=_names(samples),
            sizes=ends(sizes),
            estimate=estimated(sizes, work, "observing", workers=options.running.workers or 1),
        ),
    )


def quantize(options: QuantizeOptions, progress: Progress = SILENT) -> tuple[Outline, ...]:
    """What `quantize` would do. Raises what it raises."""
    model = options.model or find_fp32()
    output = options.output or int8_path(model)
    inputs = {"the model": model, "--ranges": options.ranges, **data_inputs(model, [output])}
    check_outputs({"--output": output}, inputs | (options.choice.inputs() if options.choice else {}))
    found = quantizing.decide(options, model, progress)
    done = not options.force and up_to_date(output, found.job, found.fp32.size_bytes) is not None
    samples = found.given.samples
    sizes = shown_sizes(samples, found.preprocessing)
    estimate = None
    if not done:
        work = _observing(found.fp32, samples, found.preprocessing, options.threads)
        estimate = estimated(sizes, work, ON_TOP)
    search = [f"--{name.replace('_', '-')}" for name in ("max_drop", "refine") if getattr(options, name)]
    return (
        Outline(
            stage="quantize",
            decided={
                "model": found.fp32.name,
                "plan": str(found.plan),
                "method": found.method if found.given.table is None else f"{found.given.table.method}, of a table",
                "backend": options.backend,
                "shown": str(found.preprocessing.resize),
            },
            outputs=states({"--output": output}, up_to_date=done),
            images=_names(samples),
            sizes=ends(sizes),
            estimate=estimate,
            left_open=tuple(f"how many trials {name} takes" for name in search if not done),
        ),
    )


def validate(options: ValidateOptions, progress: Progress = SILENT) -> tuple[Outline, ...]:
    """What `validate` would do. Raises what it raises."""
    fp32, *candidates = validating.models_of(options)
    outputs = validating.outputs_of(options)
    check_outputs(outputs, {f"the model {path}": path for path in (fp32, *candidates)} | options.choice.inputs())
    entered = validating.enter(options, fp32, candidates, progress)
    setting = validating.setting_of(options, entered, None, progress)
    samples = setting.selection.samples
    sizes = shown_sizes(samples, entered.preprocessing)
    rows = [model.entrant for model in entered.contestants.all]
    score = Contest(
        tuple(rows),
        entered.interface,
        entered.preprocessing,
        entered.dataset,
        entered.rules,
        options.threads,
        entered.segmenters,
    ).open()
    estimate = estimated(
        sizes, lambda index: score((samples[index], index)), "running and scoring", workers=options.running.workers or 1
    )
    return (
        Outline(
            stage="validate",
            decided={
                "models": ", ".join(f"{row.model} in {row.runtime}" for row in rows),
                "data": entered.dataset.description,
                "protocol": f"{entered.rules.name}: {entered.rules.description}",
                "shown": str(entered.preprocessing.resize),
                "left out": f"{setting.selection.excluded} calibration images" if setting.selection.excluded else "",
            },
            outputs=states(dict(outputs)),
            images=_names(samples),
            sizes=ends(sizes),
            estimate=estimate,
        ),
    )


def predict(options: PredictOptions, progress: Progress = SILENT) -> tuple[Outline, ...]:
    """What `predict` would do. Raises what it raises; UsageError for a stream, of which nothing is known."""
    if Path("-") in (*options.images, options.output):
        raise UsageError("of a stream nothing is known before it comes", fix="leave --dry-run out, or name files")
    output = options.output or predicting.PREDICTIONS
    files = predicting.files_of(options.images, output)
    eye = predicting.Painter.of(options, *predicting.open_settled(options, progress)).eye
    paths = list(files)
    sizes = [(height, width) for width, height in map(stored_size, paths)]
    tiles = f"{eye.grid.tile[0]}x{eye.grid.tile[1]}, sharing {eye.grid.overlap} pixels" if eye.grid else ""
    return (
        Outline(
            stage="predict",
            decided={
                "model": str(options.model),
                "runtime": options.runtime,
                "classes": str(len(eye.segmenter.classes)),
                "shown": str(eye.preprocessing.resize),
                "tiles": tiles,
            },
            outputs=states({str(path): output / f"{name}-labels.png" for path, name in files.items()}),
            images=tuple(map(str, paths)),
            sizes=ends(sizes),
            estimate=estimated(
                sizes,
                lambda index: eye.look(upright(paths[index], read_rgb(paths[index])), str(paths[index])),
                "labelling; the pictures come on top",
            ),
        ),
    )


def sensitivity(options: SensitivityOptions, progress: Progress = SILENT) -> tuple[Outline, ...]:
    """What `sensitivity` would do. Raises what it raises."""
    model = options.model or find_fp32()
    outputs, inputs = trying.files_of(options, model)
    check_outputs(outputs, inputs)
    decided = trying.decide(options, model, progress)
    done = not options.force and trying.up_to_date(options.report / FILES[0], decided.job) is not None
    sizes = shown_sizes(decided.samples, decided.preprocessing)
    return (
        Outline(
            stage="sensitivity",
            decided={
                "model": str(model),
                "plan": str(decided.plan),
                "method": options.method,
                "tried on": f"{min(options.trial_images, len(sizes))} images",
            },
            outputs=states(outputs, up_to_date=done),
            images=_names(decided.samples),
            sizes=ends(sizes),
            estimate=None if done else _trials(options, decided, sizes),
        ),
    )


def _trials(options: SensitivityOptions, decided: trying.Decided, sizes: Sequence[tuple[int, int]]) -> Estimate | None:
    """Of running each trial; how many there are is counted in the graph, before any int8 model is made."""
    facts = read_facts(decided.fp32.taken.model)
    layers = sum(node.name not in decided.plan.float_nodes for node in facts.multiplications)
    activations = len(pass_of(decided.fp32, decided.preprocessing).tensors)
    trials = 2 * layers + activations
    segmenter = Segmenter(decided.fp32, SessionConfig(threads=options.threads), decided.interface)
    return estimated(
        sizes[: options.trial_images],
        lambda index: segmenter.run(decided.preprocessing.read(decided.samples[index])),
        f"some {trials} trials, of {layers} layers and {activations} activations, at fp32's speed; making each model, "
        "and the front, come on top",
        times=trials,
    )


def run(recipe: Recipe, progress: Progress = SILENT, *, force: bool = False) -> tuple[Outline, ...]:
    """What `run` would do: each stage as far as what it works on is there. Raises what the stages raise."""
    from fcn_onnx.stages.export_outline import export

    exporting, quantizing_, validating_ = running.stages_of(recipe, force=force)
    check_outputs(running.outputs_of(recipe), running.inputs_of(recipe))
    quantizing.choose_method(quantizing_)
    quantizing.require_consistent(quantizing_)
    found = list(export(exporting, progress)) if exporting else []
    fp32 = running.fp32_of(recipe)
    if absent := _absent([fp32, recipe.quantize.get("data")]):
        found.append(_open("quantize", absent))
    else:
        found += quantize(quantizing_, progress)
    if absent := _absent([fp32, *validating_.int8, recipe.validate.get("data")]):
        found.append(_open("validate", absent))
    else:
        found += validate(validating_, progress)
    return tuple(found)


def _absent(paths: Sequence[Path | None]) -> list[str]:
    return [str(path) for path in paths if path is not None and not path.exists()]


def _open(stage: str, absent: Sequence[str]) -> Outline:
    """Of a stage that works on what an earlier one makes."""
    are = "is" if len(absent) == 1 else "are"
    text = f"all but the options, as {' and '.join(absent)} {are} still to be made"
    return Outline(stage=stage, decided={}, outputs={}, left_open=(text,))


def _known(fp32: Model, interface: Interface) -> tuple[tuple[str, ...], int | None]:
    """What labels of images mean, by the model."""
    return classes_of(fp32.proto, fp32.name, interface), declared_classes(fp32.proto, fp32.name, interface)


def _observing(fp32: Model, samples: Sequence[Sample], shown: Preprocessing, threads: int) -> Callable[[int], object]:
    """What observes the image of a number; its sessions are opened when it is first called."""
    task = pass_of(fp32, shown, threads)
    count = task.open() if samples else None
    return lambda index: count(task.load(samples[index])) if count else None


def _names(samples: Sequence[Sample]) -> tuple[str, ...]:
    return tuple(sample.name for sample in samples)
