"""How long `calibrate` and `validate` take on W workers: measured on 1 and 2 cores, computed beyond (docs/scaling.md).

    python benchmarks/scaling.py --fp32 fp32.onnx --int8 int8.onnx --data coco/val2017 --limit 48 --write scaling.json

Each measurement is a process of its own, of one thread a worker; the one with one worker is bound to one core. What is
printed are the tables of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.jobs.cluster import LARGEST_SHARD
from fcn_onnx.jobs.engines import Running, executor_of
from fcn_onnx.jobs.executor import Executor
from fcn_onnx.stages import calibrate as calibrating
from fcn_onnx.stages import validate as validating
from fcn_onnx.stages.options import CalibrateOptions, ValidateOptions

COMMANDS, ENGINES, WORKERS = ("calibrate", "validate"), ("local", "ray"), (1, 2)
FLEETS, IMAGES = (1, 2, 16, 64, 256, 1024), (5_000, 118_000)


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        images: that it was measured on.
        start_s: until the first result was there, less what its images take.
        image_s: of an image, on one worker, once all are at work.
        merge_s: of the process that adds up, for an image: a result unpickled, added, kept.
        result_bytes: of an image, pickled.
        results: how many came, of one image or of a shard.
    """

    command: str
    engine: str
    workers: int
    images: int
    start_s: float
    image_s: float
    merge_s: float
    result_bytes: float
    results: int

    @property
    def throughput(self) -> float:
        """Images a second."""
        return self.workers / self.image_s


