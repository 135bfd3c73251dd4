"""How fast each tool's file is, in each runtime, and what its labels are worth: one run, all in turns.

    python benchmarks/inference.py --fp32 fcn-resnet50-12.onnx --ours onnxruntime=fcn-resnet50-12-int8.onnx \\
        --ours openvino=fcn-resnet50-13-openvino.onnx --peer peers/onnxruntime-MinMax.onnx \\
        --peer peers/Neural-Compressor-minmax.onnx --peer peers/nncf.xml --peer peers/nncf-overflow-fix.xml \\
        --data coco/val2017

Peers' files are made by `peers.py --models peers --openvino-python …`. An ONNX file of a peer runs in both runtimes,
or in the one that loads it; OpenVINO's own form (.xml) in OpenVINO alone. fp32 runs in both, and ours twice in each:
the interval of its speed over itself (A/A) is what the noise is. Every model sees every image, resized to `--size`, and
its labels are scored on that grid; the speed-up is over fp32 in onnxruntime. At last each runtime's ours stands beside
its fastest peer.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.preprocess import Resize
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import FcnOnnxError
from fcn_onnx.evaluation.comparison import Interval, compare, speedup_interval
from fcn_onnx.evaluation.protocols import get_protocol
from fcn_onnx.evaluation.scoring import Contest, Entrant, Tally, score_images
from fcn_onnx.jobs.executor import Here
from fcn_onnx.jobs.journal import NONE_KEPT
from fcn_onnx.jobs.progress import SILENT
from fcn_onnx.model.interface import Interface
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.seam import RUNTIMES, SessionConfig, get_runtime
from fcn_onnx.runtime.segmenter import Segmenter

FP32, OURS, AGAIN = "fp32", "ours", "ours again (A/A)"


class Compiled(Segmenter):
    """A model in OpenVINO's own form, whose outputs mean what those of the fp32 model do.

    Args:
        fp32: the ONNX file that it was made from.
        form: the .xml.
        runtime: one of OpenVINO's.
    """

    def __init__(self, fp32: Path, form: Path, config: SessionConfig, interface: Interface, runtime: str) -> None:
        super().__init__(fp32, config, interface)
        compiled = get_runtime(runtime)._compiled(str(form), config)  # type: ignore[attr-defined]
        self._request = compiled.create_infer_request()
        names = {name: port for port in compiled.outputs for name in port.get_names()}
        self._port = names.get(self.output, compiled.outputs[0])

    def run(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        self._request.infer([self.network.form.fed(batch)], share_inputs=True, share_outputs=True)
        return self.cropped(np.array(self._request.get_tensor(self._port).data), batch)


@dataclass(frozen=True)
class Row:
    """A file in a runtime."""

    name: str
    path: Path
    runtime: str

    @property
    def entrant(self) -> Entrant:
        return Entrant(f"{self.name}, {self.runtime}", self.path, self.runtime)

    def opened(self, fp32: Path, config: SessionConfig, interface: Interface) -> Segmenter | None:
        """Its session; None, and said why, where the runtime does not load it."""
        try:
            if self.path.suffix == ".xml":
                return Compiled(fp32, self.path, config, interface, self.runtime)
            return Segmenter(self.path, config, interface, self.runtime)
        except FcnOnnxError as error:
            print(f"{self.name}: not in {self.runtime}: {error.what}", flush=True)
            return None


def rows_of(options: argparse.Namespace) -> list[Row]:
    """fp32 in each runtime, ours twice, and each peer's file wherever it may run."""
    rows = [Row(FP32, options.fp32, runtime) for runtime in options.runtime]
    for text in options.ours:
        runtime, _, path = text.partition("=")
        rows += [Row(name, Path(path), runtime) for name in (OURS, AGAIN)]
    for path in options.peer:
        own = [runtime for runtime in options.runtime if path.suffix != ".xml" or runtime != "onnxruntime"]
        rows += [Row(path.stem, path, runtime) for runtime in own]
    return rows


def interval(found: Interval | None, form: str) -> str:
    return "too few images" if found is None else f"{found[0]:{form}} … {found[1]:{form}}"


def show(rows: list[Row], tally: Tally, metric: Any, title: str) -> None:
    """The table, and each runtime's ours beside its fastest peer."""
    base = metric.scores(tally.counts[0]).miou
    print(f"\n{title}; fp32 mIoU {100 * base:.2f} % on {len(tally.images)} images\n")
    print("| file | runtime | ms | speed-up | 95 % interval | agreement | 95 % interval | drop % | 95 % interval |")
    print("|---|---|---|---|---|---|---|---|---|")
    for index, row in enumerate(rows):
        speedup, bounds = speedup_interval(tally.latency_ms[0], tally.latency_ms[index])
        d = compare(metric, tally.counts[0], tally.counts[index], tally.agreement[index])
        drop = None if d.miou_ci95 is None else (-100 * d.miou_ci95[1] / base, -100 * d.miou_ci95[0] / base)
        print(
            f"| {row.name} | {row.runtime} | {np.median(tally.latency_ms[index]):.1f} | {speedup:.2f} | "
            f"{interval(bounds, '.2f')} | {d.label_agreement:.4f} | {interval(d.label_agreement_ci95, '.4f')} | "
            f"{-100 * d.miou / base:.2f} | {interval(drop, '.2f')} |"
        )
    print()
    for runtime in dict.fromkeys(row.runtime for row in rows):
        here = {row.name: tally.latency_ms[index] for index, row in enumerate(rows) if row.runtime == runtime}
        peers = [name for name in here if name not in (FP32, OURS, AGAIN)]
        if OURS not in here:
            continue
        print(f"{runtime}: ours over itself {interval(speedup_interval(here[OURS], here[AGAIN])[1], '.3f')}")
        if peers:
            best = min(peers, key=lambda name: float(np.median(here[name])))
            ratio, bounds = speedup_interval(here[best], here[OURS])
            print(f"{runtime}: ours is {ratio:.3f} ({interval(bounds, '.3f')}) × as fast as {best}, its fastest peer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fp32", type=Path, required=True)
    parser.add_argument("--ours", action="append", default=[], metavar="RUNTIME=FILE", help="may be repeated")
    parser.add_argument("--peer", action="append", default=[], type=Path, metavar="FILE", help="may be repeated")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--protocol", default="torchvision")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(520, 520), help="HxW")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--runtime", nargs="*", choices=list(RUNTIMES), default=["onnxruntime", "openvino"])
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    dataset = open_dataset(options.data)
    rules = replace(get_protocol(options.protocol).of_kind(dataset.kind), resize=Resize(size=options.size))
    interface, config = Interface(classes=dataset.label_space.names), SessionConfig(threads=options.threads)
    found = [(row, row.opened(options.fp32, config, interface)) for row in rows_of(options)]
    rows = [row for row, segmenter in found if segmenter]
    segmenters = [segmenter for _, segmenter in found if segmenter]
    shown = rules.shown(segmenters[0].preprocessing, options.size)
    tally = score_images(
        Contest(tuple(row.entrant for row in rows), interface, shown, dataset, rules, options.threads, segmenters),
        [sample for sample in dataset.samples if rules.selects(dataset, sample)][: options.limit],
        executor=Here(),
        journal=NONE_KEPT.of(""),
        progress=SILENT,
    )
    cpu = measured_cpu()
    show(rows, tally, rules.metric, f"{cpu.model}, {config.thread_count} threads, {cpu.int8_kernel} kernels")
    for remark in filter(None, (get_runtime(runtime).remark for runtime in options.runtime)):
        print(remark)


if __name__ == "__main__":
    main()
