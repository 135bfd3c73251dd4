"""`validate --profile`: each row's memory and profile, in the report and on its pages."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from toys import pixel_classifier, save, with_failing_head, write_coco

from fcn_onnx.data.choice import ImageSource
from fcn_onnx.report.document import Document
from fcn_onnx.report.html import to_html
from fcn_onnx.report.page import POLICY
from fcn_onnx.runtime.footprint import STATUS
from fcn_onnx.runtime.roofline import Peak
from fcn_onnx.stages import session_costs
from fcn_onnx.stages.options import ValidateOptions
from fcn_onnx.stages.validate import validate


class Tags(HTMLParser):
    """Names of all tags, and of all attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attrs)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a report of a classifier and of one with a second head, which is cut off as it would fail."""
    place = tmp_path_factory.mktemp("looked")
    data = write_coco(place / "coco")
    options = ValidateOptions(
        fp32=save(pixel_classifier(), place / "fp32.onnx"),
        int8=(save(with_failing_head(pixel_classifier(shift=0.05)), place / "<b>.onnx"),),
        choice=ImageSource(data),
        limit=2,
        report=place / "report",
        profile=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_costs, "measure_peak", lambda *_: Peak(fp32=50.0, int8=200.0))
        validate(options)
    return place / "report"


def test_every_row_has_its_profile_and_its_memory(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    for row in (report["fp32"], report["int8"]):
        height, width = row["profile"]["size"]
        work = [layer["gmacs"] for layer in row["profile"]["layers"] if layer["gmacs"] is not None]
        assert work == [pytest.approx(21 * 3 * height * width / 1e9)]  # of the one head that is read
        spent = [operator["milliseconds"] for operator in row["profile"]["operators"]]
        assert sum(spent) + row["profile"]["between_ms"] == pytest.approx(row["profile"]["milliseconds"])
        assert row["profile"]["peak_gmacs_per_second"] == {"fp32": 50.0, "int8": 200.0}
        logits = 21 * height * width * 4
        if STATUS.is_file():
            assert logits <= row["peak_memory_bytes"] < 20 * logits + 20_000_000
    assert Document.from_json(report).to_json() == report


def test_the_pages_show_them_without_a_script(folder: Path) -> None:
    document = Document.load(folder / "report.json")
    page, markdown = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    for text in (page, markdown):
        assert "Where the time goes" in text
        assert "between layers" in text
        assert "images a second" in text
        assert ("peak memory" in text) == STATUS.is_file()
    assert POLICY in page
    tags = Tags(page).found
    assert {"svg", "details"} <= tags
    assert not {name for name in tags if name == "script" or name.startswith("on")}
    assert page == to_html(document) or "<img" in page  # drawn from report.json alone, but for the gallery
    profile = document.fp32.profile
    assert profile is not None
    for layer in profile.layers:
        assert f"<td class='wrap'>{layer.name}</td><td class='wrap'>{layer.op_type}</td>" in page


def test_without_a_profile_the_section_is_left_out(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    for row in (report["fp32"], report["int8"]):
        row |= {"profile": None, "peak_memory_bytes": None}
    page = to_html(Document.from_json(report))
    assert "Where the time goes" not in page
    assert "peak memory" not in page