class Watched:
    """An executor, and when its results came, what they weigh, and how long whoever gets them takes."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner
        self.came: list[tuple[float, int]] = []
        self.bytes, self.merging = 0, 0.0
        self.began = time.perf_counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def map(self, task: Any, items: Mapping[str, Any]) -> Generator[tuple[tuple[str, ...], Any], None, None]:
        """As the executor; its own weighing is left out of all times."""
        aside = 0.0
        self.began = time.perf_counter()
        for names, result in self.inner.map(task, items):
            came = time.perf_counter()
            self.came.append((came - aside, len(names)))
            content = pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
            self.bytes += len(content)
            read = time.perf_counter()
            pickle.loads(content)  # noqa: S301  # our own bytes, a moment ago
            self.merging += time.perf_counter() - read
            aside += time.perf_counter() - came
            given = time.perf_counter()
            yield names, result
            self.merging += time.perf_counter() - given

    def measured(self, command: str, engine: str, workers: int) -> Measured:
        """Of a run that has ended; the first results of all workers are its start."""
        images = sum(number for _, number in self.came)
        first, warm = self.came[0], min(workers, len(self.came) - 1)
        since = self.came[warm - 1][0]
        rest = sum(number for _, number in self.came[warm:])
        image_s = workers * (self.came[-1][0] - since) / rest
        return Measured(
            command=command,
            engine=engine,
            workers=workers,
            images=images,
            start_s=max(0.0, first[0] - self.began - first[1] * image_s),
            image_s=image_s,
            merge_s=self.merging / images,
            result_bytes=self.bytes / images,
            results=len(self.came),
        )


def measure(options: argparse.Namespace, command: str, engine: str, workers: int) -> Measured:
    """Run a command here, and watch it."""
    seen: list[Watched] = []

    def watched(*arguments: Any) -> Any:
        seen.append(Watched(executor_of(*arguments)))
        return seen[-1]

    running = Running(engine=engine, workers=workers)
    threads = workers if engine == "local" else 1  # which processes share, and each task has
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        if command == "calibrate":
            calibrating.executor_of = watched  # type: ignore[assignment]
            choice = ImageChoice(options.data, limit=options.limit)
            calibrating.calibrate(
                CalibrateOptions(
                    model=options.fp32, choice=choice, output=Path(folder, "t.json"), running=running, threads=threads
                )
            )
        else:
            validating.executor_of = watched  # type: ignore[assignment]
            validating.validate(
                ValidateOptions(
                    fp32=options.fp32,
                    int8=(options.int8,),
                    choice=ImageSource(options.data),
                    limit=options.limit,
                    include_calibration_images=True,
                    report=Path(folder, "report"),
                    running=running,
                    threads=threads,
                )
            )
    return seen[-1].measured(command, engine, workers)


def in_its_own_process(command: str, engine: str, workers: int) -> Measured:
    """`measure`, on as many cores as there are workers."""
    cores = sorted(os.sched_getaffinity(0))[:workers]
    if len(cores) < workers:
        raise SystemExit(f"{workers} workers need as many cores, and there are {len(cores)}")
    own = [sys.executable, __file__, *sys.argv[1:], "--one", command, engine, str(workers)]
    done = subprocess.run(
        own, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def seconds(one: Measured, images: int, workers: int, network: float) -> tuple[float, str]:
    """How long so many images take on so many cores, by the model of docs/scaling.md; and what holds it up.

    Args:
        one: measured on one worker.
        network: bytes a second that the process that adds up can receive.
    """
    limits = {
        "images": images * one.image_s / workers,
        "adding up": images * one.merge_s,
        "network": images * one.result_bytes / network,
    }
    slowest = max(limits, key=lambda name: limits[name])
    tail = min(LARGEST_SHARD, max(1, images // (4 * workers))) * one.image_s if one.engine == "ray" else one.image_s
    return one.start_s + limits[slowest] + (tail if workers > 1 else 0), slowest


def said(measured: Sequence[Measured], network: float) -> str:
    """The tables, as Markdown."""
    lines = [
        "| | engine | workers | images/s | efficiency | start s | s an image | adding up, ms an image | kB an image |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    alone = {one.command: one for one in measured if one.workers == 1 and one.engine == "local"}
    for one in measured:
        efficiency = one.throughput / (one.workers * alone[one.command].throughput)
        lines.append(
            f"| {one.command} | {one.engine} | {one.workers} | {one.throughput:.2f} | {efficiency:.2f} | "
            f"{one.start_s:.1f} | {one.image_s:.3f} | {1e3 * one.merge_s:.2f} | {one.result_bytes / 1e3:.0f} |"
        )
    lines += [
        "",
        f"Computed from Ray's rows of one worker, with a network of {8 * network / 1e9:g} Gbit/s:",
        "",
        "| | images | cores | hours | speed-up | efficiency | held up by |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in measured:
        if one.engine != "ray" or one.workers != 1:
            continue
        for images in IMAGES:
            single = seconds(one, images, 1, network)[0]
            for workers in FLEETS:
                took, slowest = seconds(one, images, workers, network)
                lines.append(
                    f"| {one.command} | {images:,} | {workers} | {took / 3600:.2f} | {single / took:.1f} | "
                    f"{single / took / workers:.2f} | {slowest} |"
                )
        full = one.image_s / max(one.merge_s, one.result_bytes / network)
        lines.append(f"| {one.command} | | {full:,.0f} | | | | more cores are of no use |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fp32", type=Path, required=True)
    parser.add_argument("--int8", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=48, help="images of each run")
    parser.add_argument("--turns", type=int, default=3, help="of all runs; the medians of each are taken")
    parser.add_argument("--network-gbit", type=float, default=10.0, help="of whoever adds up; an assumption")
    parser.add_argument("--write", type=Path, metavar="FILE", help="JSON of every run")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        command, engine, workers = options.one
        print(json.dumps(asdict(measure(options, command, engine, int(workers)))))
        return
    runs = [(command, engine, workers) for command in COMMANDS for engine in ENGINES for workers in WORKERS]
    found: dict[tuple[str, str, int], list[Measured]] = {run: [] for run in runs}
    for turn in range(options.turns):
        for run in runs if turn % 2 == 0 else runs[::-1]:
            found[run].append(in_its_own_process(*run))
            print(f"turn {turn + 1}: {found[run][-1]}", file=sys.stderr)
    if options.write:
        options.write.write_text(json.dumps([asdict(one) for several in found.values() for one in several], indent=2))
    typical = [
        Measured(
            *run,
            several[0].images,
            *(
                median(getattr(one, key) for one in several)
                for key in ("start_s", "image_s", "merge_s", "result_bytes")
            ),
            several[0].results,
        )
        for run, several in found.items()
    ]
    print(said(typical, options.network_gbit * 1e9 / 8))


if __name__ == "__main__":
    main()
