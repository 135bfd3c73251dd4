"""Reports hold the numbers of their source, and nothing that a hostile file name brings along."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import compare, pixel_classifier, residual_network, save, write_coco

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import OutputError
from fcn_onnx.report.document import Candidate, Document, Outcome
from fcn_onnx.report.files import write_report
from fcn_onnx.report.html import to_html
from fcn_onnx.report.markdown import to_markdown
from fcn_onnx.report.pictures import data_uri
from fcn_onnx.report.quantized import quantized_line
from fcn_onnx.report.table import coverage_line, per_class_rows, region_rows, summary_rows
from fcn_onnx.report.verdict import verdict
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.report import report as draw

VOID_TAGS = {"meta", "img", "br", "hr", "link", "input"}
HOSTILE = '<script>alert("x")</script>|*`'


@pytest.fixture(scope="module", params=["torchvision", "zoo"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("report")
    models = [save(pixel_classifier(0, shift=s), folder / f"{s}.onnx") for s in (0.0, 0.05)]
    dataset = open_dataset(write_coco(folder / "coco"))
    result = compare(*models, dataset, protocol=request.param, command="fcn-onnx validate --data 'a b'")
    PICTURES.update(result.pictures)
    return json.loads(json.dumps(result.report))


PICTURES: dict[str, Any] = {}


def read(report: dict[str, Any]) -> tuple[Document, Candidate]:
    """The report as types, and its one candidate."""
    document = Document.from_json(report)
    return document, document.candidates["int8"]


def html_of(report: dict[str, Any]) -> str:
    return to_html(Document.from_json(report), PICTURES)


def markdown_of(report: dict[str, Any]) -> str:
    return to_markdown(Document.from_json(report))


class Page(HTMLParser):
    """Collects text and links, and insists that tags balance."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        self.sources += [str(v) for k, v in attrs if k in ("src", "href", "srcset")]
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_both_pages_say_what_runs_in_int8(report: dict[str, Any]) -> None:
    assert report["coverage"] is None  # two fp32 models
    assert "convolutions run in int8" not in markdown_of(report)
    found = {"int8_convs": 55, "convs": 57, "int8_macs_share": 0.99961, "float_convs": {"last": "the plan keeps it"}}
    whole = report | {"coverage": found}
    expected = "55 of 57 convolutions run in int8, 99.96 % of the MACs (last: the plan keeps it)"
    assert expected in markdown_of(whole)
    assert expected in "".join(Page(html_of(whole)).text)


def test_the_costliest_of_what_runs_in_fp32_is_named_with_its_share(report: dict[str, Any]) -> None:
    nodes = {f"m{i}": {"op_type": "MatMul", "macs_share": i / 100, "reason": "fp32 in the file"} for i in range(8)}
    found = {"int8_convs": 1, "convs": 1, "int8_macs_share": 0.72, "float_convs": {}, "float_nodes": nodes}
    line = coverage_line(read(report | {"coverage": found})[1].coverage)
    assert line is not None
    assert "72.00 % of the MACs (m7, MatMul, 7.00 %: fp32 in the file; m6, MatMul, 6.00 %: " in line
    assert line.endswith("m2, MatMul, 2.00 %: fp32 in the file; and 2 more)")


def test_both_pages_show_every_number_of_the_tables(report: dict[str, Any]) -> None:
    page, markdown = Page(html_of(report)), markdown_of(report)
    for row in [*summary_rows(*read(report)), *per_class_rows(*read(report))]:
        for cell in filter(None, row):
            assert cell in page.text
            assert cell in markdown
    assert verdict(*read(report)) in "".join(page.text)
    assert report["digests"]["int8"] in markdown
    assert report["command"] in "".join(page.text)


