"""int8 models of many networks, ours and onnxruntime's own, on the same images: the table of docs/networks.md.

    PYTHONPATH=tests python benchmarks/networks.py --train coco/train2017 --test coco/val2017 [--only NAME …]

The networks are our families and those of `foreign_torch.py`. Their weights are fitted here (`fitting.py`). Each is
exported at opset 13 by `fcn-onnx export --network`, at one size, and made int8 by `fcn-onnx quantize` with its defaults
and by onnxruntime's `quantize_static` (per channel, MinMax) as QDQ and as QOperator, on the same images. The rest are
`tests/foreign`'s: with external data, channels last, ArgMax, two outputs, no names. Shown are, on other images, the
signal-to-noise ratio of the logits and the share of labels that are fp32's, both as means over the images; the share of
multiply-accumulates that run in int8; the time of one run over fp32's, on one thread, turn and turn about; and by how
much ours is ahead, with an interval over the images (`paired.py`). A row that is there already, in `--rows`, is not
made again; it holds what was measured of each image.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import foreign_torch
import numpy as np
import torch
from fitting import fit
from foreign.compare import Bench
from foreign.networks import NETWORKS as GRAPHS
from foreign_torch import CLASSES
from foreign_torch import NETWORKS as TORCH
from onnxruntime.quantization import QuantFormat
from paired import mean_of
from PIL import Image

from fcn_onnx import export
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.data.selection import draw, spread_over_classes
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.model.interface import Interface
from fcn_onnx.networks.families import ARCHITECTURES
from fcn_onnx.networks.torchvision_compat import import_torchvision
from fcn_onnx.runtime.coverage import read_coverage
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.stages.options import ExportOptions

FITTED = 50
OPSET = 13
SEED = 0
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--size", type=int, default=256, help="both sides of the input")
    parser.add_argument("--calibrate", type=int, default=24, help="images")
    parser.add_argument("--compare", type=int, default=16, help="images")
    parser.add_argument("--rows", type=Path, default=Path("networks.jsonl"))
    options = parser.parse_args()
    there = {row["name"] for row in _rows(options.rows)}
    names = [*ARCHITECTURES, *TORCH, *(name for name in GRAPHS if not GRAPHS[name].refusal)]
    for name in [name for name in options.only or names if name not in there]:
        # a process each: memory is given back, and a network that crashes takes nothing along
        work = multiprocessing.get_context("spawn").Process(target=_row, args=(name, options))
        work.start()
        work.join()
        if work.exitcode:
            print(f"{name}: exit code {work.exitcode}", file=sys.stderr)
    print(f"{measured_cpu().int8_kernel}, one thread, {options.size}×{options.size}\n")
    _print(list(_rows(options.rows)))


def _rows(path: Path) -> Iterator[Row]:
    if path.is_file():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _row(name: str, options: argparse.Namespace) -> None:
    """Make one network's models in a folder of their own, and append what they score."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        bench = (
            Bench.of(GRAPHS[name], Path(folder), max(OPSET, GRAPHS[name].opset))
            if name in GRAPHS
            else _fitted(name, Path(folder), options)
        )
        paths = {"fp32": bench.model, "ours": bench.ours().path}
        row: Row = {"name": name}
        for form in QuantFormat:
            try:
                paths[form.name] = bench.theirs(form)
            except Exception as error:  # whatever a quantizer raises is a result
                row[form.name] = f"{type(error).__name__}"
        for maker, path in paths.items():
            try:
                score = bench.score(path)
            except Exception as error:  # a file that no session loads, too
                row[maker] = f"{type(error).__name__}"
                continue
            row[maker] = {"sqnr_db": score.sqnr_db, "agreement": score.agreement, **asdict(score)}
        timed = [maker for maker in paths if isinstance(row[maker], dict)]
        times = dict(zip(timed, bench.milliseconds([paths[maker] for maker in timed]), strict=True))
        for maker in timed:
            row[maker] |= {"speedup": times["fp32"] / times[maker], "int8": _share(paths[maker], options.size)}
    with options.rows.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    _print([row])


