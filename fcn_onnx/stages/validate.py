"""The stage `validate`: int8 models against fp32 on labelled images, under one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fcn_onnx.data.sample import VOC_CLASSES, Dataset, Sample, digests
from fcn_onnx.data.selection import read_list
from fcn_onnx.data.sets.discover import annotations_beside, open_dataset, require_labels
from fcn_onnx.evaluation.contestants import Contestants, common_classes, names_of, require_one_input, shown_note
from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.evaluation.protocols import Protocol, get_protocol
from fcn_onnx.evaluation.result import Comparison, ModelResult, Validation
from fcn_onnx.evaluation.scoring import Contest, Tally, score_images
from fcn_onnx.evaluation.selection import Selection, select_images
from fcn_onnx.jobs.artifact import claim_outputs, digest_json, job_digest
from fcn_onnx.jobs.bounds import COUNT
from fcn_onnx.jobs.executor import EXECUTORS
from fcn_onnx.jobs.journal import NONE_KEPT, Journals
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import data_inputs, load_model, model_bytes
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.report.files import REPORT_FILES, write_report
from fcn_onnx.runtime.onnxruntime import SessionConfig, measured_cpu
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages.documenting import Setting, document, notes_on
from fcn_onnx.stages.gallery import look, per_image
from fcn_onnx.stages.naming import find_pair
from fcn_onnx.stages.options import ValidateOptions

NO_GATES = Gates()


def validate(
    fp32: Path,
    candidates: Path | Sequence[Path],
    dataset: Dataset,
    *,
    protocol: str = "torchvision",
    images: Sequence[Sample] | None = None,
    limit: int | None = None,
    include_calibration_images: bool = False,
    gates: Gates = NO_GATES,
    interface: Interface = Interface(),
    workers: int = 1,
    threads: int = 0,
    journals: Journals = NONE_KEPT,
    command: str | None = None,
    progress: Progress = SILENT,
) -> Validation:
    """Compare models with their fp32 original on labelled images, all in one pass.

    All see the same preprocessed image, in turns; the runs that are scored are the runs that are timed. A candidate may
    be the reference itself: an A/A control.

    Args:
        fp32: the reference model, not quantized.
        candidates: the model under test, or several; anything that returns logits or labels of the data set's
            classes.
        dataset: labelled images.
        protocol: a name in `PROTOCOLS`.
        images: exactly these samples instead of the data set's.
        limit: only the first N of what is to be scored.
        include_calibration_images: also score what a candidate was calibrated on.
        gates: what every candidate must meet.
        interface: of all models, where they do not say it themselves.
        workers: processes that share the images and the threads; the scores are the same for any number.
        threads: of each session; 0 means all cores.
        journals: where finished images are kept until the caller has the report on disk.
        command: recorded in the report as the way to repeat it.

    Raises:
        UsageError: nothing to score, or options that contradict each other.
        ModelError: a model is not what it should be.
        DatasetError, ImageError: truth or an image cannot be read.
    """
    COUNT.require("--limit", limit)
    COUNT.require("--workers", workers)
    rules = get_protocol(protocol, len(dataset.classes))
    config = SessionConfig(threads=threads)
    contestants, interface, segmenters = _opened(fp32, _several(candidates), dataset, interface, config, progress)
    selection = select_images(
        dataset,
        rules,
        [model.card for model in contestants.others],
        images=images,
        limit=limit,
        include_calibration_images=include_calibration_images,
    )
    setting = _setting(contestants, dataset, rules, selection, segmenters, config, workers, command, progress)
    entrants = tuple(model.entrant for model in contestants.all)
    tally = score_images(
        Contest(entrants, interface, setting.preprocessing, dataset, rules, threads),
        selection.samples,
        executor=EXECUTORS["local"](workers, progress),
        journal=journals.of(setting.job),
        progress=progress,
    )
    seen, pictures = look(tally, selection.samples, segmenters, setting.preprocessing, dataset, rules)
    reference, compared = _compared(contestants, rules, tally, gates)
    written = document(setting, tally, reference, compared, seen)
    return Validation(reference, compared, written, per_image(tally), pictures)


def _opened(
    fp32: Path,
    candidates: Sequence[Path],
    dataset: Dataset,
    interface: Interface,
    config: SessionConfig,
    progress: Progress,
) -> tuple[Contestants, Interface, list[Segmenter]]:
    """Every model read once; what is in them is let go of before an image is run, as the sessions hold it too."""
    models = [Model.open(path) for path in (fp32, *candidates)]
    contestants = Contestants.of(models[0], models[1:])
    settled = contestants.agreed(dataset, settle(models, interface, progress))
    return contestants, settled, [Segmenter(model, config, settled) for model in models]


def _setting(
    contestants: Contestants,
    dataset: Dataset,
    rules: Protocol,
    selection: Selection,
    segmenters: Sequence[Segmenter],
    config: SessionConfig,
    workers: int,
    command: str | None,
    progress: Progress,
) -> Setting:
    """What all rows share, and the digest of the work; `segmenters` are the contestants' in their order."""
    preprocessing = contestants.shown(segmenters, rules)
    notes = (*notes_on(contestants, selection, workers), *filter(None, [shown_note(rules, preprocessing)]))
    for note in [dataset.description, *notes]:
        progress.note(note)
    contents = digests(selection.samples, progress)
    images = digest_json([(s.name, content) for s, content in zip(selection.samples, contents, strict=True)])
    job = job_digest(
        "validate",
        "pillow",
        "pycocotools",
        models=[model.digest for model in contestants.all],
        protocol=rules.name,
        preprocessing=preprocessing.to_json(),
        outputs=[segmenter.output for segmenter in segmenters],
        data=[images, dataset.fingerprint(), *dataset.classes],
        machine=[measured_cpu().kernels(), config.thread_count],
        workers=workers,
    )
    return Setting(contestants, dataset, rules, selection, preprocessing, config, images, job, command, notes)


