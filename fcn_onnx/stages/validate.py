"""The stage `validate`: fp32 against int8 on labelled images, under one protocol."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.errors import ModelError
from fcn_onnx.evaluation.comparison import Difference, compare, speedup_interval
from fcn_onnx.evaluation.metrics import ConfusionMetric
from fcn_onnx.evaluation.pairing import common_classes, require_one_input, shown_note
from fcn_onnx.evaluation.protocols import Protocol, get_protocol
from fcn_onnx.evaluation.result import SCHEMA, Gate, ModelResult, Validation, delta_json, relative_percent
from fcn_onnx.evaluation.scoring import FP32, INT8, Contest, Tally, score_images
from fcn_onnx.evaluation.selection import Selection, select_images
from fcn_onnx.jobs.artifact import digest_files, digest_json, job_digest, versions
from fcn_onnx.jobs.bounds import COUNT, DROP
from fcn_onnx.jobs.executor import EXECUTORS
from fcn_onnx.jobs.journal import NONE_KEPT, Journals
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import digest_model, load_model, model_bytes
from fcn_onnx.model.graph import is_quantized
from fcn_onnx.model.interface import Interface
from fcn_onnx.report.gallery import draw_entry, most_changed
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.onnxruntime import SessionConfig, measured_cpu
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.runtime.settling import settle

GALLERY_IMAGES = 4
WORST_IMAGES = 10


@dataclass(frozen=True)
class Contestant:
    """One of the two models, as it was found on disk."""

    path: Path
    digest: str
    card: ModelCard
    quantized: bool

    @classmethod
    def open(cls, path: Path) -> Contestant:
        """Read a model file. Raises ModelError if it is not one."""
        model = load_model(path)
        card = ModelCard.read_from(model, str(path))
        return cls(path, digest_model(path), card, is_quantized(model))


def validate(
    fp32: Path,
    int8: Path,
    dataset: Dataset,
    *,
    protocol: str = "torchvision",
    images: Sequence[Sample] | None = None,
    limit: int | None = None,
    include_calibration_images: bool = False,
    max_drop: float | None = None,
    interface: Interface = Interface(),
    workers: int = 1,
    threads: int = 0,
    journals: Journals = NONE_KEPT,
    command: str | None = None,
    progress: Progress = SILENT,
) -> Validation:
    """Compare two models on labelled images.

    Both see the same preprocessed image, in alternating order; the runs that are scored are the runs that
    are timed. `fp32` and `int8` may be the same file: an A/A control.

    Args:
        fp32: the reference model, not quantized.
        int8: the model under test; anything that returns logits or labels of the data set's classes.
        dataset: labelled images.
        protocol: a name in `PROTOCOLS`.
        images: exactly these samples instead of the data set's.
        limit: only the first N of what is to be scored.
        include_calibration_images: also score what `int8` was calibrated on.
        max_drop: the relative mIoU loss that is allowed, in percent.
        interface: of both models, where they do not say it themselves.
        workers: processes that share the images and the threads; the scores are the same for any number.
        threads: of each session; 0 means all cores.
        journals: where finished images are kept, so that an interrupted run continues, until the caller has the report
            on disk.
        command: recorded in the report as the way to repeat it.

    Raises:
        UsageError: nothing to score, or options that contradict each other.
        ModelError: a model is not what it should be.
        DatasetError, ImageError: truth or an image cannot be read.
    """
    DROP.require("--max-drop", max_drop)
    COUNT.require("--limit", limit)
    COUNT.require("--workers", workers)
    rules = get_protocol(protocol, len(dataset.classes))
    models = {FP32: Contestant.open(fp32), INT8: Contestant.open(int8)}
    if models[FP32].quantized:
        raise ModelError(
            f"{fp32} is quantized, and --fp32 is the reference", fix="name the fp32 model, or swap the two"
        )
    interface = _agreed(models, dataset, settle([fp32, int8], interface, progress))
    same = models[FP32].digest == models[INT8].digest
    selection = select_images(
        dataset,
        rules,
        ModelCard() if same else models[INT8].card,
        images=images,
        limit=limit,
        include_calibration_images=include_calibration_images,
    )
    notes = _notes(models, selection, same=same)
    if workers > 1:
        notes.append(f"{workers} workers shared the machine: latencies and the speed-up are those of a busy one")
    config = SessionConfig(threads=threads)
    segmenters = {name: Segmenter(model.path, config, interface) for name, model in models.items()}
    preprocessing = _shown(models, segmenters, rules)
    notes += filter(None, [shown_note(rules, preprocessing)])
    for note in [dataset.description, *notes]:
        progress.note(note)
    contents = digest_files([sample.path for sample in selection.samples], progress)
    images_digest = digest_json([(s.name, content) for s, content in zip(selection.samples, contents, strict=True)])
    job = job_digest(
        "validate",
        "pillow",
        "pycocotools",
        models=[models[FP32].digest, models[INT8].digest],
        protocol=rules.name,
        preprocessing=preprocessing.to_json(),
        outputs=[segmenters[FP32].output, segmenters[INT8].output],
        data=[images_digest, dataset.fingerprint(), *dataset.classes],
        machine=[measured_cpu().kernels(), config.thread_count],
        workers=workers,
    )
    paths = {name: model.path for name, model in models.items()}
    contest = Contest(paths, interface, preprocessing, dataset, rules, threads)
    tally = score_images(
        contest,
        selection.samples,
        executor=EXECUTORS["local"](workers, progress),
        journal=journals.of(job),
        progress=progress,
    )
    worst = most_changed(np.asarray(tally.agreement), WORST_IMAGES)
    chosen = [selection.samples[i] for i in worst[:GALLERY_IMAGES]]
    gallery = _gallery(segmenters, preprocessing, dataset, chosen, rules)
    results = {name: _result(models[name], rules, tally, name) for name in models}
    context = {
        "dataset": {
            "kind": dataset.kind,
            "root": str(dataset.root),
            "description": dataset.description,
            "excluded_calibration_images": selection.excluded,
            "included_calibration_images": selection.included,
            "limit": limit,
        },
        "worst_images": [
            {"name": tally.names[i], "agreement": tally.agreement[i][0] / tally.agreement[i][1]} for i in worst
        ],
        "gallery": gallery,
        "preprocessing": preprocessing.to_json(),
        "shown": {"resize": str(preprocessing.resize), "protocol_resize": str(rules.resize)},
        "machine": _machine(config),
        "coverage": read_coverage(int8).to_json() if models[INT8].quantized else None,
        "digests": {
            "fp32": models[FP32].digest,
            "int8": models[INT8].digest,
            "images": images_digest,
            "job": job,
        },
        "command": command,
        "notes": notes,
    }
    return _summarise(results, rules, tally, max_drop, dataset.classes, context)


def _agreed(models: Mapping[str, Contestant], dataset: Dataset, interface: Interface) -> Interface:
    """The interface of both models, with the data set's classes.

    Raises:
        ModelError: the models contradict each other, or a model's classes are not the data set's.
    """
    cards = {str(model.path): model.card for model in models.values()}
    require_one_input(cards, interface)
    own = common_classes(cards, interface)
    if own and own != dataset.classes:
        raise ModelError(
            f"the models label {len(own)} classes ({', '.join(own[:4])}, …), and {dataset.root} was opened for "
            f"{len(dataset.classes)} ({', '.join(dataset.classes[:4])}, …)",
            fix="open the data set with the models' classes, or name what the labels mean with --classes",
        )
    return replace(interface, classes=dataset.classes)


def _gallery(
    segmenters: Mapping[str, Segmenter],
    preprocessing: Preprocessing,
    dataset: Dataset,
    samples: Sequence[Sample],
    protocol: Protocol,
) -> list[dict[str, Any]]:
    """Pictures of what both models make of each sample."""
    entries = []
    for sample in samples:
        photograph = read_rgb(sample.path)
        batch = preprocessing(photograph, sample.name)
        labels = {
            name: protocol.labels(segmenter, segmenter.run(batch), photograph, preprocessing, sample.name)
            for name, segmenter in segmenters.items()
        }
        truth = protocol.read_truth(dataset, sample, protocol.grid(photograph))
        flat = truth.argmax(0).astype(np.uint8) if truth.ndim == 3 else truth
        entries.append(draw_entry(sample.name, photograph, flat, labels[FP32], labels[INT8]))
    return entries


def _shown(models: Mapping[str, Contestant], segmenters: Mapping[str, Segmenter], rules: Protocol) -> Preprocessing:
    """How both models are shown an image: normalised as the fp32 model's card says (or, if it says nothing, the int8
    model's), at the protocol's size, or at the one size that the models take."""
    speaker = FP32 if models[FP32].card.preprocessing or not models[INT8].card.preprocessing else INT8
    sizes = {segmenter.fixed_size for segmenter in segmenters.values()} - {None}
    if len(sizes) > 1:
        raise ModelError(
            f"{models[FP32].path} and {models[INT8].path} take images of different sizes",
            fix="compare models of one size",
        )
    size = sizes.pop() if sizes else None
    return rules.shown(segmenters[speaker].preprocessing, size)


def _result(model: Contestant, rules: Protocol, tally: Tally, name: str) -> ModelResult:
    counts = np.asarray(tally.counts[name])
    return ModelResult(
        path=str(model.path),
        digest=model.digest,
        size_bytes=model_bytes(model.path),
        scores=rules.metric.scores(counts),
        counts=counts,
        latency_ms=np.asarray(tally.latency_ms[name]),
        quantization=model.card.quantization,
    )


def _summarise(
    results: Mapping[str, ModelResult],
    rules: Protocol,
    tally: Tally,
    max_drop: float | None,
    classes: tuple[str, ...],
    context: Mapping[str, Any],
) -> Validation:
    fp32, int8 = results[FP32], results[INT8]
    difference = compare(rules.metric, fp32.counts, int8.counts, np.asarray(tally.agreement))
    speedup, interval = speedup_interval(fp32.latency_ms, int8.latency_ms)
    gate = _gate(max_drop, difference, fp32.scores.miou)
    fp32_json, int8_json = fp32.to_json(classes), int8.to_json(classes)
    ious = fp32_json["per_class_iou"]
    loading, sessions, scoring = np.asarray(tally.seconds).sum(0)
    report = {
        "schema": SCHEMA,
        "protocol": rules.name,
        "protocol_description": rules.description,
        "images": len(tally.names),
        FP32: fp32_json,
        INT8: int8_json,
        "delta": delta_json(fp32, int8, difference, speedup, interval, classes),
        "gate": gate.to_json(),
        "classes": list(classes),
        "absent_classes": [name for name, iou in ious.items() if iou is None] if ious else [],
        "confusion": _confusion(rules, results),
        "timing": {
            "loading_seconds": float(loading),
            "session_seconds": float(sessions),
            "scoring_seconds": float(scoring),
        },
        "versions": versions(),
        "one_sided_classes": _one_sided_classes(rules, fp32, int8, classes),
        **context,
    }
    return Validation(
        fp32, int8, difference, speedup, interval, gate, report, {"names": np.array(tally.names), **tally.arrays()}
    )


def _gate(max_drop: float | None, difference: Difference, miou: float) -> Gate:
    """The loss relative to fp32's mIoU, and its interval, against what is allowed."""
    lost = relative_percent(-difference.miou, miou)
    if lost is None or difference.miou_ci95 is None:
        return Gate(max_drop, lost)
    low, high = difference.miou_ci95
    return Gate(max_drop, lost, (-100 * high / miou, -100 * low / miou))


