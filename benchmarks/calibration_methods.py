"""int8 models by calibration method, ours and the peers', scored on the same images in one run.

    python benchmarks/calibration_methods.py --model fcn-resnet50-12.onnx \
        --calibrate coco/train2017 --validate coco/val2017 --images 64 --peer-images 8

Ours observe `--images` images once; each method's table is derived from the same histograms. The peers get the
same images, but those whose memory grows with their number (onnxruntime's Entropy and Percentile, Neural
Compressor's kl) `--peer-images` of them only, all of one size, as onnxruntime's crash on mixed sizes.
Each is made in a process of its own; seconds and peak
memory are of that process. Scores are on the kernel that cannot saturate, so that methods, not CPUs, are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import multiprocessing
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from fcn_onnx.calibration import METHODS, calibrate, derive
from fcn_onnx.cpu import read_cpu
from fcn_onnx.data.discover import open_dataset
from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.selection import draw
from fcn_onnx.evaluation.comparison import compare
from fcn_onnx.evaluation.protocols import get_protocol
from fcn_onnx.evaluation.scoring import labels_of
from fcn_onnx.quantization import make_plan, write_int8
from fcn_onnx.runtime import Network, SessionConfig, load_model


def of_one_size(samples: Sequence[Sample]) -> list[Sample]:
    """Those of the most frequent image size."""
    sizes = {}
    for sample in samples:
        with Image.open(sample.path) as image:
            sizes[sample] = image.size
    most = Counter(sizes.values()).most_common(1)[0][0]
    return [sample for sample in samples if sizes[sample] == most]


def batches(samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    """What onnxruntime's and Neural Compressor's readers are fed."""
    for sample in samples:
        yield {"input": Preprocessing()(read_rgb(sample.path))}


class Reader:
    """onnxruntime's CalibrationDataReader."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._batches = batches(samples)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


def make_ours(model: Path, samples: Sequence[Sample], output: Path) -> None:
    """One pass; every method's model, `<output>-<method>.onnx`."""
    histograms = output.with_suffix(".npz")
    calibrate(model, samples, histograms=histograms)
    plan = make_plan(load_model(model), read_cpu(), target="vnni")
    for method in METHODS:
        table = derive(histograms, method=method).table
        path = output.with_name(f"{output.name}-{method}.onnx")
        write_int8(model, table, plan, path, backend="onnxruntime", job="benchmark", calibration_images={})


def make_ort(method: str, model: Path, samples: Sequence[Sample], output: Path) -> None:
    """onnxruntime's quantize_static as it comes: per channel, u8 activations, s8 weights."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    quantize_static(
        model,
        output,
        Reader(samples),
        calibrate_method=CalibrationMethod[method],
        quant_format=QuantFormat.QOperator,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def make_inc(algorithm: str, model: Path, samples: Sequence[Sample], output: Path) -> None:
    """Neural Compressor's static PTQ as it comes, with this activation algorithm."""
    from neural_compressor import PostTrainingQuantConfig, quantization

    class Loader:
        batch_size = 1

        def __iter__(self) -> Iterator[tuple[Any, int]]:
            return ((batch["input"], 0) for batch in batches(samples))

    config = PostTrainingQuantConfig(
        approach="static",
        calibration_sampling_size=[len(samples)],
        op_type_dict={".*": {"activation": {"algorithm": [algorithm]}}},
    )
    result = quantization.fit(onnx.load(model), config, calib_dataloader=Loader())
    if result is None:
        raise RuntimeError("Neural Compressor returned no model")
    result.save(str(output))


def measured(work: Callable[..., None], arguments: Sequence[Any]) -> tuple[float, float]:
    """Seconds and peak MiB of `work(*arguments)`, to be called in a fresh process."""
    logging.disable(logging.WARNING)
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        work(*arguments)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_process(work: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (work, arguments))


def score(fp32: Path, models: dict[str, Path], samples: Sequence[Sample], data: Path, threads: int) -> None:
    """One pass over the images; prints a row for each model."""
    protocol, dataset = get_protocol("torchvision"), open_dataset(data)
    config = SessionConfig(threads=threads, exact_int8=True)
    networks = {name: Network(path, config) for name, path in {"fp32": fp32, **models}.items()}
    counts: dict[str, list[Any]] = {name: [] for name in networks}
    agreement: dict[str, list[tuple[int, int]]] = {name: [] for name in networks}
    for sample in samples:
        batch = Preprocessing(protocol.resize)(read_rgb(sample.path))
        truth = protocol.read_truth(dataset, sample, (batch.shape[2], batch.shape[3]))
        reference = None
        for name, network in networks.items():
            labels = labels_of(network.run(batch, ["out"])["out"][0], name, sample.name)
            reference = labels if reference is None else reference
            counts[name].append(protocol.metric.count(truth, labels))
            agreement[name].append((int((labels == reference).sum()), labels.size))
    stacked = {name: np.stack(rows) for name, rows in counts.items()}
    base = protocol.metric.scores(stacked["fp32"], np.ones((1, len(samples)))).miou[0]
    print(f"\nfp32 mIoU {100 * base:.2f} % on {len(samples)} images")
    print(f"{'':34}{'drop % relative':>17}{'95 % interval':>20}{'agreement':>12}")
    for name in models:
        d = compare(protocol.metric, stacked["fp32"], stacked[name], np.asarray(agreement[name]))
        high, low = (-100 * x / base for x in d.miou_ci95)
        print(f"{name:34}{-100 * d.miou / base:17.2f}{f'{low:.2f} … {high:.2f}':>20}{d.label_agreement:12.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--validate", type=Path, required=True)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--peer-images", type=int, default=8)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--no-inc", action="store_true", help="without Neural Compressor")
    options = parser.parse_args()
    samples = draw(open_dataset(options.calibrate).samples, options.images)
    few = of_one_size(samples)[: options.peer_images]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds, peak = in_process(make_ours, options.model, samples, folder / "ours")
        print(f"ours, all methods, {len(samples)} images: {seconds:.0f} s, {peak:.0f} MiB", flush=True)
        models = {f"ours {method}, {len(samples)} images": folder / f"ours-{method}.onnx" for method in METHODS}
        jobs: list[tuple[str, Callable[..., None], str, Sequence[Sample]]] = [
            ("onnxruntime MinMax", make_ort, "MinMax", samples),
            ("onnxruntime Entropy", make_ort, "Entropy", few),
            ("onnxruntime Percentile", make_ort, "Percentile", few),
        ]
        if not options.no_inc:
            jobs += [
                ("Neural Compressor minmax", make_inc, "minmax", samples),
                ("Neural Compressor kl", make_inc, "kl", few),
            ]
        for label, make, method, chosen in jobs:
            path = folder / f"{label.replace(' ', '-')}.onnx"
            try:
                seconds, peak = in_process(make, method, options.model, chosen, path)
            except Exception as error:  # a peer that fails is a result too
                print(f"{label}, {len(chosen)} images: failed: {type(error).__name__}: {error}", flush=True)
                continue
            print(f"{label}, {len(chosen)} images: {seconds:.0f} s, {peak:.0f} MiB", flush=True)
            models[f"{label}, {len(chosen)} images"] = path
        scored = open_dataset(options.validate).samples[: options.limit]
        score(options.model, models, scored, options.validate, options.threads)


if __name__ == "__main__":
    main()
