"""The stage `benchmark`: how fast models are, beside one another."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.evaluation.comparison import Interval, speedup_interval
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.files import load_model
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.model import Model
from fcn_onnx.model.shapes import fixed_size
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.roofline import Peak, measure_peak
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.settling import known_multiple, tried_multiple
from fcn_onnx.runtime.timing import Latency, alternate, timed
from fcn_onnx.stages.options import BenchmarkOptions

DEFAULT_SIZE = (520, 520)
SEED = 0
"""Of the images."""


@dataclass(frozen=True)
class Timing:
    """One model at one size.

    Attributes:
        model: path.
        size: (height, width) of the image, which a model pads where it needs to; costs are those of what is run.
        latency_ms: of single images.
        gmacs: 10⁹ multiply-accumulates of convolutions an image; None where the graph does not tell.
        gmacs_per_second: at the median latency.
        share_of_peak: the time that they take at this machine's peak, those that run in int8 at the int8 peak, over
            the median latency: 1 would be a model that is one large matrix product.
        speedup: the first model's median at this size over this one's.
        speedup_ci95: its 95 % interval; None below `MIN_IMAGES` runs.
    """

    model: str
    size: tuple[int, int]
    latency_ms: Latency
    gmacs: float | None
    gmacs_per_second: float | None
    share_of_peak: float | None
    speedup: float
    speedup_ci95: Interval | None


@dataclass(frozen=True)
class Benchmark:
    """The result of `benchmark`: a row for each model at each size, the first model being the reference."""

    runs: int
    threads: int
    cpu: Cpu
    peak: Peak
    rows: tuple[Timing, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that `benchmark --json` writes."""
        return {
            "runs": self.runs,
            "machine": {
                "cpu": self.cpu.model,
                "cores": self.cpu.cores,
                "threads": self.threads,
                "int8_kernel": self.cpu.int8_kernel,
                "peak_gmacs_per_second": asdict(self.peak),
            },
            "models": [asdict(row) for row in self.rows],
        }


def benchmark(options: BenchmarkOptions, *, progress: Progress = SILENT) -> Benchmark:
    """Time models on random images (1, 3, H, W), in turns: A B … B A, after one warm-up turn.

    A model that is named twice is an A/A control: its speed-up says what the noise is.

    Raises:
        UsageError: a model of another fixed size.
        ModelError: a file is not a model that takes images.
    """
    models, runs = options.models, options.runs
    config = SessionConfig(threads=options.threads)
    networks = [_open(path, config, options.multiple_of, progress) for path in models]
    own = (fixed_size(load_model(path)) for path in models)
    peak = measure_peak(config)
    rows: list[Timing] = []
    for size in options.size or [next(filter(None, own), DEFAULT_SIZE)]:
        batch = np.random.default_rng(SEED).standard_normal((1, 3, *size), np.float32)
        for network in dict.fromkeys(networks):
            network.run(batch)
            if (padded := network.form.padded_size(*size)) != size:
                progress.note(f"{network.name}: {size[0]}×{size[1]} is run as {padded[0]}×{padded[1]}")
        series: list[list[float]] = [[] for _ in networks]
        for turn in progress.track(range(runs), total=runs, label=f"timing at {size[0]}×{size[1]}"):
            for index in alternate(range(len(networks)), turn):
                series[index].append(timed(partial(networks[index].run, batch))[1])
        samples = np.asarray(series)
        named = zip(networks, models, strict=True)
        rows += [_row(network, path, samples[0], samples[i], size, peak) for i, (network, path) in enumerate(named)]
    return Benchmark(runs, config.thread_count, measured_cpu(), peak, tuple(rows))


def _open(model: Path, config: SessionConfig, multiple_of: int | None, progress: Progress) -> Network:
    """The model, padding what it is given as it needs; one that does not say what it needs is tried out."""
    multiple_of = multiple_of or known_multiple(Model.open(model))
    network = Network(model, config, multiple_of=multiple_of)
    found = tried_multiple(network, progress) if multiple_of is None else None
    return Network(model, config, multiple_of=found) if found else network


def _row(
    network: Network,
    path: Path,
    reference: NDArray[np.float64],
    series: NDArray[np.float64],
    size: tuple[int, int],
    peak: Peak,
) -> Timing:
    run_at = network.form.padded_size(*size)
    macs = read_facts(load_model(path), run_at).macs
    int8_share = read_coverage(path, run_at).int8_macs_share
    latency = Latency.of(series)
    speedup, interval = speedup_interval(reference, series)
    return Timing(
        model=str(path),
        size=size,
        latency_ms=latency,
        gmacs=None if macs is None else macs / 1e9,
        gmacs_per_second=None if macs is None else macs / 1e6 / latency.p50,
        share_of_peak=None
        if macs is None or int8_share is None
        else peak.best_ms(macs / 1e9, int8_share) / latency.p50,
        speedup=speedup,
        speedup_ci95=interval,
    )
