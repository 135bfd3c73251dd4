"""int8 models of one network, ours and the peers', made and scored in one run on the same images and threads.

    python benchmarks/peers.py --model fcn-resnet50-12.onnx --calibrate coco/train2017 --validate coco/val2017 \
        --openvino-python .venv-openvino/bin/python

Rows: ours by default, and by each other threshold method (from one pass's histograms); onnxruntime's
`quantize_static` per channel with its MinMax (with and without `reduce_range`), Entropy and Percentile; Neural
Compressor's minmax, kl and accuracy-driven tuning; OpenVINO with NNCF, by default and with `OverflowFix.ENABLE`, in an
environment of its own (`pip install openvino nncf onnxruntime`). Those whose memory grows with the number of images
(onnxruntime's Entropy and Percentile, Neural Compressor's kl) get `--peer-images` of them, all of one size.

Each model is made in a process of its own, whose seconds and peak memory are shown. Then every model sees every image,
in rotating order; speed-ups are of medians over the fp32 session's. `--exact` also scores each model on the kernel that
cannot saturate.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from fresh import in_fresh_process
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.calibration.methods import DEFAULT_METHOD, METHODS
from fcn_onnx.calibration.observing import observe_images
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.evaluation.comparison import compare
from fcn_onnx.evaluation.metrics import Prediction
from fcn_onnx.evaluation.protocols import get_protocol
from fcn_onnx.model.files import load_model
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.segmenter import Segmenter, on_grid
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import CalibrateOptions, QuantizeOptions
from fcn_onnx.stages.quantize import quantize

OPENVINO = Path(__file__).with_name("peer_openvino.py")


@dataclass(frozen=True)
class Job:
    """One network and the images that it is calibrated on."""

    model: Path
    data: Path
    images: int
    interface: Interface
    target: str
    seed: int = 0

    def choice(self) -> ImageChoice:
        return ImageChoice(self.data, limit=self.images, seed=self.seed)

    def batches(self, samples: Sequence[Sample]) -> Iterator[dict[str, NDArray[np.float32]]]:
        """What the peers' readers are fed: inputs in the model's own layout, by its own name."""
        preprocessing = preprocessing_of(load_model(self.model), str(self.model), self.interface)
        network = Segmenter(self.model, SessionConfig(), self.interface).network
        for sample in samples:
            batch = preprocessing(read_rgb(sample.path))
            own = batch.transpose(0, 2, 3, 1) if network.channels_last else batch
            yield {network.input_name: np.ascontiguousarray(own)}


@dataclass
class Row:
    """One model and what was measured of it."""

    name: str
    path: Path
    seconds: float
    peak_mib: float
    counts: list[NDArray[np.int64]] = field(default_factory=list)
    agreement: list[tuple[int, int]] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    reference_milliseconds: list[float] = field(default_factory=list)


class Reader:
    """onnxruntime's CalibrationDataReader."""

    def __init__(self, batches: Iterator[dict[str, Any]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


def of_one_size(samples: Sequence[Sample]) -> list[Sample]:
    """Those of the most frequent image size."""
    sizes = {}
    for sample in samples:
        with Image.open(sample.path) as image:
            sizes[sample] = image.size
    most = Counter(sizes.values()).most_common(1)[0][0]
    return [sample for sample in samples if sizes[sample] == most]


def make_ours(job: Job, samples: Sequence[Sample], output: Path, method: str) -> None:
    """The whole of `fcn-onnx quantize --data`."""
    quantize(
        QuantizeOptions(
            model=job.model,
            choice=job.choice(),
            method=method,
            target=job.target,
            interface=job.interface,
            output=output,
        )
    )


def make_without_bias_correction(job: Job, samples: Sequence[Sample], output: Path, method: str) -> None:
    """The default's ranges with `--no-bias-correction`."""
    table = output.with_suffix(".json")
    calibrate(CalibrateOptions(source=output.with_name("histograms.npz"), method=method, output=table))
    quantize(
        QuantizeOptions(
            model=job.model,
            ranges=table,
            target=job.target,
            interface=job.interface,
            bias_correction=False,
            output=output,
        )
    )


def make_histograms(job: Job, samples: Sequence[Sample], output: Path, method: str) -> None:
    """One pass, from which every method's table is derived."""
    model = Model.open(job.model)
    preprocessing = preprocessing_of(model.proto, model.name, job.interface)
    observe_images(model, samples, preprocessing).observation.save(output)


def make_derived(job: Job, samples: Sequence[Sample], output: Path, method: str) -> None:
    """`fcn-onnx calibrate --from` and `fcn-onnx quantize --ranges`."""
    table = output.with_suffix(".json")
    calibrate(CalibrateOptions(source=output.with_name("histograms.npz"), method=method, output=table))
    quantize(QuantizeOptions(model=job.model, ranges=table, target=job.target, interface=job.interface, output=output))


def make_ort(job: Job, samples: Sequence[Sample], output: Path, method: str, *, reduce_range: bool = False) -> None:
    """onnxruntime's quantize_static as it comes: per channel, u8 activations, s8 weights."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    quantize_static(
        job.model,
        output,
        Reader(job.batches(samples)),
        calibrate_method=CalibrationMethod[method],
        quant_format=QuantFormat.QOperator,
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def make_ort_reduced(job: Job, samples: Sequence[Sample], output: Path, method: str) -> None:
    """The same with 7-bit weights."""
    make_ort(job, samples, output, method, reduce_range=True)


def make_inc(job: Job, samples: Sequence[Sample], output: Path, method: str) -> None:
    """Neural Compressor's static PTQ as it comes, with this activation algorithm."""
    from neural_compressor import PostTrainingQuantConfig, quantization

    class Loader:
        batch_size = 1

        def __iter__(self) -> Iterator[tuple[Any, int]]:
            return ((next(iter(batch.values())), 0) for batch in job.batches(samples))

    config = PostTrainingQuantConfig(
        approach="static",
        calibration_sampling_size=[len(samples)],
        op_type_dict={".*": {"activation": {"algorithm": [method]}}},
    )
    result = quantization.fit(onnx.load(job.model), config, calib_dataloader=Loader())
    if result is None:
        raise RuntimeError("Neural Compressor returned no model")
    result.save(str(output))


def make_inc_tuned(job: Job, samples: Sequence[Sample], output: Path, method: str) -> None:
    """Our `--backend neural-compressor --max-drop 1`: its tuning with our evaluator."""
    quantize(
        QuantizeOptions(
            model=job.model,
            choice=ImageChoice(job.data, limit=len(samples)),
            backend="neural-compressor",
            target=job.target,
            max_drop=float(method),
            interface=job.interface,
            output=output,
        )
    )


def make_all(job: Job, folder: Path, peer_images: int, only: Sequence[str], skip: Sequence[str]) -> list[Row]:
    """Make every model that is not in the folder yet; one that fails is reported and left out."""
    samples = job.choice().choose().samples
    few = of_one_size(samples)[:peer_images]
    jobs: list[tuple[str, Callable[..., None], Sequence[Sample], str]] = [
        ("ours", make_ours, samples, DEFAULT_METHOD),
        ("histograms", make_histograms, samples, ""),
        *((f"ours, {method}", make_derived, samples, method) for method in METHODS if method != DEFAULT_METHOD),
        ("ours, no bias correction", make_without_bias_correction, samples, DEFAULT_METHOD),
        ("onnxruntime MinMax", make_ort, samples, "MinMax"),
        ("onnxruntime MinMax, reduce_range", make_ort_reduced, samples, "MinMax"),
        ("onnxruntime Entropy", make_ort, few, "Entropy"),
        ("onnxruntime Percentile", make_ort, few, "Percentile"),
        ("Neural Compressor minmax", make_inc, samples, "minmax"),
        ("Neural Compressor kl", make_inc, few, "kl"),
        ("Neural Compressor tuned to 1 %", make_inc_tuned, samples[: 2 * peer_images], "1"),
    ]
    rows = []
    for label, make, chosen, method in jobs:
        name = f"{label}, {len(chosen)} images"
        if (only and not any(part in name for part in only)) or any(part in name for part in skip):
            continue
        path = folder / ("histograms.npz" if make is make_histograms else f"{label.replace(' ', '-')}.onnx")
        kept = path.with_suffix(".cost.json")
        if kept.exists():
            rows += [Row(name, path, *json.loads(kept.read_text()))] if make is not make_histograms else []
            continue
        try:
            _, cost = in_fresh_process(make, job, chosen, path, method)
        except Exception as error:  # a peer that fails is a result too
            print(f"{name}: failed: {type(error).__name__}: {str(error)[:200]}", flush=True)
            continue
        print(f"{name}: {cost.seconds:.0f} s, {cost.peak_mib:.0f} MiB", flush=True)
        kept.write_text(json.dumps([cost.seconds, cost.peak_mib]))
        if make is not make_histograms:
            rows.append(Row(name, path, cost.seconds, cost.peak_mib))
    return rows


def score(job: Job, rows: Sequence[Row], dataset: Dataset, protocol_name: str, limit: int | None, exact: bool) -> Row:
    """One pass over the images, the models in rotating order; returns fp32's row."""
    protocol = get_protocol(protocol_name).of_kind(dataset.kind)
    config = SessionConfig(exact_int8=exact)
    everything = [Row("fp32", job.model, 0, 0), *rows]
    segmenters = [Segmenter(row.path, config, job.interface) for row in everything]
    fixed = segmenters[0].fixed_size
    for index, sample in enumerate(s for s in dataset.samples[:limit] if protocol.selects(dataset, s)):
        photograph = read_rgb(sample.path)
        grid = protocol.grid(photograph)
        preprocessing = segmenters[0].preprocessing
        shown = protocol.shown(preprocessing, fixed)
        batch = shown(photograph)
        truth = protocol.read_truth(dataset, sample, grid)
        seen: dict[int, Prediction] = {}
        for turn in range(len(everything)):
            which = (turn + index) % len(everything)
            started = time.perf_counter()
            value = segmenters[which].run(batch)
            if index:  # the first image warms the sessions up
                everything[which].milliseconds.append(1e3 * (time.perf_counter() - started))
            seen[which] = protocol.predicted(segmenters[which], value, photograph, shown, sample.name)
        for which, row in enumerate(everything):
            row.counts.append(protocol.metric.count(truth, *seen[which]))
            row.agreement.append((int((seen[which].labels == seen[0].labels).sum()), seen[0].labels.size))
            row.reference_milliseconds = everything[0].milliseconds
    return everything[0]


def score_openvino(job: Job, python: Path, rows: list[Row], dataset: Dataset, options: Any, folder: Path) -> None:
    """NNCF's model, and ours for OpenVINO, made and run in their own environment beside onnxruntime's fp32."""
    protocol = get_protocol(options.protocol).of_kind(dataset.kind)
    scored = [s for s in dataset.samples[: options.limit] if protocol.selects(dataset, s)]
    for name, samples in (("calibrate", job.choice().choose().samples), ("validate", scored)):
        (folder / name).mkdir()
        for index, batch in enumerate(job.batches(samples)):
            np.save(folder / name / f"{index:05d}.npy", next(iter(batch.values())))
    ours = folder / "ours-openvino.onnx"
    if not options.only:
        model, opset = onnx.load(job.model), 13
        if model.opset_import[0].version < opset:
            model = onnx.version_converter.convert_version(model, opset)
        newer = folder / "fp32-13.onnx"
        onnx.save(model, newer)
        quantize(
            QuantizeOptions(model=newer, choice=job.choice(), target="openvino", interface=job.interface, output=ours)
        )
    kept = str(options.models or folder)
    command = [str(python), str(OPENVINO), str(job.model), str(folder), kept, *([str(ours)] if ours.exists() else [])]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        print(f"OpenVINO + NNCF: failed: {result.stderr.strip().splitlines()[-1]}", flush=True)
        return
    for name, found in json.loads(result.stdout.splitlines()[-1]).items():
        if same := found.get("same_as_onnxruntime_percent"):
            print(f"{name}: {same:.2f} % of the labels that onnxruntime gives for the same file", flush=True)
        row = Row(name, Path(), found["seconds"], found["peak_mib"])
        row.milliseconds, row.reference_milliseconds = found["milliseconds"], found["fp32_milliseconds"]
        for index, sample in enumerate(scored):
            grid = protocol.grid(read_rgb(sample.path))
            labels, reference = (
                on_grid(np.load(folder / f"{index:05d}-{which}.npy"), grid) for which in (found["labels"], "fp32")
            )
            row.counts.append(protocol.metric.count(protocol.read_truth(dataset, sample, grid), labels))
            row.agreement.append((int((labels == reference).sum()), labels.size))
        rows.append(row)


def show(rows: Sequence[Row], fp32: Row, protocol_name: str, title: str) -> None:
    metric = get_protocol(protocol_name).metric
    before = np.stack(fp32.counts)
    base = metric.scores(before).miou
    cpu = measured_cpu()
    print(
        f"\n{title}, {cpu.int8_kernel} kernels: fp32 mIoU {100 * base:.2f} % on {len(before)} images, {protocol_name}"
    )
    heads = (
        f"{'drop %':>8}{'95 % interval':>18}{'agreement':>11}{'95 % interval':>18}{'speed-up':>10}{'s':>7}{'MiB':>8}"
    )
    print(f"{'':46}{heads}")
    for row in rows:
        d = compare(metric, before, np.stack(row.counts), np.asarray(row.agreement))
        drop = agree = "too few images"
        if d.miou_ci95 and d.label_agreement_ci95:
            high, low = (-100 * x / base for x in d.miou_ci95)
            drop, agree = f"{low:.2f} … {high:.2f}", "{:.4f} … {:.4f}".format(*d.label_agreement_ci95)
        speed = np.median(row.reference_milliseconds) / np.median(row.milliseconds)
        print(
            f"{row.name:46}{-100 * d.miou / base:8.2f}{drop:>18}{d.label_agreement:11.4f}{agree:>18}"
            f"{speed:10.2f}{row.seconds:7.0f}{row.peak_mib:8.0f}",
            flush=True,
        )


def triple(text: str) -> tuple[float, float, float]:
    red, green, blue = map(float, text.split(","))
    return red, green, blue


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The options that say which network is calibrated and scored on what."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--validate", type=Path, required=True)
    parser.add_argument("--protocol", default="torchvision")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--mean", type=triple)
    parser.add_argument("--std", type=triple)
    return parser


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--peer-images", type=int, default=8)
    parser.add_argument("--target", default="auto")
    parser.add_argument("--only", nargs="*", default=[], help="rows whose names hold one of these")
    parser.add_argument("--skip", nargs="*", default=[], help="rows whose names hold one of these are left out")
    parser.add_argument("--models", type=Path, help="keep the models here, and do not make again those that are there")
    parser.add_argument("--openvino-python", type=Path, help="of an environment with openvino, nncf and onnxruntime")
    parser.add_argument("--exact", action="store_true", help="score once more on the exact kernel")
    options = parser.parse_args()
    job = Job(options.model, options.calibrate, options.images, Interface(options.mean, options.std), options.target)
    dataset = open_dataset(options.validate)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = options.models or folder
        models.mkdir(parents=True, exist_ok=True)
        rows = make_all(job, models, options.peer_images, options.only, options.skip)
        fp32 = score(job, rows, dataset, options.protocol, options.limit, exact=False)
        if options.openvino_python:
            score_openvino(job, options.openvino_python, rows, dataset, options, folder)
        show(rows, fp32, options.protocol, "as it runs by default")
        if options.exact:
            again = [Row(row.name, row.path, row.seconds, row.peak_mib) for row in rows if row.path.name]
            fp32 = score(job, again, dataset, options.protocol, options.limit, exact=True)
            show(again, fp32, options.protocol, "exact kernel")


if __name__ == "__main__":
    main()
