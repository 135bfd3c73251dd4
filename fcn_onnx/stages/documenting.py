"""From what a validation measured to its report."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset
from fcn_onnx.evaluation.contestants import Contestants
from fcn_onnx.evaluation.metrics import ConfusionMetric
from fcn_onnx.evaluation.protocol import Protocol
from fcn_onnx.evaluation.regions import ACCURACY, REGIONS, RegionCounts
from fcn_onnx.evaluation.result import Comparison, ModelResult
from fcn_onnx.evaluation.runtimes import Run, runtime_notes
from fcn_onnx.evaluation.scoring import Tally
from fcn_onnx.evaluation.selection import Selection
from fcn_onnx.jobs.artifact import PACKAGES, versions
from fcn_onnx.jobs.engines import RAY, Running
from fcn_onnx.report import codec
from fcn_onnx.report.document import (
    INT8,
    Candidate,
    ChangedImage,
    Coverage,
    Data,
    Digests,
    Document,
    Machine,
    Matrix,
    Pictures,
    Shown,
    Timing,
)
from fcn_onnx.report.regions import Region
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.seam import RUNTIMES, SessionConfig


@dataclass(frozen=True)
class Setting:
    """What all rows shared.

    Attributes:
        rules: the protocol.
        selection: the images.
        preprocessing: what all were shown.
        config: of the sessions.
        images_digest, job: digests of the images, and of the whole work.
        command: the way to repeat it.
        notes: what a reader must know.
    """

    contestants: Contestants
    dataset: Dataset
    rules: Protocol
    selection: Selection
    preprocessing: Preprocessing
    config: SessionConfig
    images_digest: str
    job: str
    command: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """The images that a candidate changed most, and which of them are drawn."""

    worst: tuple[int, ...]
    gallery: tuple[Pictures, ...]


def document(
    setting: Setting, tally: Tally, fp32: ModelResult, candidates: Mapping[str, Comparison], seen: Mapping[str, Seen]
) -> Document:
    """The report of a validation, all of whose arguments are of the same images and rows."""
    dataset, rules, selection = setting.dataset, setting.rules, setting.selection
    row = fp32.row(dataset.label_space.names)
    results = [fp32, *(candidate.int8 for candidate in candidates.values())]
    loading, sessions, scoring = tally.seconds.sum(0).tolist()
    return Document(
        protocol=rules.name,
        protocol_description=rules.description,
        images=len(tally.images),
        fp32=row,
        candidates={name: _candidate(setting, tally, candidate, seen[name]) for name, candidate in candidates.items()},
        classes=dataset.label_space.names,
        absent_classes=tuple(name for name, iou in (row.per_class_iou or {}).items() if iou is None),
        regions=_regions(fp32.regions, by_truth=dataset.labelled),
        confusion=_confusion(rules, results),
        timing=Timing(loading_seconds=loading, session_seconds=sessions, scoring_seconds=scoring),
        versions=versions((*PACKAGES, *packages_of(setting.contestants))),
        dataset=Data(
            kind=dataset.kind,
            root=str(dataset.root),
            description=dataset.description,
            excluded_calibration_images=selection.excluded,
            included_calibration_images=selection.included,
            limit=selection.limit,
        ),
        preprocessing=setting.preprocessing.to_json(),
        shown=Shown(resize=str(setting.preprocessing.resize), protocol_resize=str(rules.resize)),
        machine=_machine(setting.config),
        digests=Digests(
            fp32=fp32.digest,
            int8=candidates[INT8].int8.digest if INT8 in candidates else None,
            images=setting.images_digest,
            job=setting.job,
        ),
        command=setting.command,
        notes=(*setting.notes, *_on_runtimes(results)),
    )


def _candidate(setting: Setting, tally: Tally, found: Comparison, seen: Seen) -> Candidate:
    classes = setting.dataset.label_space.names
    (contestant,) = (model for model in setting.contestants.candidates if model.name == found.int8.name)
    same, compared = found.agreement.T
    return Candidate(
        int8=found.int8.row(classes),
        delta=found.delta(classes),
        gate=found.gate,
        one_sided_classes=found.one_sided(classes, leaves_absent_out=setting.rules.metric.leaves_absent_out),
        coverage=_coverage(found) if contestant.quantized else None,
        worst_images=tuple(
            ChangedImage(name=tally.images[i], agreement=float(same[i] / compared[i])) for i in seen.worst
        ),
        gallery=seen.gallery,
    )


def packages_of(contestants: Contestants) -> tuple[str, ...]:
    """Packages of the runtimes."""
    return tuple(dict.fromkeys(RUNTIMES[model.runtime].package for model in contestants.all))


def _on_runtimes(results: Sequence[ModelResult]) -> tuple[str, ...]:
    return runtime_notes([Run(row.path.name, row.digest, row.runtime, row.latency_ms) for row in results])


def _coverage(found: Comparison) -> Coverage | None:
    seen = read_coverage(found.int8.path, runtime=found.int8.runtime)
    return None if seen is None else codec.from_json(Coverage, seen.to_json(), str(found.int8.path))


def _regions(counts: RegionCounts, *, by_truth: bool) -> dict[str, Region]:
    """Where the rows were looked at; which is the same for all."""
    shares, objects = counts.shares.tolist(), counts.objects.sum(0).tolist()
    return {
        name: Region(
            description=region.said,
            measure=region.measure,
            by_truth=by_truth,
            pixels_share=shares[index],
            objects=objects[index] if region.measure == ACCURACY else None,
        )
        for index, (name, region) in enumerate(REGIONS.items())
    }


def _confusion(rules: Protocol, results: Sequence[ModelResult]) -> dict[str, Matrix] | None:
    """Summed confusion matrices by row, row = truth; None under a protocol that has none."""
    if not isinstance(rules.metric, ConfusionMetric):
        return None
    return {result.name: tuple(map(tuple, rules.metric.matrix(result.counted).tolist())) for result in results}


def _machine(config: SessionConfig) -> Machine:
    cpu = measured_cpu()
    return Machine(
        cpu=cpu.model,
        cores=cpu.cores,
        threads=config.thread_count,
        flags=tuple(sorted(cpu.flags)),
        int8_kernel=cpu.int8_kernel,
        platform=platform.platform(),
    )


def notes_on(contestants: Contestants, selection: Selection, running: Running) -> tuple[str, ...]:
    """What a reader must know to read the numbers right."""
    several = len(contestants.files) > 1
    who = "a candidate" if several else "the int8 model"
    notes = []
    if selection.excluded:
        notes.append(f"{selection.excluded} images that {who} was calibrated on are left out")
    if selection.included:
        notes.append(f"{selection.included} of the images were also used to calibrate {who}")
    cpu = measured_cpu()
    for model in contestants.files:
        name = model.name if len(contestants.files) == len(contestants.candidates) else model.path.stem
        it = f"the int8 model {name}" if several else "the int8 model"
        target = (model.card.quantization or {}).get("target")
        if model not in contestants.others:
            control = f"{name} and fp32" if several else "both models"
            notes.insert(0, f"A/A control: {control} are the same file")
        elif model.quantized and not model.card.calibration_images:
            notes.append(f"{it} does not say which images it was calibrated on: none is left out")
        if model in contestants.others and model.card.source not in (None, contestants.fp32.digest):
            notes.append(f"{it} was made from another fp32 model ({model.card.source})")
        if target in {"vnni", "amx", "arm64"} and not cpu.exact_u8s8:
            notes.append(
                f"{it} was made for {target}, and the int8 kernels of this CPU ({cpu.int8_kernel}) saturate: "
                "its scores here are not its scores there; quantize with --target avx2 for this machine"
            )
    if running.engine == RAY:
        notes.append("latencies and the speed-up are those of a cluster's busy machines: time models with 1 worker")
    elif not running.quiet:
        notes.append(
            f"{running.workers} workers shared the machine: latencies and the speed-up are those of a busy one"
        )
    return tuple(notes)