@pytest.mark.parametrize("plainly", [False, True])
def test_both_pages_show_the_plan(tmp_path: Path, plainly: bool) -> None:
    """Of a model that was really quantized: what the plan decided is read off the model's own card."""
    coco = write_coco(tmp_path / "coco")
    fp32 = save(residual_network(opset=13), tmp_path / "fp32.onnx")
    made = quantize(
        QuantizeOptions(
            model=fp32,
            choice=ImageChoice(coco, limit=1),
            target="vnni" if plainly else "avx2",
            format="qoperator" if plainly else "qdq",
            per_channel=not plainly,
            bias_correction=not plainly,
            method="minmax" if plainly else "kl",
            output=tmp_path / "int8.onnx",
        )
    )
    report = compare(fp32, made.path, open_dataset(coco), limit=1).report
    told = "".join(Page(html_of(report)).text), markdown_of(report)
    words = (
        ["qoperator at opset 13", "per-tensor weights;", "biases not corrected", "for vnni, thresholds by minmax"]
        if plainly
        else ["qdq at opset 13", "per-channel weights, pair-safe", "biases corrected", "for avx2, thresholds by kl"]
    )
    for text in told:
        for word in [*words, "made by onnxruntime", "kept in fp32: /logits"]:
            assert word in text
        assert ("pair-safe" in text) is not plainly


def test_many_nodes_in_fp32_are_counted_and_an_older_plan_is_shown_as_far_as_it_goes() -> None:
    assert quantized_line({"quant_format": "qdq", "float_nodes": [f"n{i}" for i in range(11)]}) == (
        "qdq; kept in fp32: n0, n1, n2, n3, n4, n5, n6, n7 and 3 more"
    )
    assert quantized_line({"quant_format": "qdq", "per_channel": True, "target": "amx"}) == (
        "qdq; per-channel weights; for amx"
    )
    assert quantized_line(None) == "the model does not say how"


def test_rows_show_what_the_json_says(report: dict[str, Any]) -> None:
    rows = {row[0]: row for row in summary_rows(*read(report))}
    assert rows["mIoU"][1] == f"{100 * report['fp32']['miou']:.2f} %"
    interval = " (" if report["images"] >= 5 else ""
    assert rows["mIoU"][3].startswith(f"{100 * report['delta']['miou']:+.2f}{interval}")
    assert rows["latency p90"][2] == f"{report['int8']['latency_ms']['p90']:.1f} ms"
    assert bool(per_class_rows(*read(report))) == (report["protocol"] == "torchvision")


def test_the_page_is_self_contained(report: dict[str, Any]) -> None:
    html = html_of(report)
    page = Page(html)
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not re.search(r"url\(|@import|https?://", html)
    assert "default-src 'none'" in html


def test_hostile_names_stay_text(report: dict[str, Any]) -> None:
    hostile = json.loads(json.dumps(report))
    for entry in [*hostile["worst_images"], *hostile["gallery"]]:
        entry["name"] = HOSTILE
    hostile["dataset"]["description"] = hostile["command"] = hostile["fp32"]["path"] = HOSTILE
    hostile["notes"] = [HOSTILE]
    page = Page(html_of(hostile))
    assert HOSTILE in page.text
    assert "<script" not in markdown_of(hostile).split("Repeat it with")[0]


def test_missing_values_are_left_out_gracefully(report: dict[str, Any]) -> None:
    bare = json.loads(json.dumps(report))
    bare["delta"]["miou_relative_percent"] = None
    bare.update(command=None, gallery=[], worst_images=[], confusion=None)
    for name in ("fp32", "int8"):
        bare[name]["per_class_iou"] = None
    assert "No verdict" in "".join(Page(html_of(bare)).text)
    assert "No verdict" in markdown_of(bare)


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((-0.02, -0.01), "Int8 loses accuracy"),
        ((-0.01, 0.02), "No significant loss"),
        ((0.01, 0.02), "Int8 scores higher"),
    ],
)
def test_the_verdict_says_what_the_interval_says(report: dict[str, Any], interval: tuple, words: str) -> None:
    changed = json.loads(json.dumps(report))
    changed["one_sided_classes"] = None
    changed["delta"]["miou_ci95"] = list(interval)
    assert verdict(*read(changed)).startswith(words)
    changed["gate"] = gate(2.0, Outcome.FAILED)
    assert verdict(*read(changed)).startswith("FAILED (1 % relative allowed)")


