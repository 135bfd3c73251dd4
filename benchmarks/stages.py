"""What a user waits for, stage by stage: ours, the best peer, and the floor, in one run.

    python benchmarks/stages.py --model fcn-resnet50-12.onnx --calibrate coco/train2017 --validate coco/val2017

| row | floor | peer |
|---|---|---|
| calibrate | the fp32 model over the same images, all outputs, inputs ready | onnxruntime's MinMax and Entropy |
| quantize | the same | onnxruntime's `quantize_static`, MinMax |
| quantize --ranges | the fp32 file read, the int8 one written and loaded | `quantize_static`, the same ranges |
| --max-drop | what its sessions run, beyond those of `quantize` | Neural Compressor tuned to the same drop |
| validate | its timed runs | - |
| validate --protocol zoo | its timed runs | the model zoo's notebook, done literally |
| predict | what its session runs | a plain loop that writes labels alone |
| benchmark | its timed runs | - |

Images that are calibrated on are of one size, as onnxruntime's Entropy crashes on mixed ones; it also keeps every
activation, so it gets `--peer-images` of them, and times of `calibrate` are an image's. Each piece of work runs in a
process of its own, opening of models included, and they take turns: ABC, CBA, …. Ratios are of one turn; their median,
and the least and the largest, are shown. On a machine that is busy CPU time, of all threads, is the steadier one.
`--max-drop` is the whole of `quantize --max-drop` less the whole of `quantize`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from fresh import Clock, in_fresh_process
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator
from peers import Job, Reader, make_inc_tuned, make_ort, of_one_size
from PIL import Image
from validation import notebook

from fcn_onnx.calibration.methods import DEFAULT_METHOD, METHODS
from fcn_onnx.calibration.observing import observe_images, tabulate
from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.runtime import session
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.timing import alternate
from fcn_onnx.stages.benchmark import benchmark
from fcn_onnx.stages.options import BenchmarkOptions, PredictOptions, QuantizeOptions, ValidateOptions
from fcn_onnx.stages.predict import predict
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.validate import validate

OURS, FLOOR = "ours", "floor"


@dataclass(frozen=True)
class Ground:
    """What all is measured on.

    Attributes:
        folder: holds the int8 model and its ranges, and gets the rest.
        samples: those images.
        scored: the folder of images that are scored and predicted, of which `limit`.
        peer_images: for peers whose memory grows with them.
        runs: of `benchmark`.
    """

    model: Path
    folder: Path
    calibrated: Path
    samples: tuple[Sample, ...]
    scored: Path
    limit: int | None
    protocol: str
    max_drop: float
    peer_images: int
    runs: int

    @property
    def int8(self) -> Path:
        return self.folder / "int8.onnx"

    @property
    def table(self) -> Path:
        return self.folder / "ranges.json"

    @property
    def few(self) -> tuple[Sample, ...]:
        return self.samples[: self.peer_images]

    @property
    def job(self) -> Job:
        return Job(self.model, self.calibrated, len(self.samples), Interface(), "auto")

    def choice(self, count: int) -> ImageChoice:
        """The first so many of the samples."""
        listed = self.output("images").with_suffix(".txt")
        listed.write_text("".join(f"{sample.name}\n" for sample in self.samples[:count]))
        return ImageChoice(self.calibrated, images=listed)

    def output(self, name: str) -> Path:
        """A new name."""
        return self.folder / f"{name}-{np.random.default_rng().integers(1 << 62):x}"


@dataclass(frozen=True)
class Taken:
    """Wall and CPU seconds; the floor's too, where the work knows it."""

    seconds: float
    cpu_seconds: float
    floor: Taken | None = None

    def __truediv__(self, count: int) -> Taken:
        return Taken(self.seconds / count, self.cpu_seconds / count, self.floor and self.floor / count)

    def __sub__(self, other: Taken) -> Taken:
        floor = self.floor - other.floor if self.floor and other.floor else None
        return Taken(self.seconds - other.seconds, self.cpu_seconds - other.cpu_seconds, floor)


