"""From a data folder or a range table to an int8 model, and the proof that it is what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.calibration.thresholds import DEFAULT_METHOD, Method, get_method
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.sample import Dataset, Sample, digests
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.artifact import claim_outputs, digest_file, job_digest
from fcn_onnx.jobs.bounds import DROP, THREADS
from fcn_onnx.jobs.journal import Journals
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.files import data_inputs
from fcn_onnx.model.interface import Interface
from fcn_onnx.quantization.backends import Goal, get_backend
from fcn_onnx.quantization.judge import Judge
from fcn_onnx.quantization.making import Calibrated, Maker, Original
from fcn_onnx.quantization.plan import Plan, make_plan
from fcn_onnx.quantization.refining import refined
from fcn_onnx.quantization.saturation import compare_kernels
from fcn_onnx.quantization.search import Bound, Found, speed_kept, within
from fcn_onnx.quantization.writing import Quantized, up_to_date, write_int8, write_tuned
from fcn_onnx.runtime.interface import classes_of, default_output, preprocessing_of
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.naming import int8_path, log_path


def quantize(
    model: Path,
    choice: ImageChoice | None = None,
    *,
    ranges: Path | None = None,
    method: str | None = None,
    percentile: float | None = None,
    backend: str = "onnxruntime",
    quant_format: str = "auto",
    target: str = "auto",
    per_channel: bool | None = None,
    bias_correction: bool = True,
    keep_float: Sequence[str] = (),
    max_drop: float | None = None,
    refine_ranges: bool = False,
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
        method: threshold method, a name in `METHODS`; None means the backend's default.
        percentile: for the method of that name, instead of its default; percent.
        backend, quant_format, target: names in `BACKENDS`, `FORMATS`, `TARGETS`.
        per_channel: weight scales; None means per channel wherever it is legal.
        bias_correction: take what rounding the weights adds to the means off the biases.
        keep_float: regular expressions; convolutions in whose names, after intake, one is found stay fp32.
        max_drop: the relative mIoU, in percent, that may be lost on the calibration images; as few more convolutions
            as possible stay fp32 for it.
        refine_ranges: move the thresholds, group by group, to where the output errs least on some calibration images.
        output: default `<model>-int8.onnx` in the working folder.
        interface: of the model, where it does not say it itself.
        threads: of each session; 0 means all cores.
        force: redo it though nothing has changed.

    Raises:
        UsageError, ModelError, DatasetError, ImageError, TableError: see the message.
        QuantizationError: the int8 model cannot be written, loaded or run, or no set of convolutions meets `max_drop`.
    """
    DROP.require("--max-drop", max_drop)
    THREADS.require("--threads", threads)
    output = output or int8_path(model)
    own_methods = get_backend(backend).methods
    outputs = {"--output": output, "the log": log_path(output) if own_methods else None}
    inputs = {"the model": model, "--ranges": ranges, **data_inputs(model, outputs.values())}
    claim_outputs(outputs, inputs | (choice.inputs() if choice else {}))
    require_consistent(choice, ranges, backend, method, max_drop, refine_ranges)
    rule = choose_method(backend, method, percentile)
    own_method = method or own_methods[0] if own_methods else ""
    fp32 = Original.open(model)
    plan = make_plan(
        fp32.graph,
        measured_cpu(),
        quant_format=quant_format,
        target=target,
        per_channel=per_channel,
        bias_correction=bias_correction and own_methods is None,
        keep=keep_float,
    )
    for line in [f"plan: {plan}", *plan.reasons]:
        progress.note(line)
    interface = settle([model], interface, progress)
    preprocessing = preprocessing_of(fp32.proto, str(model), interface)
    classes = classes_of(fp32.proto, str(model), interface)
    samples = choice.choose(progress, classes) if choice else ()
    claim_outputs(outputs, {f"the image {sample.name}": sample.file for sample in samples})
    table = RangeTable.load(ranges) if ranges is not None else None
    if table is not None:
        table.require_made_for(fp32.digest, preprocessing.to_json())
    named = table.images if table else dict(zip((s.name for s in samples), digests(samples, progress), strict=True))
    images = Calibrated(samples, preprocessing, named)
    dataset = choice.open(classes) if choice and max_drop is not None else None
    if ranges is not None:
        how: dict[str, Any] = {"ranges": digest_file(ranges)}
    else:
        how = {"method": own_method or (rule.name if rule else ""), "images": dict(named)}
    if dataset or refine_ranges:
        how["tried"] = _tried(plan, samples, dataset, max_drop, refine_ranges)
    job = job_digest(
        "quantize",
        *(["pillow"] if samples else []),
        *(["pycocotools"] if dataset else []),
        *([backend] if own_methods else []),
        source=fp32.digest,
        plan=plan.decided(),
        backend=backend,
        preprocessing=preprocessing.to_json(),
        classes=list(classes_of(fp32.proto, str(model), interface, default=())),
        output=interface.output_name or default_output([value.name for value in fp32.proto.graph.output]),
        **how,
    )
    if not force and (existing := up_to_date(output, job, fp32.size_bytes)):
        return existing
    maker = Maker(fp32, images, interface=interface, backend=backend, job=job, threads=threads)
    bound = None
    if dataset is not None and max_drop is not None:
        judge = Judge(model, dataset, samples, preprocessing, interface=interface, threads=threads, progress=progress)
        bound = Bound(judge, max_drop)
        plan = replace(plan, reasons=(*plan.reasons, f"--max-drop {max_drop:g}: {judge.truth}"))
    if own_methods:
        goal = Goal(bound.judge.drop_percent, bound.max_drop) if bound else None
        return write_tuned(maker.tune(plan, own_method, log_path(output), goal), output, progress)
    with Journals(output, progress=progress) as journals:
        table = (
            table
            or calibrate(
                model,
                samples,
                method=method or DEFAULT_METHOD,
                percentile=percentile,
                preprocessing=preprocessing,
                journals=journals,
                threads=threads,
                progress=progress,
            ).table
        )
        return _written(maker, plan, table, bound, refine_ranges, output, journals, progress)


