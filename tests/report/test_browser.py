"""The HTML report in Chromium, as people meet it: on a desk, on a phone, in the dark."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import photograph
import pytest
from PIL import Image
from toys import compare, pixel_classifier, save, write_coco

from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.report.beside import Link
from fcn_onnx.report.document import FP32, INT8, Row
from fcn_onnx.report.html import to_html
from fcn_onnx.report.profile import Profile, Speed, Spent

STYLE = Path(__file__).parents[2] / "fcn_onnx" / "report" / "style.css"
needs_chromium = pytest.mark.skipif(photograph.CHROMIUM is None, reason="Chromium is not installed")


SPENT = Spent(
    name="/backbone/layer4/layer4.2/conv3/Conv_output_0_QuantizeLinear",
    op_type="QLinearConv",
    layers=1,
    int8=True,
    milliseconds=60.5,
    share=0.605,
    gmacs=3.2,
    gmacs_per_second=52.9,
    share_of_peak=0.26,
)
PROFILE = Profile(
    size=(520, 520),
    runs=10,
    milliseconds=100.0,
    between_ms=39.5,
    peak_gmacs_per_second=Speed(fp32=50.0, int8=200.0),
    operators=(SPENT,),
    layers=(SPENT,),
)
LIGHT, DARK = (photograph.DESKTOP, photograph.TABLET, photograph.PHONE, 320), (photograph.DESKTOP, photograph.PHONE)
Measured = dict[int, dict[str, Any]]
Opened = tuple[str, Measured, Measured]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of one pass: `two`, of two candidates with profiles and a link to another page, and `one`, of the first alone."""
    folder = tmp_path_factory.mktemp("report")
    names = ("fcn-resnet50-12", "fcn-resnet50-12-int8-per-channel-entropy", "fcn-resnet50-12-int8-qoperator")
    models = [
        save(pixel_classifier(0, shift=shift), folder / f"{name}.onnx")
        for name, shift in zip(names, (0.0, 0.05, 0.02), strict=True)
    ]
    dataset = open_dataset(write_coco(folder / "coco"))
    result = compare(models[0], models[1:], dataset, command="fcn-onnx validate " + "x" * 200)
    several, (name, first) = result.document, next(iter(result.document.candidates.items()))
    assert several.confusion is not None
    confusion = {FP32: several.confusion[FP32], INT8: several.confusion[name]}
    one = replace(several, candidates={INT8: first}, confusion=confusion)
    two = replace(
        several,
        fp32=profiled(several.fp32),
        candidates={name: replace(found, int8=profiled(found.int8)) for name, found in several.candidates.items()},
    )
    links = [Link("Sensitivity of a.onnx", "All in int8, 1.00 % of the labels flip.", "../sensitivity/s.html")]
    paths = {"one": folder / "one.html", "two": folder / "two.html"}
    paths["one"].write_text(to_html(one, result.pictures), encoding="utf-8")
    paths["two"].write_text(to_html(two, result.pictures, links), encoding="utf-8")
    return paths


def profiled(row: Row) -> Row:
    return replace(row, profile=PROFILE, peak_memory_bytes=101_400_000)


@pytest.fixture(scope="module", params=["one", "two"])
def opened(request: pytest.FixtureRequest, pages: dict[str, Path]) -> Opened:
    """Which page, and what is measured at each width, in the light and in the dark."""
    page = pages[request.param]
    return request.param, photograph.measure_at(page, LIGHT), photograph.measure_at(page, DARK, dark=True)


@needs_chromium
def test_nothing_sticks_out_and_every_picture_is_there(opened: Opened) -> None:
    which, light, dark = opened
    for width, found in [*light.items(), *dark.items()]:
        assert (found["sticking_out"], found["cut_captions"], found["broken"]) == ([], [], [])
        assert found["width"] <= width
        assert (found["images"] > 0, found["blank_images"]) == (True, 0)
        assert found["figures"] == {"one": 6, "two": 2 * 6 + 2 + 3}[which]  # side by side, and of three profiles
        assert found["title"]


