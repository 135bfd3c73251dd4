"""What CI reads: gates as JUnit XML, metrics.json, the job's summary, and the example in the documentation."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
import yaml
from click.testing import CliRunner
from toys import pixel_classifier, save, write_coco

from fcn_onnx.cli import main
from fcn_onnx.report.document import Document
from fcn_onnx.report.junit import to_junit
from fcn_onnx.report.metrics import to_metrics

OLD_REPORT = Path(__file__).with_name("schema-1.json")
DOCS = Path(__file__).parents[2] / "docs" / "ci.md"


def test_validate_writes_gates_metrics_and_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    coco = write_coco(tmp_path / "coco")
    for i, shift in enumerate((0.0, 0.4)):
        save(pixel_classifier(0, shift=shift), tmp_path / f"m{i}.onnx")
    (tmp_path / "summary.md").write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    words = ["validate", "--fp32", "m0.onnx", "--int8", "m1.onnx", "--data", str(coco), "--junit", "ci/gates.xml"]
    result = CliRunner().invoke(main, [*words, "--min-agreement", "1", "--max-size", "9"])
    assert result.exit_code == 1, result.output
    suite = ElementTree.parse("ci/gates.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    cases = {case.get("name"): case.find("failure") for case in suite}
    assert cases["run"] is cases["--max-size 9"] is None
    failure = cases["--min-agreement 1"]
    assert failure is not None
    assert "label agreement of 100 % wanted: " in (failure.text or "")
    metrics, report = (json.loads(Path("report", f"{name}.json").read_text()) for name in ("metrics", "report"))
    assert all(type(value) in (int, float) for value in metrics.values())
    assert metrics["int8/miou"] == report["int8"]["miou"]
    assert metrics["int8/delta_miou_ci95_high"] == report["delta"]["miou_ci95"][1]
    assert metrics["int8/iou/person"] == report["int8"]["per_class_iou"]["person"]
    assert metrics["images"] == 5
    known = [x for x in report["int8"]["per_class_iou"].values() if x is not None]
    assert sum(key.startswith("int8/iou/") for key in metrics) == len(known)
    summary = Path("summary.md").read_text()
    assert summary == "before\n" + Path("report/report.md").read_text() + "\n"
    clash = CliRunner().invoke(main, [*words[:-1], "report/report.json"])
    assert clash.exit_code == 2
    assert "are both report/report.json" in clash.stderr


def test_names_cannot_break_the_xml_or_a_metric() -> None:
    document = Document.load(OLD_REPORT)
    (candidate,) = document.candidates.values()
    name = 'a<b>&"\x1b\udcff/é'
    two = replace(document, candidates={name: candidate, "other": candidate})
    root = ElementTree.fromstring(to_junit(two).encode())
    assert [suite.get("name") for suite in root] == [
        'fcn-onnx validate: a<b>&"\\x1b\\udcff/é',
        "fcn-onnx validate: other",
    ]
    assert "a_b______/miou" not in to_metrics(document)
    assert to_metrics(two)["a_b_______/miou"] == candidate.int8.miou


def test_the_example_is_yaml_and_its_commands_parse() -> None:
    workflow = yaml.safe_load(DOCS.read_text().split("```yaml\n")[1].split("```")[0])
    (job,) = workflow["jobs"].values()
    lines = [step["run"] for step in job["steps"] if step.get("run", "").startswith("fcn-onnx ")]
    assert [line.split()[1] for line in lines] == ["export", "quantize", "validate", "compare"]
    for line in lines:
        name, *arguments = shlex.split(line)[1:]
        command = main.get_command(click.Context(main), name)
        assert command is not None
        command.make_context(name, arguments, parent=click.Context(main, **main.context_settings))