def _one_sided_classes(
    rules: Protocol, fp32: ModelResult, int8: ModelResult, classes: tuple[str, ...]
) -> dict[str, Any] | None:
    """Classes in no truth that one model alone predicts: 0 in that model's mean, and not in the other's at all.

    By the protocol both means are right, but their difference is then not one of quality. None where there is no
    such class; else who predicts which, how many classes both score, and int8 − fp32 over those.
    """
    before, after = fp32.scores.per_class_iou, int8.scores.per_class_iou
    if before is None or after is None or not rules.metric.leaves_absent_out:
        return None
    alone = np.isnan(before) != np.isnan(after)
    if not alone.any():
        return None
    both = ~np.isnan(before) & ~np.isnan(after)
    return {
        "predicted_by": {classes[c]: FP32 if np.isnan(after[c]) else INT8 for c in np.flatnonzero(alone)},
        "common_classes": int(both.sum()),
        "miou_common_classes": float((after[both] - before[both]).mean()),
    }


def _confusion(rules: Protocol, results: Mapping[str, ModelResult]) -> dict[str, Any] | None:
    """Summed confusion matrices, row = truth; null under a protocol that has none."""
    if not isinstance(rules.metric, ConfusionMetric):
        return None
    side = rules.metric.classes
    return {name: result.counts.sum(0).reshape(side, side).tolist() for name, result in results.items()}


