"""The stage `validate`: int8 models against fp32 on labelled images, under one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset, digests
from fcn_onnx.data.sets.discover import require_labels
from fcn_onnx.evaluation.contestants import Contestants, names_of
from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.evaluation.protocol import Protocol
from fcn_onnx.evaluation.protocols import get_protocol
from fcn_onnx.evaluation.regions import DEFINITION, RegionCounts
from fcn_onnx.evaluation.result import Comparison, ModelResult, Validation
from fcn_onnx.evaluation.scoring import Contest, Tally, score_images
from fcn_onnx.evaluation.selection import select_images
from fcn_onnx.jobs.artifact import claim_outputs, digest_json, job_digest, write_text
from fcn_onnx.jobs.engines import LOCAL, RAY, executor_of
from fcn_onnx.jobs.journal import Journals
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.files import data_inputs
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.report.files import REPORT_FILES, write_report
from fcn_onnx.report.junit import to_junit
from fcn_onnx.runtime.interface import declared_classes
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig, get_runtime
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages.documenting import Setting, document, notes_on, packages_of
from fcn_onnx.stages.gallery import GALLERY_IMAGES, look, per_image
from fcn_onnx.stages.naming import find_pair
from fcn_onnx.stages.options import ValidateOptions
from fcn_onnx.stages.running import footprint_of
from fcn_onnx.stages.session_costs import Look, look_into

UNSCORED = (
    "no truth is known, so that nothing is scored: int8's labels are held against fp32's (--annotations or --masks "
    "names truth)"
)
WITHOUT = "; without truth, --min-agreement gates the share of int8's labels that are fp32's"


def validate(options: ValidateOptions, *, command: str | None = None, progress: Progress = SILENT) -> Validation:
    """Compare models with their fp32 original on labelled images, all in one pass, and write the report.

    All see the same preprocessed image, in turns; the runs that are scored are the runs that are timed. A candidate may
    be the reference itself: an A/A control. Of several runtimes each runs every candidate, the first fp32 too.

    Args:
        command: recorded in the report as the way to repeat it.

    Raises:
        UsageError: nothing to score, candidates that cannot be told apart, or options that contradict each other.
        MissingDependencyError: a runtime is not installed.
        ModelError: a model is not what it should be.
        DatasetError, ImageError: truth or an image cannot be read.
    """
    fp32, *candidates = models_of(options)
    names_of(candidates)
    for runtime in runtimes_of(options):
        get_runtime(runtime)
    outputs = outputs_of(options)
    models = {f"the model {path}": path for path in (fp32, *candidates)}
    data = {name: file for path in models.values() for name, file in data_inputs(path, outputs.values()).items()}
    claim_outputs(outputs, models | data | options.choice.inputs())
    entered = enter(options, fp32, candidates, progress)
    with Journals(options.report, wait_s=options.wait, progress=progress) as journals:
        setting = setting_of(options, entered, command, progress)
        entrants = tuple(model.entrant for model in entered.contestants.all)
        samples = setting.selection.samples
        rows = [model.path for model in entered.contestants.all]
        footprint = footprint_of(rows, samples, entered.preprocessing)
        executor = executor_of(options.running, options.threads, progress, footprint)
        tally = score_images(
            Contest(
                entrants,
                entered.interface,
                entered.preprocessing,
                entered.dataset,
                entered.rules,
                options.threads,
                entered.segmenters,
            ),
            samples,
            executor=executor,
            journal=journals.of(setting.job),
            progress=progress,
            kept=GALLERY_IMAGES,
        )
        setting = replace(setting, notes=(*setting.notes, *executor.remarks))
        looks = _looks(entered, setting, progress) if options.profile else [None] * len(entrants)
        result = _result(setting, entered, tally, options.gates, looks)
        for note in result.document.notes[len(setting.notes) :]:
            progress.note(note)
        if options.report is not None:
            write_report(result.document, options.report, result.per_image.held, result.pictures)
        if options.junit is not None:
            write_text(options.junit, to_junit(result.document))
    return result


def models_of(options: ValidateOptions) -> tuple[Path, ...]:
    """The reference and its candidates, found where they are not named. Raises UsageError if they cannot be."""
    fp32, first = find_pair(options.fp32, options.int8[0] if options.int8 else None)
    return fp32, *(options.int8 or (first,))


def runtimes_of(options: ValidateOptions) -> tuple[str, ...]:
    """What runs the candidates, each once."""
    return tuple(dict.fromkeys(options.runtime)) or (DEFAULT_RUNTIME,)


def outputs_of(options: ValidateOptions) -> dict[str, Path]:
    """Every file that these options write, by what it is called."""
    return report_files(options.report) | ({} if options.junit is None else {"--junit": options.junit})


def report_files(folder: Path | None) -> dict[str, Path]:
    """What `validate` writes, by what it is called."""
    return {} if folder is None else {f"{name} of --report": folder / name for name in REPORT_FILES}


@dataclass(frozen=True)
class Entered:
    """Models and the data that they are compared on.

    Attributes:
        rules: the protocol, on such data and for networks of their size.
        preprocessing: how all are shown an image.
        chosen: why that protocol and that size, where nobody asked for them.
        interface: of all models, settled.
        segmenters: of the contestants, in their order.
    """

    contestants: Contestants
    dataset: Dataset
    rules: Protocol
    preprocessing: Preprocessing
    chosen: tuple[str, ...]
    interface: Interface
    config: SessionConfig
    segmenters: Sequence[Segmenter]


def enter(options: ValidateOptions, fp32: Path, candidates: Sequence[Path], progress: Progress) -> Entered:
    """Every model read once; what is in them is let go of before an image is run, as the sessions hold it too."""
    models = [Model.open(path) for path in (fp32, *candidates)]
    runtimes = runtimes_of(options)
    contestants = Contestants.of(models[0], models[1:], runtimes)
    number = declared_classes(models[0].proto, models[0].name, options.interface)
    dataset = options.choice.open(contestants.classes(options.interface), number)
    if options.gates.max_drop is not None:
        require_labels(dataset, WITHOUT)
    protocol, why = contestants.protocol(options.protocol)
    settled = contestants.agreed(dataset, settle(models, options.interface, progress))
    config = SessionConfig(threads=options.threads)
    rows = [models[0], *(model for model in models[1:] for _ in runtimes)]
    segmenters = [
        Segmenter(model, config, settled, row.runtime) for model, row in zip(rows, contestants.all, strict=True)
    ]
    rules = get_protocol(protocol, dataset.label_space).of_kind(dataset.kind)
    rules = rules if dataset.labelled else rules.without_truth()
    fitted = contestants.fitted(segmenters, rules)
    chosen = tuple(filter(None, [why, fitted.note, None if dataset.labelled else UNSCORED]))
    return Entered(contestants, dataset, fitted.rules, fitted.shown, chosen, settled, config, segmenters)


def setting_of(options: ValidateOptions, entered: Entered, command: str | None, progress: Progress) -> Setting:
    """What all rows share, and the digest of the work."""
    contestants, dataset, rules = entered.contestants, entered.dataset, entered.rules
    selection = select_images(
        dataset,
        rules,
        [model.card for model in contestants.others],
        images=options.choice.listed(dataset),
        limit=options.limit,
        include_calibration_images=options.include_calibration_images,
    )
    preprocessing = entered.preprocessing
    notes = (*notes_on(contestants, selection, options.running), *entered.chosen)
    for note in [dataset.description, *notes]:
        progress.note(note)
    contents = digests(selection.samples, progress)
    images = digest_json([(s.name, content) for s, content in zip(selection.samples, contents, strict=True)])
    truth = dataset.fingerprint() if dataset.labelled else None
    job = job_digest(
        "validate",
        "pillow",
        "pycocotools",
        *packages_of(contestants),
        models=[[model.digest, model.runtime] for model in contestants.all],
        protocol=rules.name,
        preprocessing=preprocessing.to_json(),
        outputs=[segmenter.output for segmenter in entered.segmenters],
        data=[images, truth, dataset.label_space.background, *dataset.label_space.names],
        machine=[measured_cpu().kernels(), entered.config.thread_count],
        **({"workers": options.running.workers or 1} if options.running.engine == LOCAL else {"engine": RAY}),
        regions=DEFINITION,
    )
    return Setting(contestants, dataset, rules, selection, preprocessing, entered.config, images, job, command, notes)


def _looks(entered: Entered, setting: Setting, progress: Progress) -> Sequence[Look | None]:
    """Into each row's session, on the first image."""
    return look_into(
        entered.contestants.all,
        entered.segmenters,
        setting.selection.samples[0],
        setting.preprocessing,
        setting.config,
        progress,
    )


