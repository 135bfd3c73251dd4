"""Time of calibration against a bare fp32 pass, and against onnxruntime's Entropy, over the same images.

    python benchmarks/calibration_speed.py --model fcn-resnet50-12.onnx --data coco/train2017 --images 16

The images are of one size, as onnxruntime's Entropy crashes on mixed ones. Bare passes and calibrations take turns, so
that a drift of the machine meets both; the ratios are of medians.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator
from peers import Reader, of_one_size

from fcn_onnx.calibration.methods import METHODS
from fcn_onnx.calibration.observing import observe_images, tabulate
from fcn_onnx.calibration.store import Observation
from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.network import Network


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--peer-images", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    samples = of_one_size(open_dataset(options.data).samples)[: options.images]
    network = Network(options.model)

    def bare() -> None:
        for sample in samples:
            network.run(Preprocessing()(read_rgb(sample.path)))

    def observed(images: Sequence[Sample]) -> Observation:
        model = Model.open(options.model)
        return observe_images(model, images, preprocessing_of(model.proto, model.name)).observation

    def ours() -> None:
        tabulate(observed(samples), METHODS["kl"])

    def entropy() -> None:
        few = samples[: options.peer_images]
        with tempfile.TemporaryDirectory() as folder:
            calibrator = create_calibrator(
                options.model,
                ["Conv", "Relu", "Add", "MaxPool"],
                augmented_model_path=str(Path(folder, "augmented.onnx")),
                calibrate_method=CalibrationMethod.Entropy,
            )
            batches = ({"input": Preprocessing()(read_rgb(sample.path))} for sample in few)
            calibrator.collect_data(Reader(batches))
            calibrator.compute_data()

    bare()
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(options.turns):
        times["bare"].append(seconds(bare))
        times["ours"].append(seconds(ours))
    per_image = {name: median(values) / len(samples) for name, values in times.items()}
    print(f"bare fp32 pass        {per_image['bare']:.2f} s an image")
    print(
        f"calibrate --method kl {per_image['ours']:.2f} s an image: {per_image['ours'] / per_image['bare']:.2f} × bare"
    )
    histograms = observed(samples[:2]).histograms
    for method in METHODS.values():
        took = seconds(lambda method=method: [method.threshold(h) for h in histograms.values()])  # type: ignore[misc]
        print(f"thresholds of {len(histograms)} tensors, {method.name:10} {took:.2f} s")
    peer = seconds(entropy) / min(options.peer_images, len(samples))
    print(f"onnxruntime Entropy   {peer:.2f} s an image: ours is {peer / per_image['ours']:.2f} × faster")


if __name__ == "__main__":
    main()
