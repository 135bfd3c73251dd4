"""The stage `benchmark`: how fast models are, beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.evaluation.comparison import Interval, speedup_interval
from fcn_onnx.evaluation.profiling import profile
from fcn_onnx.evaluation.runtimes import Run, runtime_notes
from fcn_onnx.evaluation.tuning import Tuning
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.shapes import fixed_size
from fcn_onnx.report.markup import notes, table
from fcn_onnx.report.profile import Profile
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.runtime.footprint import peak_memory_bytes
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.roofline import Peak, measure_peak
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig, get_runtime
from fcn_onnx.runtime.timing import Latency, alternate, timed
from fcn_onnx.stages.options import BenchmarkOptions
from fcn_onnx.stages.timed import Timed
from fcn_onnx.stages.tuning import to_json, tuned

DEFAULT_SIZE = (520, 520)
SEED = 0
"""Of the images."""

COLUMNS = (
    "model",
    "runtime",
    "size",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "images/s",
    "MB",
    "GMAC/s",
    "of peak",
    "speed-up",
    "95 % interval",
    "all ms",
)


@dataclass(frozen=True)
class Timing:
    """One model in one runtime at one size.

    Attributes:
        model: path.
        runtime: a name in `RUNTIMES`.
        size: (height, width) of the image, which a model pads where it needs to; costs are those of what is run.
        latency_ms: of single images.
        images_per_second: of one after the other: 1000 over the mean latency.
        peak_memory_bytes: that the session ever held, see `footprint`; None where the system does not tell.
        gmacs: 10⁹ multiply-accumulates of convolutions an image; None where the graph does not tell.
        gmacs_per_second: at the median latency.
        share_of_peak: the time that they take at this machine's peak in that runtime, those that run in int8 at the
            int8 peak, over the median latency: 1 would be a model that is one large matrix product.
        speedup: the first row's median at this size over this one's.
        speedup_ci95: its 95 % interval; None below `MIN_IMAGES` runs.
        all_outputs_ms: median of what runs the whole file, where it has other outputs than the one that is read.
    """

    model: str
    size: tuple[int, int]
    latency_ms: Latency
    images_per_second: float
    peak_memory_bytes: int | None
    gmacs: float | None
    gmacs_per_second: float | None
    share_of_peak: float | None
    speedup: float
    speedup_ci95: Interval | None
    all_outputs_ms: float | None = None
    runtime: str = DEFAULT_RUNTIME

    def cells(self) -> tuple[str, ...]:
        """A row of `COLUMNS`."""
        return (
            Path(self.model).name,
            self.runtime,
            f"{self.size[0]}×{self.size[1]}",
            f"{self.latency_ms.p50:.1f}",
            f"{self.latency_ms.p90:.1f}",
            f"{self.latency_ms.p99:.1f}",
            f"{self.images_per_second:.1f}",
            "–" if self.peak_memory_bytes is None else f"{self.peak_memory_bytes / 1e6:.0f}",
            "–" if self.gmacs_per_second is None else f"{self.gmacs_per_second:.0f}",
            "–" if self.share_of_peak is None else f"{100 * self.share_of_peak:.0f} %",
            f"{self.speedup:.2f}×",
            "–" if self.speedup_ci95 is None else f"{self.speedup_ci95[0]:.2f}–{self.speedup_ci95[1]:.2f}",
            "–" if self.all_outputs_ms is None else f"{self.all_outputs_ms:.1f}",
        )


@dataclass(frozen=True)
class Looked:
    """What else was asked of one model in one runtime at one size.

    Attributes:
        profile: where its time goes, with `--profile`.
        tuning: which settings are the fastest, with `--tune`.
    """

    model: Timed
    size: tuple[int, int]
    profile: Profile | None
    tuning: Tuning | None


@dataclass(frozen=True)
class Benchmark:
    """The result of `benchmark`: a row for each model in each runtime at each size, the first being the reference.

    Attributes:
        peaks: of the machine, by runtime.
        notes: what a reader must know of the runtimes.
        looked: for each row, in their order; empty where neither a profile nor a tuning was asked for.
    """

    runs: int
    threads: int
    cpu: Cpu
    peaks: Mapping[str, Peak]
    rows: tuple[Timing, ...]
    notes: tuple[str, ...] = ()
    looked: tuple[Looked, ...] = ()

    @property
    def peak(self) -> Peak:
        """Of the first runtime."""
        return next(iter(self.peaks.values()))

    def _repr_html_(self) -> str:
        return table(COLUMNS, (row.cells() for row in self.rows)) + notes(self.notes)

    def to_json(self) -> dict[str, Any]:
        """The object that `benchmark --json` writes."""
        found: dict[str, Any] = {
            "runs": self.runs,
            "machine": {
                "cpu": self.cpu.model,
                "cores": self.cpu.cores,
                "threads": self.threads,
                "int8_kernel": self.cpu.int8_kernel,
                "peak_gmacs_per_second": asdict(self.peak),
                "peaks": {runtime: asdict(peak) for runtime, peak in self.peaks.items()},
            },
            "models": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }
        if profiles := [
            {"model": str(one.model.path), "runtime": one.model.runtime, **asdict(one.profile)}
            for one in self.looked
            if one.profile
        ]:
            found["profiles"] = profiles
        if tunings := [to_json(one.model, one.size, one.tuning) for one in self.looked if one.tuning]:
            found["tunings"] = tunings
        return found


def benchmark(options: BenchmarkOptions, *, progress: Progress = SILENT) -> Benchmark:
    """Time models on random images, in turns: A B … B A, after one warm-up turn.

    What is timed computes the one output that `predict` and `validate` read. A model that is named twice is an A/A
    control: its speed-up says what the noise is. The memory of each session is measured in a process of its own.

    Raises:
        UsageError: a model of another fixed size.
        MissingDependencyError: a runtime is not installed.
        ModelError: a file is not a model that takes images.
        WorkerError: the process that measures memory failed.
    """
    config = SessionConfig(threads=options.threads)
    runtimes = tuple(dict.fromkeys(options.runtime)) or (DEFAULT_RUNTIME,)
    for runtime in runtimes:
        get_runtime(runtime)
    models = [
        Timed.open(path, config, options.multiple_of, progress, runtime)
        for path in options.models
        for runtime in runtimes
    ]
    own = (fixed_size(model.cut) for model in models)
    peaks = {runtime: measure_peak(config, runtime) for runtime in runtimes}
    rows: list[Timing] = []
    runs: list[Run] = []
    looked: list[Looked] = []
    for size in options.size or [next(filter(None, own), DEFAULT_SIZE)]:
        for model in models:
            if (padded := model.reading.form.padded_size(*size)) != size:
                progress.note(f"{model.path}: {size[0]}×{size[1]} is run as {padded[0]}×{padded[1]}")
        series = _series([network for model in models for network in model.networks], size, options.runs, progress)
        reference = series[models[0].reading]
        rows += [_row(model, reference, series, size, peaks[model.runtime], config) for model in models]
        runs += [_run(model, size, series) for model in models]
        if options.profile or options.tune:
            looked += [_looked(model, size, options, peaks[model.runtime], config, progress) for model in models]
    notes = runtime_notes(runs)
    return Benchmark(options.runs, config.thread_count, measured_cpu(), peaks, tuple(rows), notes, tuple(looked))


def _run(model: Timed, size: tuple[int, int], series: Mapping[Network, NDArray[np.float64]]) -> Run:
    name = f"{model.path.name} at {size[0]}×{size[1]}"
    return Run(name, (model.path, size), model.runtime, series[model.reading])


def _series(
    networks: Sequence[Network], size: tuple[int, int], runs: int, progress: Progress
) -> dict[Network, NDArray[np.float64]]:
    """Milliseconds of each run of each network, in turns."""
    batches = [network.form.noise(size, SEED) for network in networks]
    for network, batch in zip(networks, batches, strict=True):
        network.run(batch)
    series: dict[Network, list[float]] = {network: [] for network in networks}
    height, width = size
    for turn in progress.track(range(runs), total=runs, label=f"timing at {height}×{width}"):
        for index in alternate(range(len(networks)), turn):
            series[networks[index]].append(timed(partial(networks[index].run, batches[index]))[1])
    return {network: np.asarray(taken) for network, taken in series.items()}


def _row(
    model: Timed,
    reference: NDArray[np.float64],
    series: Mapping[Network, NDArray[np.float64]],
    size: tuple[int, int],
    peak: Peak,
    config: SessionConfig,
) -> Timing:
    run_at = model.reading.form.padded_size(*size)
    macs = read_facts(model.cut, run_at).macs
    coverage = read_coverage(model.path, run_at, model.runtime)
    int8_share = None if coverage is None else coverage.int8_macs_share
    own = series[model.reading]
    latency = Latency.of(own)
    speedup, interval = speedup_interval(reference, own)
    return Timing(
        model=str(model.path),
        size=size,
        latency_ms=latency,
        images_per_second=1e3 / latency.mean,
        peak_memory_bytes=peak_memory_bytes(
            model.source, size, config, runtime=model.runtime, multiple_of=model.multiple_of
        ),
        gmacs=None if macs is None else macs / 1e9,
        gmacs_per_second=None if macs is None else macs / 1e6 / latency.p50,
        share_of_peak=None
        if macs is None or int8_share is None
        else peak.best_ms(macs / 1e9, int8_share) / latency.p50,
        speedup=speedup,
        speedup_ci95=interval,
        all_outputs_ms=float(np.median(series[model.whole])) if model.whole else None,
        runtime=model.runtime,
    )


def _looked(
    model: Timed,
    size: tuple[int, int],
    options: BenchmarkOptions,
    peak: Peak,
    config: SessionConfig,
    progress: Progress,
) -> Looked:
    network = model.reading
    found = (
        profile(model.cut, network, network.form.noise(size, SEED), peak, runtime=model.runtime, config=config)
        if options.profile
        else None
    )
    tuning = tuned(model, size, config.thread_count, options.runs, progress) if options.tune else None
    return Looked(model, size, found, tuning)