def taken(work: Callable[[], object]) -> Taken:
    """What the work took; its floor is what onnxruntime's sessions took in it."""
    inside, whole = Clock(), Clock()
    run = session.Session.run

    def clocked(self: session.Session, *arguments: Any, **named: Any) -> Any:
        with inside:
            return run(self, *arguments, **named)

    session.Session.run = clocked  # type: ignore[method-assign]
    with whole:
        work()
    return Taken(whole.seconds, whole.cpu_seconds, Taken(inside.seconds, inside.cpu_seconds))


def shown_to(path: Path) -> Preprocessing:
    """How a model is shown an image."""
    model = Model.open(path)
    return preprocessing_of(model.proto, model.name)


def bare_pass(ground: Ground) -> Taken:
    """The fp32 model over the images, which are ready, warmed up by the first."""
    network, preprocessing = Network(ground.model), shown_to(ground.model)
    batches = [preprocessing(read_rgb(sample.path)) for sample in ground.samples]
    network.run(batches[0])
    with Clock() as clock:
        for batch in batches:
            network.run(batch)
    return Taken(clock.seconds, clock.cpu_seconds)


def bare_pass_an_image(ground: Ground) -> Taken:
    return bare_pass(ground) / len(ground.samples)


def our_calibration(ground: Ground) -> Taken:
    """The whole of `calibrate`, an image."""

    def work() -> None:
        model = Model.open(ground.model)
        observed = observe_images(model, ground.samples, preprocessing_of(model.proto, model.name))
        tabulate(observed.observation, METHODS[DEFAULT_METHOD])

    return taken(work) / len(ground.samples)


def ort_calibration(ground: Ground, method: str) -> Taken:
    """onnxruntime's own, an image."""
    samples = ground.few if method == "Entropy" else ground.samples

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            calibrator = create_calibrator(
                ground.model,
                ["Conv", "Relu", "Add", "MaxPool"],
                augmented_model_path=str(Path(folder, "augmented.onnx")),
                calibrate_method=CalibrationMethod[method],
            )
            calibrator.collect_data(Reader(ground.job.batches(samples)))
            calibrator.compute_data()

    return taken(work) / len(samples)


def our_quantization(ground: Ground, count: int | None = None, max_drop: float | None = None) -> Taken:
    """The whole of `quantize --data`."""
    choice = ground.choice(count or len(ground.samples))
    output = ground.output("ours").with_suffix(".onnx")
    return taken(lambda: quantize(QuantizeOptions(model=ground.model, choice=choice, max_drop=max_drop, output=output)))


def ort_quantization(ground: Ground) -> Taken:
    """`quantize_static` as it comes."""
    output = ground.output("ort").with_suffix(".onnx")
    return taken(lambda: make_ort(ground.job, ground.samples, output, "MinMax"))


def our_writing(ground: Ground) -> Taken:
    """The whole of `quantize --ranges`."""
    output = ground.output("written").with_suffix(".onnx")
    return taken(lambda: quantize(QuantizeOptions(model=ground.model, ranges=ground.table, output=output)))


def bare_writing(ground: Ground) -> Taken:
    """Bytes read, bytes written, and a session."""
    content = ground.int8.read_bytes()
    output = ground.output("bytes").with_suffix(".onnx")
    with Clock() as clock:
        ground.model.read_bytes()
        output.write_bytes(content)
        ort.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    return Taken(clock.seconds, clock.cpu_seconds)


def ort_writing(ground: Ground) -> Taken:
    """`quantize_static` with ranges that are known."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    return taken(
        lambda: quantize_static(
            ground.model,
            ground.output("ort-written").with_suffix(".onnx"),
            quant_format=QuantFormat.QOperator,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibration_cache_path=ground.table,
        )
    )


def our_search(ground: Ground) -> Taken:
    """What `--max-drop` adds to `quantize`, on the peer's images."""
    count = len(ground.few)
    return our_quantization(ground, count, ground.max_drop) - our_quantization(ground, count)


