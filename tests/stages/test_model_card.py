"""The card for the Hub: its head is YAML, its numbers are the report's, and what is not known is not said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from toys import residual_network, save, write_coco

from fcn_onnx.cli import main


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def head(path: str = "model-card/README.md") -> tuple[dict[str, Any], str]:
    _, yaml_text, body = Path(path).read_text().split("---\n", 2)
    return yaml.safe_load(yaml_text), body


def test_a_card_with_and_without_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(residual_network(), tmp_path / "fcn-toy-12.onnx")
    write_coco(tmp_path / "coco")
    assert call("quantize", "--data", "coco/val2017", "--limit", "2").exit_code == 0
    bare = call("model-card", "fcn-toy-12-int8.onnx")
    assert bare.exit_code == 0, bare.output
    assert "there is no report/report.json: the card has no scores" in bare.stderr
    found, body = head()
    assert found == {
        "pipeline_tag": "image-segmentation",
        "library_name": "onnx",
        "tags": ["semantic-segmentation", "onnx", "int8", "fcn-onnx"],
    }
    assert "nothing is said of its scores" in body
    assert call("model-card", "fcn-toy-12-int8.onnx", "--report", "none").exit_code == 2
    assert call("validate", "--data", "coco/val2017").exit_code == 0
    words = (
        "--dataset",
        "detection-datasets/coco",
        "--license",
        "apache-2.0",
        "--base-model",
        "someone/toy: x",
        "--output",
        "out/README.md",
    )
    done = call("model-card", "fcn-toy-12-int8.onnx", "--report", "report", *words, "--output", "out/README.md")
    assert done.exit_code == 0, done.output
    report = json.loads(Path("report/report.json").read_text())
    found, body = head("out/README.md")
    assert (found["license"], found["base_model"]) == ("apache-2.0", "someone/toy: x")
    assert found["datasets"] == ["detection-datasets/coco"]
    ((result,),) = [entry["results"] for entry in found["model-index"]]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["mean_iou"] == pytest.approx(report["int8"]["miou"], abs=1e-6)
    assert values["label_agreement"] == pytest.approx(report["delta"]["label_agreement"], abs=1e-6)
    for said in (report["digests"]["images"], report["digests"]["int8"], "qoperator at opset 12", "3 images"):
        assert said in body
    assert str(tmp_path) not in body

    other = call("quantize", "--data", "coco/val2017", "--limit", "2", "--method", "minmax", "--output", "b.onnx")
    assert other.exit_code == 0
    refused = call("model-card", "b.onnx", "--report", "report")
    assert refused.exit_code == 2
    assert "report/report.json is of another model" in refused.stderr
    assert "is not quantized" in call("model-card", "fcn-toy-12.onnx").stderr
    assert call("model-card", "b.onnx", "--output", "b.onnx").exit_code == 2
