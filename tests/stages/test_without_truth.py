"""`validate` on images alone: what agrees, how fast, and pictures; no score, and no gate on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from toys import photograph, pixel_classifier, save

from fcn_onnx.cli import main
from fcn_onnx.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from fcn_onnx.evaluation.protocols import PROTOCOLS

IMAGES = 6


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for index in range(IMAGES):
        photograph(48, 40, index).save(tmp_path / "images" / f"{index}.png")
    save(pixel_classifier(0), tmp_path / "fp32.onnx")
    save(pixel_classifier(0, shift=0.05), tmp_path / "int8.onnx")
    return tmp_path


def run(*arguments: str) -> Result:
    always = ("validate", "--fp32", "fp32.onnx", "--int8", "int8.onnx", "--data", "images", "--json", "report.json")
    return CliRunner().invoke(main, [*always, *arguments])


def labels_of(model: Path, images: Path) -> list[Any]:
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    found = []
    for index in range(IMAGES):
        pixels = np.asarray(Image.open(images / f"{index}.png"), np.float32) / np.float32(255)
        normal = (pixels - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
        (logits,) = session.run(None, {"input": normal.astype(np.float32).transpose(2, 0, 1)[None]})
        found.append(logits[0].argmax(0))
    return found


def test_agreement_latency_and_pictures_remain(folder: Path) -> None:
    result = run("--protocol", "voc-native")
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "report.json").read_text())
    for row in (report["fp32"], report["int8"], report["delta"]):
        assert [row[key] for key in ("miou", "pixel_accuracy", "per_class_iou")] == [None, None, None]
    assert report["confusion"] is None
    assert report["delta"]["miou_ci95"] is None
    assert report["gate"]["drop_percent"] is None
    pairs = zip(*(labels_of(folder / f"{name}.onnx", folder / "images") for name in ("fp32", "int8")), strict=True)
    shares = [float((a == b).mean()) for a, b in pairs]
    assert report["delta"]["label_agreement"] == pytest.approx(np.mean(shares), abs=1e-3)
    low, high = report["delta"]["label_agreement_ci95"]
    assert low < report["delta"]["label_agreement"] < high
    assert not any(region["by_truth"] for region in report["regions"].values())
    for row in (report["fp32"], report["int8"]):
        assert set(row["regions"].values()) == {None}
    agreed = {name: found["label_agreement"] for name, found in report["delta"]["regions"].items()}
    assert agreed["border_3px"] < report["delta"]["label_agreement"]
    assert report["fp32"]["latency_ms"]["p50"] > 0
    assert any("no truth is known" in note for note in report["notes"])
    assert [entry["truth"] for entry in report["gallery"]] == [None] * len(report["gallery"])
    page = (folder / "report" / "report.html").read_text()
    assert "Without truth there is no score" in page
    assert page.count(" of int8's labels are fp32's".replace("'", "&#x27;")) >= 1
    assert page.count("<figcaption>truth</figcaption>") == 0
    assert page.count("<figcaption>where they differ</figcaption>") == len(report["gallery"]) > 0
    assert CliRunner().invoke(main, ["report", "report/report.json"]).exit_code == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_shows_images_its_way(folder: Path, protocol: str) -> None:
    result = run("--protocol", protocol, "--limit", "1")
    assert result.exit_code == 0, result.output
    assert json.loads((folder / "report.json").read_text())["delta"]["miou"] is None


def test_gates_are_of_what_is_measured(folder: Path) -> None:
    assert run("--min-agreement", "0.1").exit_code == 0
    assert run("--min-agreement", "1").exit_code == 1
    refused = run("--max-drop", "1")
    assert refused.exit_code == 2
    assert "without labels" in refused.output
    assert "--masks" in refused.output
    assert "--min-agreement" in refused.output  # the gate that goes without