def inc_search(ground: Ground) -> Taken:
    """What Neural Compressor's tuning takes, calibration included, which it cannot do without."""
    output = ground.output("tuned").with_suffix(".onnx")
    return taken(lambda: make_inc_tuned(ground.job, ground.few, output, str(ground.max_drop)))


def our_validation(ground: Ground, protocol: str | None = None) -> Taken:
    """The whole of `validate` with its report; the runs that warm up are no part of the floor."""
    reports: list[Mapping[str, Any]] = []

    def work() -> None:
        options = ValidateOptions(
            fp32=ground.model,
            int8=(ground.int8,),
            choice=ImageSource(ground.scored),
            protocol=protocol or ground.protocol,
            limit=ground.limit,
            include_calibration_images=True,
            report=ground.output("report"),
        )
        reports.append(validate(options).report)

    found = taken(work)
    assert found.floor is not None
    seconds = reports[0]["timing"]["session_seconds"]
    floor = Taken(seconds, found.floor.cpu_seconds * seconds / found.floor.seconds)
    return Taken(found.seconds, found.cpu_seconds, floor)


def zoo_notebook(ground: Ground) -> Taken:
    """The model zoo's."""
    return taken(lambda: notebook((ground.model, ground.int8), ground.scored, ground.limit))


def photographs(ground: Ground) -> list[Path]:
    return [sample.path for sample in open_dataset(ground.scored).samples[: ground.limit]]


def our_prediction(ground: Ground) -> Taken:
    """The whole of `predict`: overlays, labels and confidences."""
    options = PredictOptions(model=ground.int8, images=tuple(photographs(ground)), output=ground.output("predictions"))
    return taken(lambda: predict(options))


def plain_prediction(ground: Ground) -> Taken:
    """A loop as one writes it."""
    output = ground.output("plain")
    output.mkdir()

    preprocessing = shown_to(ground.int8)

    def work() -> None:
        runner = ort.InferenceSession(str(ground.int8), providers=["CPUExecutionProvider"])
        given, first = runner.get_inputs()[0].name, runner.get_outputs()[0].name
        for path in photographs(ground):
            batch = preprocessing(Image.open(path).convert("RGB"))
            labels = runner.run([first], {given: batch})[0][0].argmax(0).astype(np.uint8)
            Image.fromarray(labels).save(output / f"{path.stem}.png")

    return taken(work)


def our_benchmark(ground: Ground) -> Taken:
    """The whole of `benchmark`; runs that warm up and the measured peak are no part of the floor."""
    rows = []
    options = BenchmarkOptions(models=(ground.model, ground.int8), runs=ground.runs)
    found = taken(lambda: rows.extend(benchmark(options).rows))
    assert found.floor is not None
    seconds = sum(ground.runs * (row.latency_ms.mean + (row.all_outputs_ms or 0)) for row in rows) / 1e3
    return Taken(
        found.seconds, found.cpu_seconds, Taken(seconds, found.floor.cpu_seconds * seconds / found.floor.seconds)
    )


Work = Callable[[Ground], Taken]
STAGES: Mapping[str, Mapping[str, Work]] = {
    "calibrate": {
        FLOOR: bare_pass_an_image,
        OURS: our_calibration,
        "onnxruntime MinMax": partial(ort_calibration, method="MinMax"),
        "onnxruntime Entropy": partial(ort_calibration, method="Entropy"),
    },
    "quantize": {FLOOR: bare_pass, OURS: our_quantization, "onnxruntime MinMax": ort_quantization},
    "quantize --ranges": {FLOOR: bare_writing, OURS: our_writing, "onnxruntime": ort_writing},
    "--max-drop": {OURS: our_search, "Neural Compressor": inc_search},
    "validate": {OURS: our_validation},
    "validate --protocol zoo": {OURS: partial(our_validation, protocol="zoo"), "the zoo's notebook": zoo_notebook},
    "predict": {OURS: our_prediction, "a plain loop": plain_prediction},
    "benchmark": {OURS: our_benchmark},
}


