"""Several int8 models against one fp32 model: the same images, one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toys import pixel_classifier, save, write_coco

from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.artifact import digest_file
from fcn_onnx.model.card import ModelCard
from fcn_onnx.stages.validate import validate
from fcn_onnx.stages.validating import validate_candidates


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
    results = validate_candidates(fp32, [first, second], coco, report=tmp_path / "r")
    dataset = open_dataset(coco)
    for name, path in (("first", first), ("second", second)):
        alone = validate(fp32, path, dataset, images=dataset.samples[2:]).report
        report = json.loads((tmp_path / "r" / name / "report.json").read_text())
        assert report["images"] == 3
        assert report["int8"]["miou"] == alone["int8"]["miou"]
        assert report["delta"]["label_agreement"] == alone["delta"]["label_agreement"]
        assert results[name].report["images"] == 3
    table = json.loads((tmp_path / "r" / "candidates.json").read_text())
    assert [entry["name"] for entry in table["candidates"]] == ["first", "second"]
    assert table["candidates"][1]["delta"]["miou"] == results["second"].difference.miou
    page = (tmp_path / "r" / "candidates.html").read_text()
    markdown = (tmp_path / "r" / "candidates.md").read_text()
    for report in (result.report for result in results.values()):
        shown = f"{100 * report['delta']['label_agreement']:.2f} %"
        assert shown in page
        assert shown in markdown
    assert "href='second/report.html'" in page
    for text in (page, markdown):  # three images
        assert "too few images for intervals" in text
        assert "None" not in text
    assert not list(tmp_path.rglob("*journal*"))


def test_contradictions_are_refused(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco")
    fp32 = save(pixel_classifier(0), tmp_path / "fp32.onnx")
    (tmp_path / "other").mkdir()
    same = [candidate(tmp_path / "a.onnx", 0.1, []), candidate(tmp_path / "other" / "a.onnx", 0.2, [])]
    with pytest.raises(UsageError, match="same file name"):
        validate_candidates(fp32, same, coco, report=tmp_path / "r")
    files = sorted(coco.iterdir())
    halves = [candidate(tmp_path / "b.onnx", 0.1, files[:3]), candidate(tmp_path / "c.onnx", 0.1, files[2:])]
    with pytest.raises(UsageError, match="no image is left"):
        validate_candidates(fp32, halves, coco, report=tmp_path / "r")
    assert not list((tmp_path / "r").rglob("*.json"))
