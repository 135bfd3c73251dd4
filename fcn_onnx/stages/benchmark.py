"""The stage `benchmark`: how fast models are, beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.evaluation.comparison import Interval, speedup_interval
from fcn_onnx.evaluation.runtimes import Run, runtime_notes
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.model import Model
from fcn_onnx.model.shapes import fixed_size
from fcn_onnx.model.taps import path_to
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.runtime.interface import default_output
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.roofline import Peak, measure_peak
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig, get_runtime
from fcn_onnx.runtime.settling import known_multiple, tried_multiple
from fcn_onnx.runtime.timing import Latency, alternate, timed
from fcn_onnx.stages.options import BenchmarkOptions

DEFAULT_SIZE = (520, 520)
SEED = 0
"""Of the images."""


@dataclass(frozen=True)
class Timing:
    """One model in one runtime at one size.

    Attributes:
        model: path.
        runtime: a name in `RUNTIMES`.
        size: (height, width) of the image, which a model pads where it needs to; costs are those of what is run.
        latency_ms: of single images.
        gmacs: 10⁹ multiply-accumulates of convolutions an image; None where the graph does not tell.
        gmacs_per_second: at the median latency.
        share_of_peak: the time that they take at this machine's peak, those that run in int8 at the int8 peak, over
            the median latency: 1 would be a model that is one large matrix product.
        speedup: the first row's median at this size over this one's.
        speedup_ci95: its 95 % interval; None below `MIN_IMAGES` runs.
        all_outputs_ms: median of what runs the whole file, where it has other outputs than the one that is read.
    """

    model: str
    size: tuple[int, int]
    latency_ms: Latency
    gmacs: float | None
    gmacs_per_second: float | None
    share_of_peak: float | None
    speedup: float
    speedup_ci95: Interval | None
    all_outputs_ms: float | None = None
    runtime: str = DEFAULT_RUNTIME


@dataclass(frozen=True)
class Benchmark:
    """The result of `benchmark`: a row for each model in each runtime at each size, the first being the reference.

    Attributes:
        notes: what a reader must know of the runtimes.
    """

    runs: int
    threads: int
    cpu: Cpu
    peak: Peak
    rows: tuple[Timing, ...]
    notes: tuple[str, ...] = ()

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
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class Timed:
    """A model that is timed.

    Attributes:
        path: the file.
        runtime: what runs it.
        reading: what computes the output that is read.
        whole: what computes all outputs, where there are others.
        cut: the graph of `reading`.
    """

    path: Path
    runtime: str
    reading: Network
    whole: Network | None
    cut: onnx.ModelProto

    @classmethod
    def open(
        cls, path: Path, config: SessionConfig, multiple_of: int | None, progress: Progress, runtime: str
    ) -> Timed:
        """A model, padding what it is given as it needs; one that does not say what it needs is tried out."""
        model = Model.open(path)
        names = [value.name for value in model.proto.graph.output]
        output = model.card.output or default_output(names)
        single = len(names) == 1 or output not in names
        cut = model.proto if single else path_to(model.proto, output)
        source = path if single else cut

        def network(source: Path | onnx.ModelProto, multiple: int | None) -> Network:
            return Network(source, config, name=model.name, multiple_of=multiple, runtime=runtime)

        multiple = multiple_of or known_multiple(model)
        reading = network(source, multiple)
        found = tried_multiple(reading, progress) if multiple is None else None
        reading = network(source, found) if found else reading
        return cls(path, runtime, reading, None if single else network(path, multiple or found), cut)

    @property
    def networks(self) -> tuple[Network, ...]:
        """What is run."""
        return (self.reading, self.whole) if self.whole else (self.reading,)


def benchmark(options: BenchmarkOptions, *, progress: Progress = SILENT) -> Benchmark:
    """Time models on random images, in turns: A B … B A, after one warm-up turn.

    What is timed computes the one output that `predict` and `validate` read. A model that is named twice is an A/A
    control: its speed-up says what the noise is.

    Raises:
        UsageError: a model of another fixed size.
        MissingDependencyError: a runtime is not installed.
        ModelError: a file is not a model that takes images.
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
    peak = measure_peak(config)
    rows: list[Timing] = []
    runs: list[Run] = []
    for size in options.size or [next(filter(None, own), DEFAULT_SIZE)]:
        for model in models:
            if (padded := model.reading.form.padded_size(*size)) != size:
                progress.note(f"{model.path}: {size[0]}×{size[1]} is run as {padded[0]}×{padded[1]}")
        series = _series([network for model in models for network in model.networks], size, options.runs, progress)
        reference = series[models[0].reading]
        rows += [_row(model, reference, series, size, peak) for model in models]
        runs += [_run(model, size, series) for model in models]
    return Benchmark(options.runs, config.thread_count, measured_cpu(), peak, tuple(rows), runtime_notes(runs))


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
) -> Timing:
    run_at = model.reading.form.padded_size(*size)
    macs = read_facts(model.cut, run_at).macs
    int8_share = read_coverage(model.path, run_at, model.runtime).int8_macs_share
    own = series[model.reading]
    latency = Latency.of(own)
    speedup, interval = speedup_interval(reference, own)
    return Timing(
        model=str(model.path),
        size=size,
        latency_ms=latency,
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
