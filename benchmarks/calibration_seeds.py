"""How much of a difference between threshold methods is the draw of the calibration images?

    python benchmarks/calibration_seeds.py --model fcn-resnet50-12.onnx --calibrate coco/train2017 \
        --validate coco/val2017

Each of `--draws` seeds draws `--images` calibration images; every method's ranges come from the one pass over them, and
every model is scored on the same images. For each method: the label agreement with fp32, its mean and range over the
draws, and its difference to the default's with two 95 % intervals. One resamples the scored images only, as a table
of one draw does; the other resamples draws and images both (they are crossed: every draw is scored on every image), and
is the one to believe. With few draws it is a little too narrow.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peers import Job, Row, make_derived, make_histograms, parser_of, score

from fcn_onnx.calibration.methods import DEFAULT_METHOD, METHODS
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.model.interface import Interface

RESAMPLES = 2000


def made(job: Job, methods: list[str], folder: Path) -> list[Row]:
    """The models of one draw, one a method."""
    samples = job.choice().choose().samples
    make_histograms(job, samples, folder / "histograms.npz", "")
    rows = []
    for method in methods:
        path = folder / f"{method}.onnx"
        make_derived(job, samples, path, method)
        rows.append(Row(method, path, 0, 0))
    return rows


def interval(
    difference: NDArray[np.float64], pixels: NDArray[np.float64], rng: np.random.Generator, draws: bool
) -> tuple[float, float]:
    """Percentile bootstrap of the mean over draws of `difference` (draws, images), of label counts, over `pixels`."""
    number, images = difference.shape
    means = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, images, images)
        rows = rng.integers(0, number, number) if draws else np.arange(number)
        means.append(difference[np.ix_(rows, chosen)].sum() / (number * pixels[chosen].sum()))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=[m for m in METHODS if m != DEFAULT_METHOD], choices=METHODS)
    parser.add_argument("--target", default="auto")
    options = parser.parse_args()
    methods = [DEFAULT_METHOD, *(m for m in options.methods if m != DEFAULT_METHOD)]
    job = Job(options.model, options.calibrate, options.images, Interface(options.mean, options.std), options.target)
    dataset = open_dataset(options.validate)
    same: dict[str, list[list[int]]] = {method: [] for method in methods}
    pixels: list[int] = []
    for seed in range(options.draws):
        with tempfile.TemporaryDirectory() as name:
            rows = made(replace(job, seed=seed), methods, Path(name))
            score(job, rows, dataset, options.protocol, options.limit, exact=False)
        for row in rows:
            same[row.name].append([agreed for agreed, _ in row.agreement])
            pixels = [total for _, total in row.agreement]
        found = ", ".join(f"{method} {sum(same[method][-1]) / sum(pixels):.4f}" for method in methods)
        print(f"draw {seed}: {found}", flush=True)
    sizes = np.asarray(pixels, float)
    rng = np.random.default_rng(0)
    print(f"\n{options.draws} draws of {options.images} images, scored on {len(sizes)}, {options.protocol}")
    heads = f"{'mean':>8}{'range over draws':>20}{'to ' + DEFAULT_METHOD:>10}"
    print(f"{'':12}{heads}{'of images':>22}{'of draws and images':>22}")
    for method in methods:
        counts = np.asarray(same[method], float)
        shares = counts.sum(axis=1) / sizes.sum()
        difference = counts - np.asarray(same[DEFAULT_METHOD], float)
        text = f"{method:12}{shares.mean():8.4f}{f'{shares.min():.4f} … {shares.max():.4f}':>20}"
        if method != DEFAULT_METHOD:
            text += f"{difference.sum() / (len(shares) * sizes.sum()):+10.4f}"
            for draws in (False, True):
                low, high = interval(difference, sizes, rng, draws)
                text += f"{f'{low:+.4f} … {high:+.4f}':>22}"
        print(text)


if __name__ == "__main__":
    main()