def _notes(models: Mapping[str, Contestant], selection: Selection, *, same: bool) -> list[str]:
    """What a reader must know to read the numbers right."""
    int8, notes = models[INT8], []
    if same:
        notes.append("A/A control: both models are the same file")
    if selection.excluded:
        notes.append(f"{selection.excluded} images that the int8 model was calibrated on are left out")
    if selection.included:
        notes.append(f"{selection.included} of the images were also used to calibrate the int8 model")
    if not same and int8.quantized and not int8.card.calibration_images:
        notes.append("the int8 model does not say which images it was calibrated on: none is left out")
    if not same and int8.card.source not in (None, models[FP32].digest):
        notes.append(f"the int8 model was made from another fp32 model ({int8.card.source})")
    target = (int8.card.quantization or {}).get("target")
    cpu = measured_cpu()
    if target in {"vnni", "amx"} and not cpu.exact_u8s8:
        notes.append(
            f"the int8 model was made for {target}, and the int8 kernels of this CPU ({cpu.int8_kernel}) saturate: "
            "its scores here are not its scores there; quantize with --target avx2 for this machine"
        )
    return notes


def _machine(config: SessionConfig) -> dict[str, Any]:
    cpu = measured_cpu()
    return {
        "cpu": cpu.model,
        "cores": cpu.cores,
        "threads": config.thread_count,
        "flags": sorted(cpu.flags),
        "int8_kernel": cpu.int8_kernel,
        "platform": platform.platform(),
    }