@needs_chromium
def test_no_table_of_scores_scrolls_on_a_phone(opened: Opened) -> None:
    """What is cut at the edge is overlooked; profiles may scroll."""
    _, light, _ = opened
    for width in (photograph.PHONE, 320):
        scores = ("Protocol", "Changes of scores", "Along borders", "IoU; change")
        assert [text for text in light[width]["scrolling"] if text.startswith(scores)] == []
    assert light[photograph.DESKTOP]["scrolling"] == []


@needs_chromium
def test_every_text_can_be_read(opened: Opened) -> None:
    """WCAG 2.2 AA, of computed colours: 4.5 for text of any size."""
    _, *schemes = opened
    for found in (found for scheme in schemes for found in scheme.values()):
        assert found["texts"] > 100
        assert found["contrasts"][0][0] >= 4.5, found["contrasts"]


@needs_chromium
def test_the_line_between_fp32_and_int8_goes_from_end_to_end(pages: dict[str, Path], opened: Opened) -> None:
    """A group of radio buttons: one stop of the Tab key, and arrow keys go from one to the next."""
    which, light, _ = opened
    found = light[photograph.PHONE]
    assert found["lines"] == [f"inset(0px 0px 0px {10 * step}%)" for step in range(11)]
    assert found["focusable"] == 11
    html = pages[which].read_text()
    assert html.count(" checked aria") + html.count(" checked>") == html.count('role="radiogroup"') > 0


@needs_chromium
@pytest.mark.parametrize("which", ["one", "two"])
def test_on_paper_no_table_is_cut(pages: dict[str, Path], tmp_path: Path, which: str) -> None:
    """As on A4 with Chromium's margins: 210 mm less twice 0.4 inches, of 96 pixels each."""
    printed = tmp_path / "printed.html"
    printed.write_text(pages[which].read_text().replace("@media print", "@media all"))
    found = photograph.measure(printed, 717)
    assert (found["sticking_out"], found["scrolling"], found["cut_captions"]) == ([], [], [])
    assert found["width"] <= 717
    assert set(found["lines"]) == {"none"}  # both pictures are whole


@needs_chromium
def test_the_dark_page_is_dark(opened: Opened) -> None:
    _, light, dark = opened
    one, other = light[photograph.DESKTOP], dark[photograph.DESKTOP]
    assert (one["background"], other["background"]) == (rgb("#ffffff"), rgb("#14161a"))
    assert (one["ink"], other["ink"]) == (rgb("#16181d"), rgb("#eceef1"))


@needs_chromium
def test_a_picture_is_of_the_whole_page(pages: dict[str, Path], tmp_path: Path) -> None:
    height = photograph.photograph(pages["one"], tmp_path / "dark.png", photograph.DESKTOP, dark=True)
    with Image.open(tmp_path / "dark.png") as picture:
        assert picture.size == (photograph.DESKTOP, height)
        assert picture.convert("RGB").getpixel((2, 2)) == (0x14, 0x16, 0x1A)


@needs_chromium
def test_it_prints(pages: dict[str, Path], tmp_path: Path) -> None:
    photograph.paper(pages["one"], tmp_path / "paper.pdf")
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")


def test_colours_can_be_told_from_the_page() -> None:
    """WCAG 2.2: contrast of at least 4.5 for text, and 3 for what figures are drawn with, in the light and the dark."""
    light, dark = re.findall(r":root {(.*?)}", STYLE.read_text(), re.S)
    for scheme in (light, dark):
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", scheme))
        page = luminance(colours["page"])
        for name, least in {"ink": 4.5, "soft": 4.5, "good": 4.5, "bad": 4.5, "fp32": 3, "int8": 3}.items():
            bright, darker = sorted((page, luminance(colours[name])), reverse=True)
            assert (bright + 0.05) / (darker + 0.05) >= least, name


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def rgb(colour: str) -> str:
    return "rgb({}, {}, {})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))
