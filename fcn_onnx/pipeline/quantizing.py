"""From a data folder or a range table to an int8 model, and the proof that it is what it should be."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.artifact import claim_outputs, digest_file, digest_files, digest_json, job_digest
from fcn_onnx.bounds import DROP, THREADS
from fcn_onnx.calibration import DEFAULT_METHOD, Method, calibrate, get_method, observed_tensors
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.discover import open_dataset
from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import QuantizationError, UsageError
from fcn_onnx.evaluation import Judge, OutputError, benchmark, changed_labels
from fcn_onnx.interface import default_output
from fcn_onnx.journal import Journals
from fcn_onnx.model.files import data_inputs, digest_model, load_model, save_model
from fcn_onnx.model.form import require_float32
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.intake import take_in
from fcn_onnx.naming import int8_path, log_path
from fcn_onnx.progress import SILENT, Progress
from fcn_onnx.quantization import (
    Found,
    Goal,
    Images,
    Made,
    Plan,
    Quantized,
    Refinement,
    Saturation,
    get_backend,
    keep_float,
    make_int8,
    make_plan,
    refine,
    search,
    up_to_date,
    write_int8,
)
from fcn_onnx.ranges import RangeTable
from fcn_onnx.runtime import Network, measured_cpu
from fcn_onnx.segmenter import Interface, classes_of, preprocessing_of
from fcn_onnx.settling import settle

PROOF_IMAGES = 4
RANKING_IMAGES = 8
REFINING_IMAGES = 6
REFINED_GROUPS = 16
SPEED_RUNS = 5


@dataclass(frozen=True)
class _Work:
    """What all steps of one `quantize` need to know."""

    model: Path
    output: Path
    backend: str
    method: str
    preprocessing: Preprocessing
    samples: Sequence[Sample]
    images: Mapping[str, str]
    interface: Interface
    threads: int
    job: str
    progress: Progress

    def make(self, plan: Plan, source: RangeTable | Images, goal: Goal | None = None) -> Made:
        return make_int8(
            self.model,
            plan,
            source,
            method=self.method,
            preprocessing=self.preprocessing.to_json(),
            calibration_images=self.images,
            log=log_path(self.output),
            backend=self.backend,
            job=self.job,
            goal=goal,
            classes=self.interface.classes or (),
            output_name=self.interface.output,
        )

    def trial(self, plan: Plan, table: RangeTable, path: Path) -> Path:
        """A model to measure, of which nothing is proved."""
        save_model(self.make(plan, table).int8, path)
        return path

    def write(self, plan: Plan, table: RangeTable) -> Quantized:
        """The model that gets the name, once everything is proved of it."""
        saturates = plan.pair_safe and not measured_cpu().exact_u8s8
        try_kernels = partial(_try_kernels, self, plan, table) if saturates else None
        return write_int8(self.make(plan, table), self.output, try_kernels)

    def batches(self) -> Iterator[NDArray[np.float32]]:
        return (self.preprocessing(read_rgb(sample.path)) for sample in self.samples)


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
    proto = load_model(model)
    require_float32(proto, str(model))
    plan = make_plan(
        take_in(proto, str(model)),
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
    preprocessing = preprocessing_of(proto, str(model), interface)
    source = digest_model(model)
    classes = classes_of(proto, str(model), interface)
    table, samples = None, choice.choose(progress, classes) if choice else ()
    claim_outputs(outputs, {f"the image {sample.name}": sample.path for sample in samples})
    if ranges is not None:
        table = RangeTable.load(ranges)
        table.require_made_for(source, preprocessing.to_json())
        images, name = table.images, table.method
        how: dict[str, Any] = {"ranges": digest_file(ranges)}
    else:
        contents = digest_files([sample.path for sample in samples], progress)
        images = {sample.name: content for sample, content in zip(samples, contents, strict=True)}
        name = rule.name if rule else (method or (own_methods or ("",))[0])
        how = {"method": name, "images": dict(images)}
    dataset = None
    if max_drop is not None and choice is not None:
        dataset = open_dataset(choice.data, annotations=choice.annotations, classes=classes)
    if dataset or refine_ranges:
        how["tried"] = {
            "max_drop": max_drop,
            "refine": refine_ranges,
            "truth": dataset.fingerprint() if dataset and dataset.labelled else None,
            "order": [sample.name for sample in samples],
            "exact": plan.pair_safe or measured_cpu().exact_u8s8,
        }
    job = job_digest(
        "quantize",
        *(["pillow"] if samples else []),
        *(["pycocotools"] if dataset else []),
        *([backend] if own_methods else []),
        source=source,
        plan=plan.decided(),
        backend=backend,
        preprocessing=preprocessing.to_json(),
        classes=list(classes_of(proto, str(model), interface, default=())),
        output=interface.output or default_output([value.name for value in proto.graph.output]),
        **how,
    )
    if not force and (existing := up_to_date(output, job, model, plan)):
        return existing
    work = _Work(model, output, backend, name, preprocessing, samples, images, interface, threads, job, progress)
    judge = None
    if dataset is not None and max_drop is not None:
        judge = Judge(model, dataset, samples, preprocessing, interface=interface, threads=threads, progress=progress)
        plan = replace(plan, reasons=(*plan.reasons, f"--max-drop {max_drop:g}: {judge.truth}"))
    if own_methods:
        goal = Goal(judge.drop_percent, max_drop) if judge and max_drop is not None else None
        return _reported(write_int8(work.make(plan, _images(work), goal), output), backend, progress)
    with Journals(output, progress=progress) as journals:
        if table is None:
            table = calibrate(
                model,
                samples,
                method=method or DEFAULT_METHOD,
                percentile=percentile,
                preprocessing=preprocessing,
                journals=journals,
                threads=threads,
                progress=progress,
            ).table
        return _made(work, plan, table, judge, max_drop, journals, refine_ranges=refine_ranges)


def _made(
    work: _Work,
    plan: Plan,
    table: RangeTable,
    judge: Judge | None,
    max_drop: float | None,
    journals: Journals,
    *,
    refine_ranges: bool,
) -> Quantized:
    """The int8 model from a table, on disk and proven."""
    refinement = None
    if refine_ranges:
        table, refinement = _refined(work, plan, table, journals)
        work = replace(work, method=table.method)
    if judge is None or max_drop is None:
        result = work.write(plan, table)
    else:
        result = _within(max_drop, work, plan, table, judge, journals)
    return replace(result, refinement=refinement)


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


def _images(work: _Work) -> Images:
    """The calibration images as the model takes them."""
    form = Network(work.model, multiple_of=work.preprocessing.multiple_of).form
    shapes = [form.padded(batch).shape[2:] for batch in work.batches()]
    height, width = max(shapes, key=lambda shape: shape[0] * shape[1])

    def fed() -> Iterator[NDArray[np.float32]]:
        return (form.fed(batch).astype(np.float32, copy=False) for batch in work.batches())

    return Images(len(shapes), fed, (height, width))


def _refined(work: _Work, plan: Plan, table: RangeTable, journals: Journals) -> tuple[RangeTable, Refinement]:
    """The table with its thresholds moved, in groups of neighbours, to where the output errs least."""
    carried = observed_tensors(take_in(load_model(work.model), str(work.model))).carried
    roots = [root for root in dict.fromkeys(carried.values()) if root in table.ranges]
    blocks = [set(block) for block in np.array_split(roots, min(REFINED_GROUPS, len(roots)))]
    groups = [[name for name in table.ranges if carried.get(name, name) in block] for block in blocks]
    with tempfile.TemporaryDirectory(prefix="fcn-onnx-") as folder:
        trial = Path(folder, "trial.onnx")
        error = OutputError(
            work.model,
            work.samples[:REFINING_IMAGES],
            work.preprocessing,
            interface=work.interface,
            threads=work.threads,
        )
        return refine(
            table,
            groups,
            lambda candidate: error(work.trial(plan, candidate, trial)),
            journals.of(digest_json(["refine", work.job, table.digest()])),
            work.progress,
        )


def _within(max_drop: float, work: _Work, plan: Plan, table: RangeTable, judge: Judge, journals: Journals) -> Quantized:
    """The int8 model with the fewest convolutions in fp32 that loses no more than `max_drop` percent."""
    with tempfile.TemporaryDirectory(prefix="fcn-onnx-") as folder:
        trial, whole = Path(folder, "trial.onnx"), Path(folder, "int8.onnx")
        convs = [conv.name for conv in read_facts(load_model(work.trial(plan, table, whole))).convs if conv.int8]
        fp32 = take_in(load_model(work.model), str(work.model))
        originals = {node.name for node in fp32.graph.node}
        names = [name if name in originals else name.removesuffix("_quant") for name in convs]

        def made(kept: Sequence[str]) -> Path:
            return work.trial(keep_float(plan, fp32, kept), table, trial)

        found: Found = search(
            names,
            lambda name: judge.flipped_share(made([name]), RANKING_IMAGES),
            lambda kept: judge.drop_percent(made(kept), work.progress),
            max_drop,
            journals.of(digest_json(["search", work.job, table.digest()])),
            work.progress,
        )
        result = work.write(keep_float(plan, fp32, found.float_convs), table)
        if not found.float_convs:
            return replace(result, trials=found.trials)
        height, width = next(iter(work.batches())).shape[2:]
        timing = benchmark(
            [whole, work.output],
            sizes=[(height, width)],
            runs=SPEED_RUNS,
            threads=work.threads,
            progress=work.progress,
        )
        return replace(result, trials=found.trials, speed_kept=timing.rows[1].speedup)


def _try_kernels(work: _Work, plan: Plan, table: RangeTable, model: Path) -> Saturation:
    """Run `model` on the fast and on the exact kernel, and one with unsafe pairs beside it.

    Raises:
        QuantizationError: the two kernels disagree.
    """
    batches = [batch for _, batch in zip(range(PROOF_IMAGES), work.batches(), strict=False)]
    size = batches[0].shape if batches else (1, 3, *(work.preprocessing.resize.size or (256, 320)))
    batches.append(np.random.default_rng(0).uniform(-4, 4, size).astype(np.float32))
    changed = changed_labels(model, batches, work.interface, work.threads)
    if changed.any():
        raise QuantizationError(
            f"{int(changed.sum())} labels of {work.output} differ between the fast and the exact int8 kernel",
            fix="report this with the model; the session option session.x64quantprecision=1 is exact",
        )
    with tempfile.TemporaryDirectory(prefix="fcn-onnx-") as folder:
        unsafe = work.trial(replace(plan, pair_safe=False), table, Path(folder, "unsafe.onnx"))
        would = changed_labels(unsafe, batches, work.interface, work.threads)
    shown = would[: len(batches) - 1] if len(batches) > 1 else would
    pixels = sum(batch.shape[2] * batch.shape[3] for batch in batches[: len(shown)])
    return Saturation(len(batches), int(changed.sum()), float(shown.sum() / pixels))


def _reported(result: Quantized, backend: str, progress: Progress) -> Quantized:
    """What another library's model is not, which nobody else says."""
    if result.proof and (names := result.proof.undone):
        progress.note(
            f"onnxruntime rounds {len(names)} layers that {backend} keeps in fp32: {', '.join(names)}; it always does"
        )
    return result