def prepared(options: argparse.Namespace, folder: Path) -> Ground:
    """The int8 model and its ranges, which the later stages start from."""
    dataset = open_dataset(options.calibrate)
    samples = tuple(of_one_size(dataset.samples)[: options.images])
    ground = Ground(
        model=options.model.resolve(),
        folder=folder,
        calibrated=options.calibrate,
        samples=samples,
        scored=options.validate,
        limit=options.limit,
        protocol=options.protocol,
        max_drop=options.max_drop,
        peer_images=options.peer_images,
        runs=options.runs,
    )
    model = Model.open(ground.model)
    observed = observe_images(model, ground.few, preprocessing_of(model.proto, model.name))
    tabulate(observed.observation, METHODS[DEFAULT_METHOD]).save(ground.table)
    quantize(QuantizeOptions(model=ground.model, ranges=ground.table, output=ground.int8))
    return ground


def measure(ground: Ground, stages: Sequence[str], turns: int) -> dict[tuple[str, str], list[Taken]]:
    """Every piece of work of these stages, in turns; a peer that fails is said and left out."""
    found: dict[tuple[str, str], list[Taken]] = defaultdict(list)
    failed: set[tuple[str, str]] = set()
    for turn in range(turns):
        for stage in stages:
            for who in alternate(list(STAGES[stage]), turn):
                if (stage, who) in failed:
                    continue
                try:
                    took, _ = in_fresh_process(STAGES[stage][who], ground)
                except Exception as error:
                    if who in (OURS, FLOOR):
                        raise
                    failed.add((stage, who))
                    print(f"{stage}, {who}: failed: {type(error).__name__}: {str(error)[:200]}", flush=True)
                    continue
                found[stage, who].append(took)
                print(
                    f"turn {turn + 1}, {stage}, {who}: {took.seconds:.2f} s, CPU {took.cpu_seconds:.2f} s", flush=True
                )
    return found


def spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})"


def show(found: Mapping[tuple[str, str], Sequence[Taken]], stages: Sequence[str]) -> None:
    """The table."""
    cpu = measured_cpu()
    print(f"\n{cpu.model}, {cpu.cores} cores, {cpu.int8_kernel} kernels; {len(found[stages[0], OURS])} turns\n")
    print("| stage | floor, s | ours, s | × floor | × floor, CPU time | peer | peer, × ours | peer, × ours, CPU time |")
    print("|---|---|---|---|---|---|---|---|")
    for stage in stages:
        ours = found[stage, OURS]
        floor = found.get((stage, FLOOR)) or [took.floor for took in ours if took.floor]
        wall = [a.seconds / b.seconds for a, b in zip(ours, floor, strict=True)]
        cpu_time = [a.cpu_seconds / b.cpu_seconds for a, b in zip(ours, floor, strict=True)]
        before = (
            f"{stage} | {median(took.seconds for took in floor):.2f} | {median(took.seconds for took in ours):.2f} | "
            f"{spread(wall)} | {spread(cpu_time)}"
        )
        peers = {who: took for (of, who), took in found.items() if of == stage and who not in (OURS, FLOOR)}
        for who, took in sorted(peers.items(), key=lambda peer: median(t.seconds for t in peer[1])):
            pairs = list(zip(took, ours, strict=False))
            slower = spread([a.seconds / b.seconds for a, b in pairs])
            print(f"| {before} | {who} | {slower} | {spread([a.cpu_seconds / b.cpu_seconds for a, b in pairs])} |")
            before = " | | | | "
        if not peers:
            print(f"| {before} | – | – | – |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--validate", type=Path, required=True)
    parser.add_argument("--protocol", default="torchvision")
    parser.add_argument("--images", type=int, default=64, help="that are calibrated on")
    parser.add_argument("--peer-images", type=int, default=8, help="of peers that keep them all, and of the search")
    parser.add_argument("--limit", type=int, help="images that are scored")
    parser.add_argument("--max-drop", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=20, help="of benchmark")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(STAGES), default=list(STAGES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        ground = prepared(options, Path(name))
        show(measure(ground, options.only, options.turns), options.only)


if __name__ == "__main__":
    main()
