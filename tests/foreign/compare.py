"""A foreign network, made int8 by `fcn_onnx.quantize` and by onnxruntime's own quantizer, on the same pictures.

PYTHONPATH=tests python -m foreign.compare [--opset N] [NAME …]
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

from fcn_onnx import quantize
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.errors import FcnOnnxError
from fcn_onnx.model.interface import Interface
from fcn_onnx.quantization.writing import Quantized
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import options_of
from fcn_onnx.stages.options import QuantizeOptions
from foreign.networks import NETWORKS, Foreign
from foreign.pictures import write_pictures

OTHERS = 100
"""The seed of the first picture that is not calibrated on."""

TIMED_RUNS = 7
Array = NDArray[Any]


@dataclass(frozen=True)
class Score:
    """How near a model comes to the fp32 one, on pictures it was not calibrated on.

    Attributes:
        sqnr_db: 10 · log₁₀(Σ fp32² / Σ (fp32 − int8)²) of the output; inf where nothing differs.
        agreement: share of the pixels with the same label.
        signal, noise: the two sums, of each batch of pictures.
        same, pixels: how many pixels of it have the same label, and how many there are.
    """

    signal: tuple[float, ...]
    noise: tuple[float, ...]
    same: tuple[int, ...]
    pixels: tuple[int, ...]

    @property
    def sqnr_db(self) -> float:
        return float(10 * np.log10(sum(self.signal) / sum(self.noise))) if sum(self.noise) else np.inf

    @property
    def agreement(self) -> float:
        return sum(self.same) / sum(self.pixels)


class Bench:
    """One fp32 model, with pictures to calibrate on and others to compare on.

    Args:
        model: the file; what is made of it is written beside it.
        pictures: a folder; all of them are calibrated on.
        others: a folder.
        interface: what has to be said of the model.
        multiple_of: what both sides of its input must be multiples of.
    """

    def __init__(self, model: Path, pictures: Path, others: Path, interface: Interface, multiple_of: int = 1) -> None:
        self.model, self.pictures, self.others = model, pictures, others
        self.interface, self.multiple_of = interface, multiple_of
        self.folder = model.parent
        self.preprocessing: Preprocessing = preprocessing_of(onnx.load(model), str(model), interface)

    @classmethod
    def of(cls, foreign: Foreign, folder: Path, opset: int | None = None) -> Bench:
        """One of the networks here, with pictures of figures."""
        model = folder / "foreign.onnx"
        onnx.save(foreign.build(opset or foreign.opset), model)
        calibrated, compared = foreign.pictures
        pictures = write_pictures(folder / "pictures", range(calibrated), foreign.size)
        others = write_pictures(folder / "others", range(OTHERS, OTHERS + compared), foreign.size)
        return cls(model, pictures, others, foreign.interface, foreign.multiple_of)

    def ours(self, **options: Any) -> Quantized:
        """By the program, with its own choice of everything."""
        choice = ImageChoice(self.pictures, limit=len(list(self.pictures.iterdir())))
        return quantize(
            QuantizeOptions(
                model=self.model, choice=choice, output=self.folder / "ours.onnx", interface=self.interface, **options
            )
        )

    def theirs(self, form: QuantFormat) -> Path:
        """By onnxruntime, as its documentation advises: preprocessed, per channel, MinMax."""
        output = self.folder / f"theirs-{form.name}.onnx"
        quantize_static(
            str(self._prepared),
            str(output),
            _Reader(self.batches(self.pictures)),
            calibrate_method=CalibrationMethod.MinMax,
            quant_format=form,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return output

    @cached_property
    def _prepared(self) -> Path:
        """By onnxruntime's own preprocessing."""
        prepared = self.folder / "prepared.onnx"
        with contextlib.chdir(self.folder):  # where its symbolic shape inference leaves a file
            try:
                quant_pre_process(str(self.model), str(prepared))
            except Exception:  # what its own error advises: "Incomplete symbolic shape inference"
                quant_pre_process(str(self.model), str(prepared), skip_symbolic_shape=True)
        return prepared

    def batches(self, folder: Path) -> Iterator[dict[str, Array]]:
        """What a session is fed: pictures in the model's own layout and batch."""
        value = session(self.model).get_inputs()[0]
        number = value.shape[0] if isinstance(value.shape[0], int) else 1
        paths = sorted(folder.iterdir())
        for start in range(0, len(paths), number):
            chosen = [paths[index % len(paths)] for index in range(start, start + number)]
            batch = np.concatenate([self.preprocessing(Image.open(path).convert("RGB")) for path in chosen])
            batch = _padded(batch, self.multiple_of)
            yield {value.name: np.ascontiguousarray(batch.transpose(0, 2, 3, 1)) if value.shape[3] == 3 else batch}

    def score(self, candidate: Path) -> Score:
        """Compare with the fp32 model, output for output."""
        pairs = [(self.run(self.model, fed), self.run(candidate, fed)) for fed in self.batches(self.others)]
        same = [labels(a) == labels(b) for a, b in pairs]
        return Score(
            tuple(float((a.astype(np.float64) ** 2).sum()) for a, _ in pairs),
            tuple(float(((a.astype(np.float64) - b) ** 2).sum()) for a, b in pairs),
            tuple(int(hits.sum()) for hits in same),
            tuple(hits.size for hits in same),
        )

    def run(self, path: Path, fed: dict[str, Array]) -> Array:
        (value,) = session(path).run([self.interface.output_name] if self.interface.output_name else None, fed)
        return np.asarray(value)

    def milliseconds(self, paths: Sequence[Path]) -> list[float]:
        """Median of some runs of each, turn and turn about."""
        fed = next(self.batches(self.others))
        sessions = [session(path) for path in paths]
        taken: list[list[float]] = [[] for _ in paths]
        for _ in range(TIMED_RUNS):
            for opened, spent in zip(sessions, taken, strict=True):
                started = time.perf_counter()
                opened.run(None, fed)
                spent.append(1e3 * (time.perf_counter() - started))
        return [float(np.median(spent)) for spent in taken]


