"""Agreement with fp32 against speed, from all int8 to all fp32: the front that `quantize --min-agreement` walks.

    python benchmarks/pareto.py --model deeplab.onnx --data coco/train2017 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5

64 images (`--images`) calibrate and price, the others of the folder choose; each model is proved on the graph that
onnxruntime executes: what is kept has the original's weights bit for bit, and what is unrounded multiplies in int8.
Speeds are in turns with the all-int8 model, on the first of the others: run it on a quiet machine.
DeepLabv3-MobileNetV2 at 257², where 151 images choose, took 157 s on two busy cores.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from fcn_onnx.calibration.methods import get_method
from fcn_onnx.calibration.observing import observe_images, tabulate
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import SILENT
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.quantization.judge import Judge
from fcn_onnx.quantization.making import Calibrated, Maker
from fcn_onnx.quantization.plan import make_plan
from fcn_onnx.quantization.pricing import measured_prices, way
from fcn_onnx.quantization.search import PRICING_IMAGES
from fcn_onnx.quantization.sensitivity import front_steps
from fcn_onnx.quantization.trials import Trials
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.timing import time_ratio

RUNS = 15


def triple(text: str) -> tuple[float, float, float]:
    first, second, third = map(float, text.split(","))
    return first, second, third


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=64, help="that calibrate")
    parser.add_argument("--judged", type=int, default=10_000, help="of the others, at most")
    parser.add_argument("--format", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--mean", type=triple)
    parser.add_argument("--std", type=triple)
    options = parser.parse_args()
    began = time.perf_counter()
    interface = Interface(mean=options.mean, std=options.std)
    fp32 = Model.open(options.model)
    preprocessing = preprocessing_of(fp32.proto, fp32.name, interface)
    dataset = open_dataset(options.data)
    calibrating = ImageChoice(options.data, limit=options.images).choose(SILENT).samples
    known = {sample.name for sample in calibrating}
    judged = [sample for sample in dataset.samples if sample.name not in known][: options.judged]
    plan = make_plan(fp32.taken, measured_cpu(), quant_format=options.format)
    observation = observe_images(fp32, calibrating, preprocessing, threads=options.threads).observation
    table = tabulate(observation, get_method("mse", None, plan.levels))
    maker = Maker(fp32, Calibrated(calibrating, preprocessing, {}), interface=interface, threads=options.threads)
    trials = Trials(maker, plan, table, Journal(None, ""), SILENT)
    pricing = maker.reference(calibrating[:PRICING_IMAGES], logits=PRICING_IMAGES)
    steps = front_steps(way(measured_prices(trials, pricing, PRICING_IMAGES), trials))
    print(f"{plan}; priced in {time.perf_counter() - began:.0f} s; {len(judged)} images judge\n")
    reference = maker.reference(judged)
    judge, batch = Judge(reference, dataset), reference.batch
    whole = reference.opened(trials.made(()).int8)
    print("| in fp32 | sums unrounded | agreement | mIoU lost, % | of int8's speed | speed-up over fp32 |")
    print("|---|---|---|---|---|---|")
    for step in steps:
        own = reference.opened(trials.proven(step.state.kept, step.state.unrounded))
        score = judge.score(own)
        kept = time_ratio(partial(whole.run, batch), partial(own.run, batch), RUNS)
        over = time_ratio(partial(reference.original.run, batch), partial(own.run, batch), RUNS)
        print(
            f"| {len(step.state.kept)} | {len(step.state.unrounded)} | {score.agreement:.4f} | "
            f"{score.drop_percent:.2f} | {kept:.2f} | {over:.2f} |",
            flush=True,
        )
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