def _several(candidates: Path | Sequence[Path]) -> Sequence[Path]:
    return [candidates] if isinstance(candidates, Path) else candidates


def _compared(
    contestants: Contestants, rules: Protocol, tally: Tally, gates: Gates
) -> tuple[ModelResult, dict[str, Comparison]]:
    """Every row's result, and each candidate's beside the reference's."""
    reference, *others = (
        ModelResult(
            name=model.name,
            path=model.path,
            runtime=model.entrant.runtime,
            digest=model.digest,
            size_bytes=model_bytes(model.path),
            scores=rules.metric.scores(counts),
            counts=counts,
            latency_ms=latency_ms,
            quantization=model.card.quantization,
        )
        for model, counts, latency_ms in zip(contestants.all, tally.counts, tally.latency_ms, strict=True)
    )
    return reference, {
        other.name: Comparison.of(rules.metric, reference, other, agreement, gates)
        for other, agreement in zip(others, tally.agreement[1:], strict=True)
    }


def validate_and_report(
    options: ValidateOptions, *, command: str | None = None, progress: Progress = SILENT
) -> Validation:
    """Open the data, validate, and write the report.

    Args:
        command: recorded in the report as the way to repeat it.

    Raises:
        UsageError: candidates that cannot be told apart, or what `validate` raises.
        FcnOnnxError: likewise.
    """
    fp32, first = find_pair(options.fp32, options.int8[0] if options.int8 else None)
    candidates = options.int8 or (first,)
    names_of(candidates)
    models = [fp32, *candidates]
    outputs = report_files(options.report)
    claim_outputs(outputs, _inputs(options, models, outputs))
    dataset = open_dataset(options.data, annotations=options.annotations, classes=_classes(models, options.interface))
    require_labels(dataset)
    with Journals(options.report, wait_s=options.wait, progress=progress) as journals:
        result = validate(
            fp32,
            candidates,
            dataset,
            protocol=options.protocol,
            images=read_list(options.images, dataset) if options.images else None,
            limit=options.limit,
            include_calibration_images=options.include_calibration_images,
            gates=options.gates,
            interface=options.interface,
            workers=options.workers,
            threads=options.threads,
            journals=journals,
            command=command,
            progress=progress,
        )
        write_report(result.document, options.report, {**result.per_image, **result.pictures})
    return result


def report_files(folder: Path) -> dict[str, Path]:
    """What `validate_and_report` writes, by what it is called."""
    return {f"{name} of --report": folder / name for name in REPORT_FILES}


def _inputs(options: ValidateOptions, models: Sequence[Path], outputs: Mapping[str, Path]) -> dict[str, Path | None]:
    """Files that are read beside the images, by what they are called."""
    others: dict[str, Path | None] = {
        "the annotations": options.annotations or annotations_beside(options.data),
        "the list of images": options.images,
    }
    for path in models:
        others |= {f"the model {path}": path, **data_inputs(path, outputs.values())}
    return others


def _classes(models: Sequence[Path], interface: Interface) -> tuple[str, ...]:
    """Class names as the user says, else as the models do, else VOC's.

    Raises:
        ModelError: models contradict each other.
    """
    cards = {str(path): ModelCard.read_from(load_model(path), str(path)) for path in models}
    require_one_input(cards, interface)
    return common_classes(cards, interface) or VOC_CLASSES