def _result(setting: Setting, entered: Entered, tally: Tally, gates: Gates, looks: Sequence[Look | None]) -> Validation:
    """What was measured, compared, and documented with pictures."""
    seen, pictures = look(
        tally,
        setting.selection.samples,
        entered.segmenters,
        setting.preprocessing,
        setting.dataset,
        setting.rules,
    )
    reference, compared = _compared(setting.contestants, setting.rules, tally, gates, looks)
    written = document(setting, tally, reference, compared, seen)
    return Validation(reference, compared, written, per_image(tally), pictures)


def _compared(
    contestants: Contestants, rules: Protocol, tally: Tally, gates: Gates, looks: Sequence[Look | None]
) -> tuple[ModelResult, dict[str, Comparison]]:
    """Every row's result, and each candidate's beside the reference's."""
    reference, *others = (
        ModelResult(
            name=model.name,
            path=model.path,
            runtime=model.runtime,
            digest=model.digest,
            size_bytes=model.size_bytes,
            scores=rules.metric.scores(counts),
            counted=counts,
            regions=RegionCounts(tally.ground, regions),
            latency_ms=latency_ms,
            quantization=model.card.quantization,
            peak_memory_bytes=look.peak_memory_bytes if look else None,
            profile=look.profile if look else None,
        )
        for model, counts, regions, latency_ms, look in zip(
            contestants.all, tally.counts, tally.regions, tally.latency_ms, looks, strict=True
        )
    )
    return reference, {
        other.name: Comparison.of(rules.metric, reference, other, agreement, gates)
        for other, agreement in zip(others, tally.agreement[1:], strict=True)
    }
