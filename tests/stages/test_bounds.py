"""The library refuses what the command line refuses, and NaN and infinity everywhere."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from toys import pixel_classifier, save, write_coco

from fcn_onnx import benchmark, export, predict
from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.jobs.bounds import COUNT, DROP, PERCENT, THREADS, Bound
from fcn_onnx.jobs.engines import Running
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import (
    BenchmarkOptions,
    CalibrateOptions,
    ExportOptions,
    PredictOptions,
    QuantizeOptions,
    ValidateOptions,
)
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.validate import validate


@pytest.mark.parametrize(
    ("bound", "inside", "outside"),
    [
        (COUNT, [1, 7], [0, -1, nan, inf, -inf]),
        (THREADS, [0, 1, 1024], [-1, 1025, nan, inf]),
        (DROP, [0, 0.5, 1e9], [-1e-9, nan, inf, -inf]),
        (PERCENT, [1e-9, 99.999, 100], [0, -1, 100.0001, nan, inf]),
    ],
)
def test_bounds(bound: Bound, inside: list[float], outside: list[float]) -> None:
    for value in inside:
        bound.require("--option", value)
    bound.require("--option", None)
    for value in outside:
        with pytest.raises(UsageError, match="--option is"):
            bound.require("--option", value)


REFUSED: dict[str, Callable[[Path, Path], Any]] = {
    "--limit is 0": lambda model, data: ImageChoice(data, limit=0),
    "--limit is -1": lambda model, data: validate(
        ValidateOptions(fp32=model, int8=(model,), choice=ImageSource(data), limit=-1)
    ),
    "--limit is -2": lambda model, data: validate(
        ValidateOptions(fp32=model, int8=[model], choice=ImageSource(data), limit=-2)
    ),
    "--workers is 0": lambda model, data: validate(
        ValidateOptions(fp32=model, int8=(model,), choice=ImageSource(data), running=Running(workers=0))
    ),
    "--workers is -1": lambda model, data: calibrate(
        CalibrateOptions(model=model, choice=ImageChoice(data), running=Running(workers=-1))
    ),
    "--max-drop is -5": lambda model, data: validate(
        ValidateOptions(fp32=model, int8=(model,), choice=ImageSource(data), gates=Gates(max_drop=-5))
    ),
    "--max-drop is nan": lambda model, data: quantize(
        QuantizeOptions(model=model, choice=ImageChoice(data), max_drop=nan)
    ),
    "--max-drop is inf": lambda model, data: quantize(
        QuantizeOptions(model=model, choice=ImageChoice(data), max_drop=inf)
    ),
    "--percentile is nan": lambda model, data: quantize(
        QuantizeOptions(model=model, choice=ImageChoice(data), method="percentile", percentile=nan)
    ),
    "--threads is -4": lambda model, data: quantize(QuantizeOptions(model=model, choice=ImageChoice(data), threads=-4)),
    "--threads is -5": lambda model, data: calibrate(
        CalibrateOptions(model=model, choice=ImageChoice(data), threads=-5)
    ),
    "--threads is -6": lambda model, data: validate(
        ValidateOptions(fp32=model, int8=(model,), choice=ImageSource(data), threads=-6)
    ),
    "--threads is -7": lambda model, data: benchmark(BenchmarkOptions(models=[model], threads=-7)),
    "--threads is -8": lambda model, data: predict(PredictOptions(model=model, images=[data], threads=-8)),
    "a side of --size is 0": lambda model, data: export(ExportOptions(arch="tiny", size=(64, 0))),
}


@pytest.mark.parametrize("words", REFUSED)
def test_the_library_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    model, data = save(pixel_classifier(), tmp_path / "m.onnx"), write_coco(tmp_path / "coco")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError) as caught:
        REFUSED[words](model, data)
    assert words in str(caught.value)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