def _share(path: Path, size: int) -> float | None:
    return read_coverage(path, (size, size)).int8_macs_share


def _fitted(name: str, folder: Path, options: argparse.Namespace) -> Bench:
    """A torch network with weights that mean something, exported, and real images."""
    import_torchvision()
    torch.manual_seed(SEED)
    architecture = ARCHITECTURES.get(name)
    preprocessing = architecture.preprocessing if architecture else Preprocessing()
    network = architecture.build(CLASSES, False) if architecture else TORCH[name]()
    size = (options.size, options.size)
    train, test = open_dataset(options.train), open_dataset(options.test)
    fitted = spread_over_classes(train, FITTED)
    shown = Preprocessing(Resize(size=size), preprocessing.mean, preprocessing.std, preprocessing.channels)
    images = [torch.from_numpy(shown.read(sample)[0]) for sample in fitted]
    masks = [_mask(train, sample, size) for sample in fitted]
    fit(network, images, masks, CLASSES)
    foreign_torch.current.append(network)
    model = folder / "network.onnx"
    hints = Interface(mean=preprocessing.mean, std=preprocessing.std, channels=preprocessing.channels)
    export(ExportOptions(network="foreign_torch:made", opset=OPSET, size=size, output=model))
    return Bench(
        model,
        _copied(draw(train.samples, options.calibrate), folder / "calibrated"),
        _copied(draw(test.samples, options.compare), folder / "others"),
        hints,
    )


def _mask(dataset: Dataset, sample: Sample, size: tuple[int, int]) -> np.ndarray:
    resized = Image.fromarray(dataset.label_map(sample)).resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(resized)


def _copied(samples: tuple[Sample, ...], folder: Path) -> Path:
    folder.mkdir()
    for sample in samples:
        shutil.copy(sample.path, folder)
    return folder


def _print(rows: list[Row]) -> None:
    print(
        "| network | ours, dB | agreement | int8 | speed | onnxruntime QDQ | QOperator | ours − QDQ, dB | agreement |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        ours = row["ours"]
        cells = [
            *_scores(ours),
            f"{ours['int8']:.3f}",
            f"{ours['speedup']:.2f}",
            _peer(row["QDQ"]),
            _peer(row["QOperator"]),
        ]
        print(f"| {row['name']} | {' | '.join([*cells, *_ahead(ours, row['QDQ'])])} |", flush=True)


def _decibels(cell: Mapping[str, Any]) -> np.ndarray:
    """Signal over noise of each batch of images; at most that of float32."""
    return 10 * np.log10(np.array(cell["signal"]) / np.maximum(cell["noise"], 1e-14 * np.array(cell["signal"])))


def _agreements(cell: Mapping[str, Any]) -> np.ndarray:
    return np.array(cell["same"]) / np.array(cell["pixels"])


def _scores(cell: Mapping[str, Any]) -> list[str]:
    """Means over the images."""
    return [f"{_decibels(cell).mean():.1f}", f"{_agreements(cell).mean():.4f}"]


def _peer(cell: Mapping[str, Any] | str) -> str:
    if isinstance(cell, str):
        return cell
    return ", ".join([*_scores(cell), f"{cell['int8']:.3f}", f"{cell['speedup']:.2f}"])


def _ahead(ours: Mapping[str, Any], theirs: Mapping[str, Any] | str) -> list[str]:
    """The differences with their intervals, in bold where ours is behind beyond them."""
    if isinstance(theirs, str):
        return ["–", "–"]
    cells = []
    for digits, scores in ((1, _decibels), (4, _agreements)):
        found = mean_of(scores(ours) - scores(theirs))
        said = f"{found.value:+.{digits}f} ± {found.half:.{digits}f}"
        cells.append(f"**{said}**" if found.behind else said)
    return cells


if __name__ == "__main__":
    main()