def _tried(
    plan: Plan, samples: Sequence[Sample], dataset: Dataset | None, max_drop: float | None, refine: bool
) -> dict[str, Any]:
    """What the result of a search depends on, beside what every int8 model does."""
    return {
        "max_drop": max_drop,
        "refine": refine,
        "truth": dataset.fingerprint() if dataset and dataset.labelled else None,
        "order": [sample.name for sample in samples],
        "exact": plan.pair_safe or measured_cpu().exact_u8s8,
    }


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
        found = within(bound, maker, plan, table, journals, progress)
    saturates = plan.pair_safe and not measured_cpu().exact_u8s8
    try_kernels = partial(compare_kernels, maker, found.plan, table, output) if saturates else None
    result = write_int8(maker.make(found.plan, table), output, try_kernels)
    kept = speed_kept(maker, plan, found.plan, table) if found.plan != plan else None
    return replace(result, refinement=refinement, trials=found.trials, speed_kept=kept)


def choose_method(backend: str, method: str | None, percentile: float | None) -> Method | None:
    """How thresholds are chosen; None where the backend does it, by a method of its own.

    Raises:
        UsageError: the backend has no such method, or the method no such percentile.
    """
    own = get_backend(backend).methods
    if own is None:
        return get_method(method or DEFAULT_METHOD, percentile)
    if percentile is not None:
        raise UsageError(f"{backend} has a percentile of its own", fix="leave --percentile out")
    if method is not None and method not in own:
        raise UsageError(f"{backend} has no method {method!r}", fix=f"choose one of: {', '.join(own)}")
    return None


def require_consistent(
    choice: ImageChoice | None,
    ranges: Path | None,
    backend: str,
    method: str | None,
    max_drop: float | None,
    refine_ranges: bool,
) -> None:
    """Raise UsageError on options of `quantize` that contradict one another."""
    own_methods = get_backend(backend).methods
    if (choice is None) == (ranges is None):
        raise UsageError(
            "ranges come either from images (--data) or from a table (--ranges)",
            fix="give exactly one of the two",
        )
    if ranges is not None and method is not None:
        raise UsageError("--method chooses ranges, and --ranges brings them", fix="give one of them")
    if own_methods and ranges is not None:
        raise UsageError(f"{backend} observes images itself and takes no table", fix="give it --data, not --ranges")
    if refine_ranges and own_methods:
        raise UsageError(f"{backend} chooses its own ranges, which --refine cannot move", fix="leave --refine out")
    if refine_ranges and choice is None:
        raise UsageError("--refine is measured on calibration images", fix="give --data, not --ranges")
    if max_drop is not None and choice is None:
        raise UsageError("--max-drop is judged on calibration images", fix="give --data, not --ranges")
