"""From a data folder or a range table to an int8 model, and the proof that it is what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fcn_onnx.calibration.clips import Clips
from fcn_onnx.calibration.methods import DEFAULT_METHOD, Method, get_method
from fcn_onnx.calibration.observing import observe_images, observing_job, tabulate
from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset, Sample, digests
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.artifact import claim_outputs, digest_file, job_digest
from fcn_onnx.jobs.engines import executor_of
from fcn_onnx.jobs.journal import Journals, forget
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.files import data_inputs
from fcn_onnx.model.form import require_float32
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.quantization.backends.draft import Goal
from fcn_onnx.quantization.backends.table import get_backend
from fcn_onnx.quantization.judge import Judge
from fcn_onnx.quantization.making import Calibrated, Maker
from fcn_onnx.quantization.plan import Plan, make_plan
from fcn_onnx.quantization.refining import refined, refining_job
from fcn_onnx.quantization.saturation import compare_kernels
from fcn_onnx.quantization.search import PRICING_IMAGES, Bound, Found, searching_job, within
from fcn_onnx.quantization.trials import Trials
from fcn_onnx.quantization.writing import Quantized, up_to_date, write_int8, write_tuned
from fcn_onnx.runtime.interface import classes_of, declared_classes, default_output, preprocessing_of
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, RUNTIMES, get_runtime
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages.naming import find_fp32, int8_path, log_path
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.own_ranges import clips_table, no_ranges, own_clips
from fcn_onnx.stages.running import footprint_of


def quantize(options: QuantizeOptions, *, progress: Progress = SILENT) -> Quantized:
    """Quantize a model to int8, with ranges observed on images, read from a table, or found in its own clips.

    Raises:
        UsageError, ModelError, DatasetError, ImageError, TableError: see the message.
        QuantizationError: the int8 model cannot be written, loaded or run, or no set of layers meets `max_drop`.
        MissingDependencyError: the backend or the runtime is not installed.
    """
    get_runtime(options.runtime)
    model = options.model or find_fp32()
    output = options.output or int8_path(model)
    require_consistent(options)
    outputs = _claimed(options, model, output)
    decided = decide(options, model, progress)
    fp32, given, plan, job = decided.fp32, decided.given, decided.plan, decided.job
    interface, preprocessing, method = decided.interface, decided.preprocessing, decided.method
    claim_outputs(outputs, {f"the image {sample.name}": sample.file for sample in given.samples})
    if not options.force and (existing := up_to_date(output, job, fp32.size_bytes)):
        steps = observing_job(fp32, given.images, preprocessing), searching_job(job), refining_job(job)
        forget(output, *steps, wait_s=options.wait, progress=progress)
        return existing
    maker = Maker(
        fp32,
        Calibrated(given.samples, preprocessing, given.images),
        interface=interface,
        backend=options.backend,
        job=job,
        threads=options.threads,
        runtime=options.runtime,
    )
    bound = _bound(options, maker, given, progress)
    if bound is not None and options.max_drop is not None:
        plan = replace(plan, reasons=(*plan.reasons, f"--max-drop {options.max_drop:g}: {bound.judge.truth}"))
    if get_backend(options.backend).methods:
        goal = Goal(bound.judge.drop_percent, bound.max_drop) if bound and bound.max_drop is not None else None
        return write_tuned(maker.tune(plan, method, log_path(output), goal), output, progress)
    with Journals(output, wait_s=options.wait, progress=progress) as journals:
        rule = get_method(options.method or DEFAULT_METHOD, options.percentile, plan.levels)
        table = given.table or _calibrated(options, rule, fp32, given, preprocessing, journals, progress)
        return _written(maker, plan, table, bound, options.refine, output, journals, progress)


def _bound(options: QuantizeOptions, maker: Maker, given: Given, progress: Progress) -> Bound | None:
    """What may be lost, on the calibration images; None where nobody asks."""
    if options.max_drop is None and options.min_agreement is None:
        return None
    scored = options.max_drop is not None
    reference = maker.reference(given.samples, logits=PRICING_IMAGES, progress=progress)
    judge = Judge(reference, given.truth if scored else None)
    if scored:
        progress.note(judge.truth)
    return Bound(judge, options.max_drop, options.min_agreement)


@dataclass(frozen=True)
class Given:
    """What the ranges come from.

    Attributes:
        table: ranges that were given, or found in the model; None where they are to be observed.
        samples: images to observe; none with a table.
        images: digest by name of the images behind the ranges.
        truth: the data set of the samples, where `--max-drop` is judged by it.
    """

    table: RangeTable | None
    samples: Sequence[Sample]
    images: Mapping[str, str]
    truth: Dataset | None = None


@dataclass(frozen=True)
class Decided:
    """What a quantization is made of, when all is said and nothing is done.

    Attributes:
        interface: of the model, settled.
        preprocessing: how it is shown images.
        method: see `choose_method`.
        job: digest of all that the int8 model depends on.
    """

    fp32: Model
    interface: Interface
    preprocessing: Preprocessing
    method: str
    plan: Plan
    given: Given
    job: str


def decide(options: QuantizeOptions, model: Path, progress: Progress) -> Decided:
    """Open the model, choose the form of the int8 model and the images, and write nothing. Raises as `quantize`."""
    require_consistent(options)
    method = choose_method(options)
    fp32 = Model.open(model)
    require_float32(fp32.proto, fp32.name)
    interface = settle([fp32], options.interface, progress)
    preprocessing = preprocessing_of(fp32.proto, str(model), interface)
    unsaid = options.choice is None and options.ranges is None
    clips = own_clips(fp32, preprocessing, progress) if unsaid else None
    plan = _plan(options, fp32, clips, progress)
    given = _gather(options, fp32, clips, preprocessing, interface, progress)
    if given.table is not None:
        given.table.require_levels(plan.levels)
    job = _job(options, fp32, plan, method, interface, preprocessing, given)
    return Decided(fp32, interface, preprocessing, method, plan, given, job)


def _claimed(options: QuantizeOptions, model: Path, output: Path) -> dict[str, Path | None]:
    """The outputs, which are found to be writable, and none of them an input."""
    tuned = bool(get_backend(options.backend).methods)
    outputs = {"--output": output, "the log": log_path(output) if tuned else None}
    inputs = {"the model": model, "--ranges": options.ranges, **data_inputs(model, outputs.values())}
    claim_outputs(outputs, inputs | (options.choice.inputs() if options.choice else {}))
    return outputs


def _plan(options: QuantizeOptions, fp32: Model, clips: Clips | None, progress: Progress) -> Plan:
    plan = make_plan(
        fp32.taken,
        measured_cpu(),
        quant_format=options.format,
        target=options.target,
        runtime=options.runtime,
        per_channel=options.per_channel,
        bias_correction=options.bias_correction and get_backend(options.backend).methods is None,
        keep=options.keep_float,
        clips=clips,
    )
    for line in [f"plan: {plan}", *plan.reasons]:
        progress.note(line)
    return plan


def _gather(
    options: QuantizeOptions,
    fp32: Model,
    clips: Clips | None,
    preprocessing: Preprocessing,
    interface: Interface,
    progress: Progress,
) -> Given:
    """Read the table, or choose the images."""
    if clips is not None:
        return Given(clips_table(clips, fp32, preprocessing), (), {})
    if options.ranges is not None:
        table = RangeTable.load(options.ranges)
        table.require_made_for(fp32.digest, preprocessing.to_json())
        return Given(table, (), table.images)
    choice = options.choice
    assert choice is not None  # `require_consistent`
    scored = options.max_drop is not None
    known = classes_of(fp32.proto, fp32.name, interface), declared_classes(fp32.proto, fp32.name, interface)
    chosen = choice.choose(progress, *known, scored=scored)
    contents = digests(chosen.samples, progress)
    images = {sample.name: content for sample, content in zip(chosen.samples, contents, strict=True)}
    return Given(None, chosen.samples, images, chosen.dataset if scored else None)


def _job(
    options: QuantizeOptions,
    fp32: Model,
    plan: Plan,
    method: str,
    interface: Interface,
    preprocessing: Preprocessing,
    given: Given,
) -> str:
    """Digest of all that the file depends on."""
    how: dict[str, Any] = (
        {"ranges": digest_file(options.ranges)}
        if options.ranges is not None
        else {"method": given.table.method if given.table else method, "images": dict(given.images)}
    )
    if plan.symmetric:
        how["levels"] = plan.levels  # before they decided, such models were made for others
    searched = options.max_drop is not None or options.min_agreement is not None
    if searched or options.refine:
        how["tried"] = {
            "max_drop": options.max_drop,
            "refine": options.refine,
            "truth": given.truth.fingerprint() if given.truth and given.truth.labelled else None,
            "order": [sample.name for sample in given.samples],
            "exact": plan.pair_safe or measured_cpu().exact_u8s8,
        } | ({} if options.runtime == DEFAULT_RUNTIME else {"runtime": options.runtime})
        how["tried"] |= {} if options.min_agreement is None else {"min_agreement": options.min_agreement}
    return job_digest(
        "quantize",
        *([RUNTIMES[options.runtime].package] if "tried" in how else []),
        *(["pillow"] if given.samples else []),
        *(["pycocotools"] if given.truth else []),
        *([options.backend] if get_backend(options.backend).methods else []),
        source=fp32.digest,
        plan=plan.decided(),
        backend=options.backend,
        preprocessing=preprocessing.to_json(),
        classes=list(classes_of(fp32.proto, str(fp32.path), interface)),
        output=interface.output_name or default_output([value.name for value in fp32.proto.graph.output]),
        **how,
    )


def _calibrated(
    options: QuantizeOptions,
    rule: Method,
    fp32: Model,
    given: Given,
    preprocessing: Preprocessing,
    journals: Journals,
    progress: Progress,
) -> RangeTable:
    footprint = footprint_of([fp32.path], given.samples, preprocessing, tapped=fp32)
    observed = observe_images(
        fp32,
        given.samples,
        preprocessing,
        executor=executor_of(options.running, options.threads, progress, footprint),
        threads=options.threads,
        journals=journals,
        progress=progress,
    )
    return tabulate(observed.observation, rule)


def _written(
    maker: Maker,
    plan: Plan,
    table: RangeTable,
    bound: Bound | None,
    refine: bool,
    output: Path,
    journals: Journals,
    progress: Progress,
) -> Quantized:
    """The int8 model of the plan, or of a better one that was searched for, on disk and proven."""
    refinement, found = None, Found(plan)
    if refine:
        table, refinement = refined(maker, plan, table, journals, progress)
    if bound is not None:
        journal = journals.of(searching_job(maker.job))
        found = within(bound, Trials(maker, plan, table, journal, progress))
    saturates = plan.pair_safe and not measured_cpu().exact_u8s8
    try_kernels = partial(compare_kernels, maker, found.plan, table, output) if saturates else None
    result = write_int8(maker.make(found.plan, table), output, try_kernels)
    return replace(result, refinement=refinement, trials=found.trials, speed_kept=found.speed_kept)


def choose_method(options: QuantizeOptions) -> str:
    """How thresholds are chosen: the name of our method with its percentile, or of the backend's own.

    Raises:
        UsageError: the backend has no such method, or the method no such percentile.
    """
    own = get_backend(options.backend).methods
    if own is None:
        return get_method(options.method or DEFAULT_METHOD, options.percentile).name
    if options.percentile is not None:
        raise UsageError(f"{options.backend} has a percentile of its own", fix="leave --percentile out")
    if options.method is not None and options.method not in own:
        raise UsageError(f"{options.backend} has no method {options.method!r}", fix=f"choose one of: {', '.join(own)}")
    return options.method or own[0]


def require_consistent(options: QuantizeOptions) -> None:
    """Raise UsageError on options that contradict one another."""
    choice, ranges, backend = options.choice, options.ranges, options.backend
    own_methods = get_backend(backend).methods
    if choice is not None and ranges is not None:
        raise no_ranges()
    if choice is None and ranges is None and (own_methods or options.method or options.percentile is not None):
        raise no_ranges()  # of its own, which only some models bring, a model's are final
    if ranges is not None and options.method is not None:
        raise UsageError("--method chooses ranges, and --ranges brings them", fix="give one of them")
    if own_methods and ranges is not None:
        raise UsageError(f"{backend} observes images itself and takes no table", fix="give it --data, not --ranges")
    if options.refine and own_methods:
        raise UsageError(f"{backend} chooses its own ranges, which --refine cannot move", fix="leave --refine out")
    if options.refine and choice is None:
        raise UsageError("--refine is measured on calibration images", fix="give --data, not --ranges")
    if options.max_drop is not None and choice is None:
        raise UsageError("--max-drop is judged on calibration images", fix="give --data, not --ranges")
    if options.min_agreement is not None and choice is None:
        raise UsageError("--min-agreement is judged on calibration images", fix="give --data, not --ranges")
    if options.min_agreement is not None and own_methods:
        raise UsageError(f"{backend} tunes by --max-drop, not by agreement", fix="leave --min-agreement out")
