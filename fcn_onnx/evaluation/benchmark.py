"""The stage `benchmark`: how fast models are, beside one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.cpu import Cpu
from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.comparison import Interval, speedup_interval
from fcn_onnx.evaluation.latency import Latency, alternate, timed
from fcn_onnx.graph import read_facts
from fcn_onnx.progress import SILENT, Progress
from fcn_onnx.runtime import Network, SessionConfig, load_model, measured_cpu


@dataclass(frozen=True)
class Timing:
    """One model at one size.

    Attributes:
        model: path.
        latency_ms: of single images.
        gmacs: 10⁹ multiply-accumulates an image; None where the graph does not tell.
        gmacs_per_second: at the median latency.
        speedup: the first model's median over this one's.
        speedup_ci95: its 95 % interval.
    """

    model: str
    latency_ms: Latency
    gmacs: float | None
    gmacs_per_second: float | None
    speedup: float
    speedup_ci95: Interval


@dataclass(frozen=True)
class Benchmark:
    """The result of `benchmark`: a row a model, the first being the reference."""

    size: tuple[int, int]
    runs: int
    threads: int
    cpu: Cpu
    rows: tuple[Timing, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that `benchmark --json` writes."""
        return {
            "size": list(self.size),
            "runs": self.runs,
            "machine": {
                "cpu": self.cpu.model,
                "cores": self.cpu.cores,
                "threads": self.threads,
                "int8_kernel": self.cpu.int8_kernel,
            },
            "models": [asdict(row) for row in self.rows],
        }


def benchmark(
    models: Sequence[Path],
    *,
    size: tuple[int, int] = (520, 520),
    threads: int = 0,
    runs: int = 20,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Benchmark:
    """Time models on one random image (1, 3, *size), in turns: A B … B A, after one warm-up turn.

    Args:
        models: one or more files; the first is what speed-ups refer to.
        size: (height, width) in pixels.
        threads: of each session; 0 means all cores.
        runs: timed runs of each model.

    Raises:
        UsageError: no model, no run, or a model of another fixed size.
        ModelError: a file is not a model that takes images.
    """
    if not models or runs < 1 or min(size) < 1:
        raise UsageError(
            f"nothing to time: {len(models)} models, {runs} runs, size {size}",
            fix="name at least one model, one run and a positive size",
        )
    config = SessionConfig(threads=threads)
    networks = [Network(path, config) for path in models]
    batch = np.random.default_rng(seed).standard_normal((1, 3, *size), np.float32)
    for network in networks:
        network.run(batch)
    series: list[list[float]] = [[] for _ in networks]
    for turn in progress.track(range(runs), total=runs, label="timing"):
        for index in alternate(range(len(networks)), turn):
            network = networks[index]
            series[index].append(timed(lambda network=network: network.run(batch))[1])  # type: ignore[misc]
    samples = np.asarray(series)
    rows = tuple(_row(path, samples[0], samples[i], size) for i, path in enumerate(models))
    return Benchmark(size, runs, config.thread_count, measured_cpu(), rows)


def _row(path: Path, reference: NDArray[np.float64], series: NDArray[np.float64], size: tuple[int, int]) -> Timing:
    macs = read_facts(load_model(path), size).macs
    latency = Latency.of(series)
    speedup, interval = speedup_interval(reference, series)
    return Timing(
        model=str(path),
        latency_ms=latency,
        gmacs=None if macs is None else macs / 1e9,
        gmacs_per_second=None if macs is None else macs / 1e6 / latency.p50,
        speedup=speedup,
        speedup_ci95=interval,
    )
