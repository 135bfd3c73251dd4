"""A report leads to the pages that lie beside it and are of its fp32 model, and to no others."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from click.testing import CliRunner

from fcn_onnx.cli import main
from fcn_onnx.report.document import Document
from fcn_onnx.report.files import write_report
from fcn_onnx.report.sensitivity import SCHEMA, Deviation, Layer, Sensitivity
from fcn_onnx.report.sensitivity_page import summary

DOCUMENT = Document.load(Path(__file__).with_name("schema-1.json"))
LAYERS = tuple(Layer(f"<{n}>", "Conv", 0.1, Deviation(n / 100, 0.1), Deviation(0.2, 0.1)) for n in (9, 4, 2, 2))
MADE = Sensitivity(
    schema=SCHEMA,
    job="job",
    model="/models/<b>.onnx",
    digest=DOCUMENT.fp32.digest,
    plan={},
    method="minmax",
    ranked_on=("a.jpg",),
    front_on=("b.jpg",),
    size=(64, 48),
    cpu="any",
    threads=2,
    whole=Deviation(0.25, 0.1),
    layers=LAYERS,
    tensors=(),
    front=(),
)
SAID = "All in int8, 25.00 % of the labels flip; 1 of 4 layers make half of what layers flip alone."


def lay(folder: Path, made: Sensitivity = MADE) -> Path:
    """What `sensitivity` writes, but for what is on the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sensitivity.json").write_text(json.dumps(made.to_json()))
    (folder / "sensitivity.html").write_text("page")
    return folder / "sensitivity.html"


def linked(folder: Path) -> list[Path]:
    """The files that the report in `folder` leads to."""
    targets = re.findall(r'<a href="([^#"][^"]*)">', (folder / "report.html").read_text())
    return [(folder / unquote(unescape(target))).resolve() for target in targets]


def test_pages_of_the_same_model_are_linked(tmp_path: Path) -> None:
    report = tmp_path / "report"
    write_report(DOCUMENT, report, {})
    assert linked(report) == []
    pages = [lay(tmp_path / "report"), lay(tmp_path / "a & b#1%20"), lay(tmp_path / "sensitivity")]
    lay(tmp_path / "of another", replace(MADE, digest="sha256:0"))
    lay(tmp_path / ".sensitivity.part-1")
    lay(tmp_path / "deeper" / "sensitivity")
    write_report(DOCUMENT, report, {})
    assert linked(report) == pages
    page = (report / "report.html").read_text()
    assert page.count(f"Sensitivity of &lt;b&gt;.onnx</a>: {SAID}") == 3
    assert "<b>" not in page


def test_a_report_that_is_drawn_again_leads_to_what_came_since(tmp_path: Path) -> None:
    write_report(DOCUMENT, tmp_path / "report", {})
    page = lay(tmp_path / "sensitivity")
    for folder in (tmp_path / "report", tmp_path / "elsewhere" / "drawn"):
        words = ["report", str(tmp_path / "report" / "report.json"), "--output", str(folder)]
        assert CliRunner().invoke(main, words).exit_code == 0
        assert linked(folder) == [page]


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000, '{"digest": 1}', None])
def test_what_cannot_be_read_is_not_linked(tmp_path: Path, content: str | None) -> None:
    page = lay(tmp_path / "sensitivity")
    if content is None:
        page.with_suffix(".json").unlink()
        os.mkfifo(page.with_suffix(".json"))  # would wait for a writer
    else:
        page.with_suffix(".json").write_text(content)
    lay(tmp_path / "without page").unlink()
    write_report(DOCUMENT, tmp_path / "report", {})
    assert linked(tmp_path / "report") == []


def test_a_notebook_shows_the_layers(tmp_path: Path) -> None:
    shown = summary(MADE)
    assert SAID in shown
    for layer in LAYERS:
        name = layer.name.replace("<", "&lt;").replace(">", "&gt;")
        assert f"<td>{name}</td><td>Conv</td><td>10.00 %</td><td>{100 * layer.alone.flipped:.3f} %</td>" in shown
