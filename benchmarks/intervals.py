"""Do the intervals hold what they promise? Two simulations.

    python benchmarks/intervals.py --counts report/images.npz   # a population of real images, from `validate`
    python benchmarks/intervals.py                              # a synthetic one
    python benchmarks/intervals.py --control demo/fcn-tiny-12.onnx --data demo/scenes/val

Coverage: draw `--images` images from a population whose difference is known, form the 95 % intervals of the change of
the mIoU, of the pixel accuracy and of the label agreement, and count how often each holds the population's value. The
population is either what `validate` counted, or 20,000 images of few classes each, frequent ones and rare ones.
A change of the mIoU over a sample is over the classes of that sample; it is asked of the population over the same ones.

Control: validate a model against itself `--runs` times; the interval of the speed-up should hold 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.choice import ImageSource
from fcn_onnx.evaluation.comparison import compare
from fcn_onnx.evaluation.metrics import ConfusionMetric
from fcn_onnx.stages.options import ValidateOptions
from fcn_onnx.stages.validate import validate

METRIC = ConfusionMetric()
Arrays = dict[str, NDArray[np.int64]]


def synthetic(images: int, seed: int) -> Arrays:
    """Counts of images of 20,000 pixels: background and one to three classes, with VOC's skew of frequencies.

    Each class of an image is recognised to a share that varies from image to image; int8 flips a few of fp32's labels,
    in some images many.
    """
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, 21) ** 0.8
    frequency /= frequency.sum()
    rows: dict[str, list[NDArray[np.int64]]] = {"counts_fp32": [], "counts_int8": [], "agreement": []}
    for _ in range(images):
        present = np.concatenate([[0], 1 + rng.choice(20, rng.integers(1, 4), replace=False, p=frequency)])
        truth = rng.multinomial(20_000, rng.dirichlet(np.where(present == 0, 6.0, 2.0)))
        counts = {name: np.zeros((21, 21), np.int64) for name in ("fp32", "int8")}
        flipped = min(0.3, rng.lognormal(-5, 1))
        same = 0
        for label, pixels in zip(present, truth, strict=True):
            hits = rng.beta(12, 2)
            share = np.where(present == label, hits, (1 - hits) / (len(present) - 1))
            before = rng.multinomial(pixels, share)
            after = np.zeros_like(before)
            for index, number in enumerate(before):
                moved = rng.binomial(number, flipped)
                same += number - moved
                after[index] += number - moved
                # a flipped label is a little more often a wrong one
                weights = np.where(present == label, 0.9, 1.0) * (np.arange(len(present)) != index)
                after += rng.multinomial(moved, weights / weights.sum())
            counts["fp32"][label, present] += before
            counts["int8"][label, present] += after
        rows["counts_fp32"].append(counts["fp32"].ravel())
        rows["counts_int8"].append(counts["int8"].ravel())
        rows["agreement"].append(np.array([same, truth.sum()]))
    return {name: np.stack(values) for name, values in rows.items()}


def over_classes(population: Arrays, sample: Arrays) -> float:
    """The population's change of the mIoU over the classes that both models score in the sample."""
    iou = {
        (name, model): METRIC.scores(rows[f"counts_{model}"]).per_class_iou
        for name, rows in (("all", population), ("sample", sample))
        for model in ("fp32", "int8")
    }
    scored = ~np.isnan(iou["sample", "fp32"] + iou["sample", "int8"])
    return float((iou["all", "int8"] - iou["all", "fp32"])[scored].mean())


def coverage(population: Arrays, images: int, trials: int, resamples: int, seed: int) -> dict[str, float]:
    """Share of the trials whose interval holds the population's value, for each measure."""
    whole = compare(METRIC, population["counts_fp32"], population["counts_int8"], population["agreement"], resamples=1)
    held = {"mIoU": 0, "pixel accuracy": 0, "label agreement": 0}
    rng = np.random.default_rng(seed)
    for trial in range(trials):
        picks = rng.integers(0, len(population["agreement"]), images)
        sample = {name: rows[picks] for name, rows in population.items()}
        found = compare(
            METRIC,
            sample["counts_fp32"],
            sample["counts_int8"],
            sample["agreement"],
            resamples=resamples,
            seed=seed + trial,
        )
        for name, (low, high), value in (
            ("mIoU", found.miou_ci95, over_classes(population, sample)),
            ("pixel accuracy", found.pixel_accuracy_ci95, whole.pixel_accuracy),
            ("label agreement", found.label_agreement_ci95, whole.label_agreement),
        ):
            held[name] += low <= value <= high
    return {name: number / trials for name, number in held.items()}


def control(model: Path, data: Path, images: int, runs: int) -> int:
    """How many of so many A/A runs have an interval of the speed-up that holds 1."""
    options = ValidateOptions(fp32=model, int8=(model,), choice=ImageSource(data), limit=images, report=None)
    held = 0
    for _ in range(runs):
        low, high = validate(options).only.speedup_ci95
        held += low <= 1 <= high
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=Path, help="images.npz of a report under a protocol with classes")
    parser.add_argument("--images", type=int, nargs="+", default=[50, 100, 400])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control", type=Path, metavar="MODEL")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    if options.control:
        images = options.images[0]
        held = control(options.control, options.data, images, options.runs)
        print(f"A/A on {images} images: the interval of the speed-up holds 1 in {held} of {options.runs} runs")
        return
    if options.counts:
        with np.load(options.counts) as content:
            population = {name: content[name] for name in ("counts_fp32", "counts_int8", "agreement")}
    else:
        population = synthetic(20_000, options.seed)
    for images in options.images:
        found = coverage(population, images, options.trials, options.resamples, options.seed)
        shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in found.items())
        print(f"{images} images, {options.trials} trials: the 95 % interval holds the {shares}", flush=True)


if __name__ == "__main__":
    main()