class _Reader:
    """onnxruntime's CalibrationDataReader."""

    def __init__(self, batches: Iterator[dict[str, Array]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


def _padded(batch: Array, multiple: int) -> Array:
    """Zeros to the right and below, until both sides are multiples."""
    height, width = batch.shape[2:]
    return np.pad(batch, ((0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple)))


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(path), options_of(SessionConfig(threads=1)), providers=["CPUExecutionProvider"])


def labels(output: Array) -> Array:
    """(N, H, W) labels of logits (N, C, H, W), of a probability (N, 1, H, W), or of labels (N, H, W)."""
    if output.ndim == 3:
        return output
    return output[:, 0] > 0.5 if output.shape[1] == 1 else output.argmax(1)


def main() -> None:
    """Print a table of the networks named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--opset", type=int)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    for name in options.names or [name for name in NETWORKS if not NETWORKS[name].refusal]:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench.of(NETWORKS[name], Path(folder), options.opset)
            rows = {"fp32": bench.model}
            for maker in ("ours", *QuantFormat):
                try:
                    made = bench.ours().path if maker == "ours" else bench.theirs(maker)
                    score = bench.score(made)
                    rows[str(maker)] = made
                    said = f"{score.sqnr_db:7.2f} dB  {score.agreement:.4f}"
                except Exception as error:  # whatever a quantizer raises is a result
                    said = f"{type(error).__name__}: {str(error)[:150]}"
                    said += f" FIX {error.fix}" if isinstance(error, FcnOnnxError) else ""
                print(f"{name:18}{maker!s:14}{said}", flush=True)
            timed = zip(rows, bench.milliseconds(list(rows.values())), strict=True)
            print(f"{'':18}" + ", ".join(f"{which} {ms:.2f} ms" for which, ms in timed), flush=True)


if __name__ == "__main__":
    main()
