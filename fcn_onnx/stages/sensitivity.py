"""The stage `sensitivity`: what the int8 of each layer and of each activation costs, and what keeping some gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_onnx.calibration.methods import get_method
from fcn_onnx.calibration.observing import observe_images, observing_job, tabulate
from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample, digests
from fcn_onnx.errors import QuantizationError, UsageError
from fcn_onnx.jobs.artifact import atomic_folder, claim_outputs, digest_file, dump_json, job_digest
from fcn_onnx.jobs.journal import Journals, forget
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.files import data_inputs
from fcn_onnx.model.form import require_float32
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.quantization.making import Calibrated, Maker
from fcn_onnx.quantization.plan import Plan, make_plan
from fcn_onnx.quantization.pricing import measured_prices, way
from fcn_onnx.quantization.sensitivity import (
    front_steps,
    layer_names,
    measure_front,
    measure_layers,
    measure_tensors,
)
from fcn_onnx.quantization.trials import Trials
from fcn_onnx.report.sensitivity import FILES, SCHEMA, Sensitivity, found_in
from fcn_onnx.report.sensitivity_page import summary, to_page
from fcn_onnx.runtime.interface import classes_of, declared_classes, default_output, preprocessing_of
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages.naming import find_fp32
from fcn_onnx.stages.options import SensitivityOptions

FRONT_IMAGES = 4
"""Most images of the front, as a multiple of those of a trial."""


@dataclass(frozen=True)
class Found:
    """The result of `sensitivity`.

    Attributes:
        sensitivity: what was measured.
        folder: has it as JSON and as a page.
        skipped: it was there already, from the same inputs.
    """

    sensitivity: Sensitivity
    folder: Path
    skipped: bool = False

    def _repr_html_(self) -> str:
        return summary(self.sensitivity)

    def to_json(self) -> dict[str, Any]:
        """The object that `sensitivity --json` writes: that of sensitivity.json."""
        return self.sensitivity.to_json()


def sensitivity(options: SensitivityOptions, *, progress: Progress = SILENT) -> Found:
    """Measure each layer alone in int8 and alone in fp32, each activation alone in 8 bits, and the front.

    An interrupted run continues where it was.

    Raises:
        UsageError, ModelError, DatasetError, ImageError, TableError: see the message.
        QuantizationError: nothing would compute in int8, or an int8 model cannot be made or run.
    """
    model = options.model or find_fp32()
    outputs, inputs = files_of(options, model)
    claim_outputs(outputs, inputs)
    decided = decide(options, model, progress)
    fp32, plan, job, given = decided.fp32, decided.plan, decided.job, decided.given
    interface, preprocessing, samples = decided.interface, decided.preprocessing, decided.samples
    claim_outputs(outputs, {f"the image {sample.name}": sample.file for sample in samples})
    rule = get_method(options.method, options.percentile, plan.levels)
    output = options.report / FILES[0]
    if not options.force and (existing := up_to_date(output, job)):
        contents = zip(samples, digests(samples, progress), strict=True)
        observed = observing_job(fp32, {sample.name: content for sample, content in contents}, preprocessing)
        forget(output, job, observed, wait_s=options.wait, progress=progress)
        return Found(existing, options.report, skipped=True)
    with Journals(output, wait_s=options.wait, progress=progress) as journals:
        table = given or tabulate(
            observe_images(
                fp32, samples, preprocessing, threads=options.threads, journals=journals, progress=progress
            ).observation,
            rule,
        )
        maker = Maker(
            fp32,
            Calibrated(samples, preprocessing, table.images),
            interface=interface,
            job=job,
            threads=options.threads,
        )
        found = _measured(Trials(maker, plan, table, journals.of(job), progress), samples, options.trial_images)
        _write(found, options.report)
    return Found(found, options.report)


@dataclass(frozen=True)
class Decided:
    """What is measured and how, when all is said and nothing is done.

    Attributes:
        interface: of the model, settled.
        preprocessing: how it is shown images.
        samples: the chosen images.
        given: the table of `--ranges`, if any.
        job: digest of all that the numbers depend on.
    """

    fp32: Model
    interface: Interface
    preprocessing: Preprocessing
    plan: Plan
    samples: Sequence[Sample]
    given: RangeTable | None
    job: str


def decide(options: SensitivityOptions, model: Path, progress: Progress) -> Decided:
    """Open the model, choose the form and the images, and write nothing. Raises as `sensitivity`."""
    fp32 = Model.open(model)
    require_float32(fp32.proto, fp32.name)
    interface = settle([fp32], options.interface, progress)
    preprocessing = preprocessing_of(fp32.proto, fp32.name, interface)
    plan = _plan(options, fp32, progress)
    rule = get_method(options.method, options.percentile, plan.levels)
    known = classes_of(fp32.proto, fp32.name, interface), declared_classes(fp32.proto, fp32.name, interface)
    samples = options.choice.choose(progress, *known).samples
    if not samples:
        raise UsageError("no image to try layers on", fix="give at least one")
    given = None
    if options.ranges is not None:
        given = RangeTable.load(options.ranges)
        given.require_made_for(fp32.digest, preprocessing.to_json())
        given.require_levels(plan.levels)
    job = _job(options, fp32, plan, rule.name, interface, preprocessing, samples, progress)
    return Decided(fp32, interface, preprocessing, plan, samples, given, job)


def files_of(options: SensitivityOptions, model: Path) -> tuple[dict[str, Path | None], dict[str, Path | None]]:
    """What `sensitivity` writes, and what it reads beside the images, by what they are called."""
    outputs: dict[str, Path | None] = {f"{name} of --report": options.report / name for name in FILES}
    inputs = {"the model": model, "--ranges": options.ranges, **data_inputs(model, outputs.values())}
    return outputs, inputs | options.choice.inputs()


def _plan(options: SensitivityOptions, fp32: Model, progress: Progress) -> Plan:
    plan = make_plan(
        fp32.taken,
        measured_cpu(),
        quant_format=options.format,
        target=options.target,
        per_channel=options.per_channel,
        bias_correction=options.bias_correction,
    )
    progress.note(f"plan: {plan}")
    return plan


def _job(
    options: SensitivityOptions,
    fp32: Model,
    plan: Plan,
    method: str,
    interface: Interface,
    preprocessing: Preprocessing,
    samples: Sequence[Sample],
    progress: Progress,
) -> str:
    """Digest of all that the numbers depend on; the times among them depend on the machine."""
    ranges = {"method": method} if options.ranges is None else {"ranges": digest_file(options.ranges)}
    return job_digest(
        "sensitivity",
        "pillow",
        source=fp32.digest,
        plan=plan.decided(),
        preprocessing=preprocessing.to_json(),
        classes=list(classes_of(fp32.proto, fp32.name, interface)),
        output=interface.output_name or default_output([value.name for value in fp32.proto.graph.output]),
        images=[[sample.name, content] for sample, content in zip(samples, digests(samples, progress), strict=True)],
        trial_images=options.trial_images,
        cpu=measured_cpu().kernels(),
        threads=options.threads,
        **ranges,
    )


def _measured(trials: Trials, samples: Sequence[Sample], trial_images: int) -> Sensitivity:
    """All of it; the front on images that ranked nothing, where there are others."""
    maker, fp32 = trials.maker, trials.maker.fp32
    names = layer_names(trials)
    if not names:
        raise QuantizationError(
            "nothing of the model would compute in int8, so nothing is sensitive to it", fix="see `fcn-onnx quantize`"
        )
    seen, others = samples[:trial_images], samples[trial_images : (1 + FRONT_IMAGES) * trial_images]

    ranking = maker.reference(seen, logits=len(seen))
    height, width = ranking.batch.shape[2:]
    facts = read_facts(fp32.taken.model, (height, width))
    whole = trials.deviation("whole", ranking, lambda: trials.made(()).int8)
    layers = measure_layers(trials, names, facts, ranking)
    tensors = measure_tensors(trials, ranking)
    steps = front_steps(way(measured_prices(trials, ranking, len(seen)), trials))
    del ranking  # and all the logits that it holds
    front = measure_front(trials, layers, steps, maker.reference(others or seen))
    return Sensitivity(
        schema=SCHEMA,
        job=maker.job,
        model=str(fp32.path),
        digest=fp32.digest,
        plan=trials.plan.to_json(),
        method=trials.table.method,
        ranked_on=tuple(sample.name for sample in seen),
        front_on=tuple(sample.name for sample in others or seen),
        size=facts.size,
        cpu=measured_cpu().model,
        threads=maker.config.thread_count,
        whole=whole,
        layers=tuple(layers),
        tensors=tuple(tensors),
        front=tuple(front),
    )


def _write(found: Sensitivity, folder: Path) -> None:
    text, page = (folder_name for folder_name in FILES)
    with atomic_folder(folder) as temporary:
        (temporary / text).write_text(dump_json(found.to_json()), encoding="utf-8", errors="backslashreplace")
        (temporary / page).write_text(to_page(found), encoding="utf-8", errors="backslashreplace")


def up_to_date(path: Path, job: str) -> Sensitivity | None:
    """What an earlier run of this very job measured; None if there is none, or it cannot be read, or has no page."""
    found = found_in(path)
    return found if found and found.job == job else None
