"""Several int8 models against one fp32 model: one pass over the same images, one report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from toys import compare, pixel_classifier, save, write_coco

from fcn_onnx.data.choice import ImageSource
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.artifact import digest_file
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.model.card import ModelCard
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.stages.options import ValidateOptions
from fcn_onnx.stages.validate import validate


def candidate(path: Path, shift: float, calibrated_on: list[Path]) -> Path:
    model = pixel_classifier(0, shift=shift)
    ModelCard(calibration_images={p.name: digest_file(p) for p in calibrated_on}).write_to(model)
    return save(model, path)


def test_all_are_scored_on_what_none_was_calibrated_on(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco")
    files = sorted(coco.iterdir())
    fp32 = save(pixel_classifier(0), tmp_path / "fp32.onnx")
    first = candidate(tmp_path / "first.onnx", 0.02, files[:1])
    second = candidate(tmp_path / "second.onnx", 0.05, files[1:2])
    result = validate(ValidateOptions(fp32=fp32, int8=[first, second], choice=ImageSource(coco), report=tmp_path / "r"))
    dataset = open_dataset(coco)
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert (report["images"], report["dataset"]["excluded_calibration_images"]) == (3, 2)
    assert list(report["candidates"]) == list(result.candidates) == ["first", "second"]
    for name, path in (("first", first), ("second", second)):
        alone = compare(fp32, path, replace(dataset, samples=dataset.samples[2:])).report
        own = report["candidates"][name]
        for score in ("miou", "pixel_accuracy", "per_class_iou"):
            assert own["int8"][score] == alone["int8"][score]
            assert report["fp32"][score] == alone["fp32"][score]
        assert own["delta"]["label_agreement"] == alone["delta"]["label_agreement"]
        assert own["worst_images"] == alone["worst_images"]
        assert [entry["name"] for entry in own["gallery"]] == [entry["name"] for entry in alone["gallery"]]
        assert report["confusion"][name] == alone["confusion"]["int8"]
        assert own["int8"]["digest"] == alone["digests"]["int8"]
        assert own["delta"]["miou"] == result.candidates[name].difference.miou
    page = (tmp_path / "r" / "report.html").read_text()
    markdown = (tmp_path / "r" / "report.md").read_text()
    for name, own in report["candidates"].items():
        shown = f"{100 * own['delta']['label_agreement']:.2f} %"
        for text in (page, markdown):
            assert shown in text
            assert own["int8"]["digest"] in text
            assert text.count(name) > 2
    assert page.count('<img src="data:image/') == 5 * 2 * len(report["candidates"]["first"]["gallery"])
    assert 'href="#candidate-2"' in page
    assert '<h2 class="candidate" id="candidate-2">second</h2>' in page
    for text in (page, markdown):  # three images
        assert "too few images for intervals" in text
        assert "None" not in text
    assert not list(tmp_path.rglob("*journal*"))


class Counting:
    """Counts the images of a pass, and stops after some."""

    def __init__(self, stop_after: int = 99) -> None:
        self.stop_after = stop_after
        self.seen: list[int] = []

    def track(self, items, *, total, label, done=0):  # type: ignore[no-untyped-def]
        self.seen.append(total - done)
        for index, item in enumerate(items):
            if index == self.stop_after:
                raise KeyboardInterrupt
            yield item

    def note(self, message: str) -> None: ...


def test_all_are_scored_in_one_pass_that_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 runs once an image, whatever the number of candidates, and an interrupted pass redoes no row."""
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    coco = write_coco(tmp_path / "coco")
    fp32 = save(pixel_classifier(0), tmp_path / "fp32.onnx")
    candidates = [candidate(tmp_path / f"{name}.onnx", shift, []) for name, shift in (("a", 0.02), ("b", 0.1))]
    candidates.append(save(pixel_classifier(0), tmp_path / "control.onnx"))
    order: list[str] = []
    run = Segmenter.run

    def watched(self: Segmenter, batch: NDArray[np.float32]) -> NDArray[Any]:
        order.append(Path(self.network.name).stem)
        return run(self, batch)

    monkeypatch.setattr(Segmenter, "run", watched)
    first, again = Counting(stop_after=3), Counting()
    with pytest.raises(KeyboardInterrupt):
        validate(
            ValidateOptions(fp32=fp32, int8=candidates, choice=ImageSource(coco), report=tmp_path / "r"), progress=first
        )
    result = validate(
        ValidateOptions(fp32=fp32, int8=candidates, choice=ImageSource(coco), report=tmp_path / "r"), progress=again
    )
    assert (first.seen, again.seen) == ([5], [2])
    rows = ["fp32", "a", "b", "control"]
    warming = [name for name in rows for _ in range(2)]
    assert order[:12] == [*warming, *rows[::-1]]  # the next image goes the other way
    whole = compare(fp32, candidates, open_dataset(coco))
    for name in rows[1:]:
        assert (result.candidates[name].int8.counts == whole.candidates[name].int8.counts).all()
        assert (result.per_image[f"agreement_{name}"] == whole.candidates[name].agreement).all()
    assert (result.per_image["counts_fp32"] == whole.fp32.counts).all()
    assert result.candidates["control"].difference.label_agreement == 1
    assert "A/A control: control and fp32 are the same file" in result.report["notes"]


def test_contradictions_are_refused(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco")
    fp32 = save(pixel_classifier(0), tmp_path / "fp32.onnx")
    (tmp_path / "other").mkdir()
    same = [candidate(tmp_path / "a.onnx", 0.1, []), candidate(tmp_path / "other" / "a.onnx", 0.2, [])]
    with pytest.raises(UsageError, match="same file name"):
        validate(ValidateOptions(fp32=fp32, int8=same, choice=ImageSource(coco), report=tmp_path / "r"))
    files = sorted(coco.iterdir())
    halves = [candidate(tmp_path / "b.onnx", 0.1, files[:3]), candidate(tmp_path / "c.onnx", 0.1, files[2:])]
    with pytest.raises(UsageError, match="no image is left"):
        validate(ValidateOptions(fp32=fp32, int8=halves, choice=ImageSource(coco), report=tmp_path / "r"))
    with pytest.raises(UsageError, match="is called fp32"):
        validate(ValidateOptions(fp32=fp32, int8=[fp32, same[0]], choice=ImageSource(coco), report=tmp_path / "r"))
    with pytest.raises(UsageError, match="no int8 model"):
        compare(fp32, [], open_dataset(coco))
    assert not list((tmp_path / "r").rglob("*.json"))