def gate(drop: float, outcome: Outcome, *, certain: bool = True) -> dict[str, Any]:
    """`--max-drop 1`, and what it came to."""
    check = {"gate": "max_drop", "bound": 1.0, "value": drop, "ci95": None, "outcome": outcome, "certain": certain}
    return {
        "max_drop_percent": 1.0,
        "drop_percent": drop,
        "passed": outcome == "passed",
        "certain": certain,
        "outcome": outcome,
        "confident": False,
        "checks": [check | {"images_to_decide": None}],
    }


def test_without_intervals_nothing_is_drawn_or_shown_of_them(report: dict[str, Any]) -> None:
    few = json.loads(json.dumps(report)) | {"images": 4}
    few["delta"] |= {key: None for key in few["delta"] if key.endswith("ci95")}
    for found in few["delta"]["regions"].values():
        found |= {"score_ci95": None, "label_agreement_ci95": None}
    few["gate"] = gate(0.5, Outcome.PASSED, certain=False)
    html, markdown = html_of(few), markdown_of(few)
    assert "Cannot tell, 4 images are too few for an interval" in "".join(Page(html).text)
    assert "PASSED by the point estimate (1 % relative allowed). Cannot tell, 4 images are too few" in markdown
    assert "verdict passed" not in html  # no green box around it
    assert "<h2>Change" not in html
    assert " … " not in markdown
    for row in [*summary_rows(*read(few)), *per_class_rows(*read(few))]:
        assert "(" not in row[3]


def test_what_flips_where_is_shown_with_its_numbers(report: dict[str, Any]) -> None:
    rows = {row[0].split(":")[0]: row for row in region_rows(*read(report))}
    assert len(rows) == sum(region["pixels_share"] > 0 for region in report["regions"].values()) > 3
    html, markdown = "".join(Page(html_of(report)).text), markdown_of(report)
    for name, region in report["regions"].items():
        delta, before = report["delta"]["regions"][name], report["fp32"]["regions"][name]
        if not region["pixels_share"]:
            assert delta["label_agreement"] is None
            continue
        said, share, fp32, _, _, flips = rows[region["description"]]
        assert share == f"{100 * region['pixels_share']:.2f} %"
        assert fp32 == f"{100 * before:.2f} %"
        assert flips.startswith(f"{100 * (1 - delta['label_agreement']):.2f} %")
        for text in (html, markdown):
            assert said in text
            assert flips in text


def test_files_are_written_together_and_the_json_round_trips(tmp_path: Path, report: dict[str, Any]) -> None:
    document = Document.from_json(report)
    paths = write_report(document, tmp_path / "report", pictures=PICTURES)
    assert [p.name for p in paths] == ["report.json", "report.md", "report.html", "metrics.json", "images.npz"]
    assert json.loads(paths[0].read_text()) == report
    assert Document.load(paths[0]) == document
    broken = replace(document, fp32=replace(document.fp32, miou=float("nan")))
    with pytest.raises(ValueError, match="JSON"):
        write_report(broken, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_report(document, tmp_path / "file")


def test_a_report_is_drawn_again_from_its_folder(tmp_path: Path, report: dict[str, Any]) -> None:
    written = write_report(Document.from_json(report), tmp_path / "report", pictures=PICTURES)
    before = {path.name: path.read_bytes() for path in written}
    again = draw(written[0], output=tmp_path / "again")
    assert {path.name: path.read_bytes() for path in again} == {
        n: before[n] for n in ("report.md", "report.html", "metrics.json")
    }
    assert before["report.html"].count(b"data:image/") == 5 * len(report["gallery"]) > 0
    written[4].write_bytes(b"not an archive")
    draw(written[0])
    assert (tmp_path / "report" / "report.json").read_bytes() == before["report.json"]
    assert b"data:image/" not in (tmp_path / "report" / "report.html").read_bytes()
    with pytest.raises(OutputError, match="is the report"):
        draw(written[1].rename(tmp_path / "report.html"), output=tmp_path)


def test_what_is_no_picture_is_not_shown() -> None:
    script = np.frombuffer(b"<script>", np.uint8)
    assert data_uri("a", {"a": script}) is None
    assert data_uri("a", {"a": np.frombuffer(b"\x89PNG", np.uint8)}) == "data:image/png;base64,iVBORw=="
    assert data_uri("a", {"a": np.zeros(9)}) is None
    assert data_uri("b", {"a": script}) is None
