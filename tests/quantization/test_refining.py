"""Moving thresholds by the measured error of the output."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from PIL import Image
from toys import foreign, residual_network, save, write_coco

from fcn_onnx.calibration.table import Range, RangeTable
from fcn_onnx.cli import main
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import SILENT
from fcn_onnx.model.card import ModelCard
from fcn_onnx.quantization.reference import Reference
from fcn_onnx.quantization.refining import STEPS, refine
from fcn_onnx.report.sensitivity import Deviation
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

TABLE = RangeTable({name: Range(-1.0, 2.0) for name in "abcd"}, "mse", "m", {}, {})
GROUPS = [["a", "b"], ["c"], ["d"]]


def distance(best: dict[str, float]) -> Callable[[RangeTable], float]:
    """An error that is least where each range is so many times the first."""
    return lambda table: sum((np.log(table.ranges[n].highest / 2) - np.log(f)) ** 2 for n, f in best.items())


def test_each_group_moves_to_where_the_error_is_less() -> None:
    error = distance({"a": 1.3, "b": 1.2, "c": 0.8, "d": 1.0})
    table, found = refine(TABLE, GROUPS, error, Journal(None, ""), SILENT)
    wider, narrower = STEPS
    factors = {name: r.highest / 2 for name, r in table.ranges.items()}
    assert factors == pytest.approx({"a": wider, "b": wider, "c": narrower, "d": 1}, rel=1e-6)
    assert table.ranges["a"].lowest == pytest.approx(-wider, rel=1e-6)
    assert all(np.float32(b) == b for r in table.ranges.values() for b in (r.lowest, r.highest))
    assert (found.before, found.after) == (error(TABLE), error(table))
    assert found.trials == 1 + 1 + 2 + 2
    assert table.method == "mse, refined"
    assert replace(table, ranges=TABLE.ranges, method="mse") == TABLE


def test_an_interrupted_refinement_measures_nothing_twice(tmp_path: Path) -> None:
    error = distance({"a": 1.3, "b": 1.2, "c": 0.8, "d": 1.0})
    whole, _ = refine(TABLE, GROUPS, error, Journal(None, ""), SILENT)
    measured = 0

    def stopping(table: RangeTable) -> float:
        nonlocal measured
        if measured == 4:
            raise KeyboardInterrupt
        measured += 1
        return error(table)

    with pytest.raises(KeyboardInterrupt), closing(Journal(tmp_path / "j", "job", interval_s=0)) as journal:
        refine(TABLE, GROUPS, stopping, journal, SILENT)
    measured = 0
    with closing(Journal(tmp_path / "j", "job", interval_s=0)) as journal:
        table, found = refine(TABLE, GROUPS, stopping, journal, SILENT)
    assert (table, found.trials, measured) == (whole, 6, 2)


def test_quantize_refines_and_says_what_it_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_coco(tmp_path / "coco")
    save(residual_network(), tmp_path / "fcn-toy-12.onnx")
    monkeypatch.chdir(tmp_path)
    arguments = ["quantize", "--data", str(data), "--limit", "3", "--output", "r.onnx", "--json", "r.json", "--refine"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(Path("r.json").read_text())["refinement"]
    card = ModelCard.read_from(onnx.load("r.onnx"), "r.onnx")
    assert card.quantization is not None
    assert card.quantization["method"] == "mse, refined"
    errors = []
    names = [data / name for name in sorted(card.calibration_images)]
    for name in names:
        values = np.asarray(resized(Image.open(name)), np.float32) / 255
        values = (values - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
        a, b = (
            ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
                ["out"], {"input": np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)}
            )[0]
            for model in ("fcn-toy-12.onnx", "r.onnx")
        )
        errors.append(np.square(b - a).sum() / np.square(a).sum())
    assert found["after"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert found["after"] < found["before"]
    assert "up to date" in CliRunner().invoke(main, arguments).output


def test_a_refinement_survives_the_calibration_of_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both steps keep a journal towards one file; the calibration, which comes first, must not write over the other."""
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    data = ImageChoice(write_coco(tmp_path / "coco"), limit=3)
    model = save(residual_network(), tmp_path / "m.onnx")
    measure, measured = Reference.of, 0

    def stopping(self: Reference, trial: onnx.ModelProto) -> Deviation:
        nonlocal measured
        if measured == 4:
            raise KeyboardInterrupt
        measured += 1
        return measure(self, trial)

    whole = quantize(QuantizeOptions(model=model, choice=data, refine=True, output=tmp_path / "whole.onnx")).refinement
    assert whole is not None
    monkeypatch.setattr(Reference, "of", stopping)
    with pytest.raises(KeyboardInterrupt):
        quantize(QuantizeOptions(model=model, choice=data, refine=True, output=tmp_path / "int8.onnx"))
    measured = -1000
    assert (
        quantize(QuantizeOptions(model=model, choice=data, refine=True, output=tmp_path / "int8.onnx")).refinement
        == whole
    )
    assert measured + 1000 == whole.trials - 4
    assert not list(tmp_path.glob(".*.journal"))


def resized(image: Image.Image) -> Image.Image:
    short, long = sorted(image.size)
    other = int(520 * long / short)
    size = (520, other) if image.width <= image.height else (other, 520)
    return image.convert("RGB").resize(size, Image.Resampling.BILINEAR)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "neural-compressor"], "chooses its own ranges"),
        (["--model", "labels.onnx"], "cannot be lowered by degrees"),
    ],
)
def test_what_cannot_be_refined_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    data = write_coco(tmp_path / "coco")
    save(residual_network(), tmp_path / "fcn-toy-12.onnx")
    save(foreign(labels=True), tmp_path / "labels.onnx")
    monkeypatch.chdir(tmp_path)
    model = [] if "--model" in arguments else ["--model", "fcn-toy-12.onnx"]
    result = CliRunner().invoke(main, ["quantize", "--data", str(data), "--limit", "2", "--refine", *model, *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert not list(tmp_path.glob("*-int8.onnx"))
