"""Peak memory of calibration against the number of images, and against the bare fp32 pass.

    python benchmarks/calibration_memory.py --model fcn-resnet50-12.onnx --data coco/train2017 --counts 16 64 215

Every list holds the largest image. Each figure is the peak resident memory of a process of its own, so the ratios
are of whole runs on this machine, one after the other.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from fresh import in_fresh_process
from PIL import Image

from fcn_onnx.calibration.methods import METHODS
from fcn_onnx.calibration.observing import observe_images, tabulate
from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.selection import draw
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.network import Network


def pixels(sample: Sample) -> int:
    """Pixels of the network's input for this image."""
    with Image.open(sample.path) as image:
        width, height = Preprocessing().resize.target(*image.size)
    return width * height


def with_largest(samples: Sequence[Sample], count: int) -> tuple[Sample, ...]:
    """A draw of `count` samples that holds the largest one."""
    largest = max(samples, key=pixels)
    others = [sample for sample in samples if sample != largest]
    return (largest, *(draw(others, count - 1) if count > 1 else ()))


def bare_pass(model: Path, samples: Sequence[Sample], method: str) -> None:
    """The fp32 model once over the samples, nothing else."""
    network = Network(model)
    for sample in samples:
        network.run(Preprocessing()(read_rgb(sample.path)))


def calibration(model: Path, samples: Sequence[Sample], method: str) -> None:
    """The whole of `calibrate`."""
    fp32 = Model.open(model)
    tabulate(observe_images(fp32, samples, preprocessing_of(fp32.proto, fp32.name)).observation, METHODS[method])


def peak_mib(work: Callable[[Path, Sequence[Sample], str], None], *arguments: object) -> float:
    """Peak resident memory of `work(*arguments)` in a fresh process, MiB."""
    return in_fresh_process(work, *arguments)[1].peak_mib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--method", default="kl")
    options = parser.parse_args()
    samples = open_dataset(options.data).samples
    bare = peak_mib(bare_pass, options.model, with_largest(samples, 1), options.method)
    print(f"bare fp32 pass, largest image   {bare:8.0f} MiB")
    first = None
    for count in options.counts:
        peak = peak_mib(calibration, options.model, with_largest(samples, count), options.method)
        first = first or peak
        print(
            f"calibrate --method {options.method}, {count:4d} images {peak:8.0f} MiB   {peak - bare:+.0f} MiB, "
            f"{peak / first:.3f} × that of {options.counts[0]} images",
            flush=True,
        )


if __name__ == "__main__":
    main()
