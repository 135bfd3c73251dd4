"""Whole commands that are interrupted, or whose disk is full at the end: what was done is not done again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import pixel_classifier, residual_network, save, write_coco

import fcn_onnx.stages.quantize as quantizing
import fcn_onnx.stages.validate as validating
from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import CalibrateOptions, QuantizeOptions, ValidateOptions
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.validate import validate


class Watching:
    """Hears what is said, counts images, and stops after some."""

    def __init__(self, stop_after: int = 99) -> None:
        self.stop_after = stop_after
        self.said: list[str] = []

    def track(self, items, *, total, label, done=0):  # type: ignore[no-untyped-def]
        for index, item in enumerate(items):
            if index == self.stop_after:
                raise KeyboardInterrupt
            yield item

    def note(self, message: str) -> None:
        self.said.append(message)

    def continued(self) -> list[str]:
        return [said.split(" (")[0] for said in self.said if said.startswith("continuing")]


@pytest.fixture(autouse=True)
def _kept_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def disk_full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def run_calibrate(data: Path, progress: Watching, limit: int = 4) -> bytes:
    model = save(residual_network(), Path("m.onnx"))
    calibrate(
        CalibrateOptions(model=model, choice=ImageChoice(data, limit=limit), output=Path("t.json")), progress=progress
    )
    return Path("t.json").read_bytes()


def run_validate(data: Path, progress: Watching) -> Any:
    first, second = (save(pixel_classifier(seed), Path(f"{seed}.onnx")) for seed in (0, 1))
    return validate(
        ValidateOptions(fp32=first, int8=(second,), choice=ImageSource(data), report=Path("report")), progress=progress
    ).report["delta"]["miou"]


def run_quantize(data: Path, progress: Watching) -> bytes:
    model = save(residual_network(), Path("m.onnx"))
    quantize(
        QuantizeOptions(model=model, choice=ImageChoice(data, limit=4), output=Path("int8.onnx")), progress=progress
    )
    return Path("int8.onnx").read_bytes()


@pytest.mark.parametrize(
    ("run", "where", "name", "images"),
    [
        (run_calibrate, RangeTable, "save", 4),
        (run_validate, validating, "write_report", 5),
        (run_quantize, quantizing, "write_int8", 4),
    ],
)
def test_a_full_disk_at_the_end_costs_nothing_that_was_done(
    data: Path, run: Callable[..., Any], where: Any, name: str, images: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, disk_full)
        with pytest.raises(OSError, match="No space left"):
            run(data, Watching())
    again = Watching()
    result = run(data, again)
    assert again.continued() == [f"continuing after {images} finished images"]
    assert not list(Path().glob(".*journal*"))
    assert run(data, Watching()) == result


def test_another_job_towards_the_same_output_leaves_the_interrupted_one_alone(data: Path) -> None:
    whole = run_calibrate(data, Watching())
    with pytest.raises(KeyboardInterrupt):
        run_calibrate(data, Watching(stop_after=3))
    run_calibrate(data, Watching(), limit=2)
    again = Watching()
    assert run_calibrate(data, again) == whole
    assert again.continued() == ["continuing after 3 finished images"]


@pytest.mark.parametrize("there", ["before", "after"])
def test_a_report_folder_that_comes_or_goes_does_not_lose_the_journal(data: Path, there: str) -> None:
    report = Path("report")
    if there == "before":
        report.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run_validate(data, Watching(stop_after=3))
    if there == "before":
        shutil.rmtree(report)
    else:
        report.mkdir(exist_ok=True)
    again = Watching()
    run_validate(data, again)
    assert again.continued() == ["continuing after 3 finished images"]


def test_a_planted_link_is_not_written_through(data: Path) -> None:
    victim = Path("victim")
    victim.write_text("precious")
    Path(".t.json.journal.part").symlink_to(victim)
    with pytest.raises(KeyboardInterrupt):
        run_calibrate(data, Watching(stop_after=3))
    (journal,) = Path().glob(".t.json.*journal")
    journal.unlink()
    journal.symlink_to(victim)
    run_calibrate(data, Watching())
    assert victim.read_text() == "precious"


def test_a_flipped_byte_in_a_journal_is_no_error(data: Path) -> None:
    whole = run_calibrate(data, Watching())
    with pytest.raises(KeyboardInterrupt):
        run_calibrate(data, Watching(stop_after=3))
    (journal,) = Path().glob(".t.json.*journal")
    content = journal.read_bytes()
    for position in range(0, len(content), len(content) // 12):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        journal.write_bytes(damaged)
        assert run_calibrate(data, Watching()) == whole
