"""The HTML report in Chromium, as people meet it: on a desk, on a phone, in the dark."""

from __future__ import annotations

import re
from pathlib import Path

import photograph
import pytest
from PIL import Image
from toys import compare, pixel_classifier, save, write_coco

from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.report.html import to_html

STYLE = Path(__file__).parents[2] / "fcn_onnx" / "report" / "style.css"
needs_chromium = pytest.mark.skipif(photograph.CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    models = [save(pixel_classifier(0, shift=s), folder / f"{s}.onnx") for s in (0.0, 0.05)]
    result = compare(*models, open_dataset(write_coco(folder / "coco")), command="fcn-onnx validate " + "x" * 200)
    path = folder / "report.html"
    path.write_text(to_html(result.document, result.pictures), encoding="utf-8")
    return path


@needs_chromium
@pytest.mark.parametrize("width", [photograph.DESKTOP, photograph.PHONE, 320])
def test_nothing_sticks_out_and_every_picture_is_there(page: Path, width: int) -> None:
    found = photograph.measure(page, width)
    assert found["sticking_out"] == []
    assert found["width"] <= width
    assert (found["images"] > 0, found["blank_images"]) == (True, 0)
    assert found["figures"] == 6
    assert found["title"]


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read(page: Path, dark: bool) -> None:
    """WCAG 2.2 AA, of computed colours: 4.5 for text of any size."""
    found = photograph.measure(page, photograph.DESKTOP, dark=dark)
    assert found["texts"] > 100
    assert found["contrasts"][0][0] >= 4.5, found["contrasts"]


@needs_chromium
def test_the_line_between_fp32_and_int8_goes_from_end_to_end(page: Path) -> None:
    """A group of radio buttons: one stop of the Tab key, and arrow keys go from one to the next."""
    found = photograph.measure(page, photograph.PHONE)
    assert found["lines"] == [f"inset(0px 0px 0px {10 * step}%)" for step in range(11)]
    assert found["focusable"] == 11
    html = page.read_text()
    assert html.count(" checked aria") + html.count(" checked>") == html.count('role="radiogroup"') > 0


@needs_chromium
def test_on_paper_no_table_is_cut(page: Path, tmp_path: Path) -> None:
    """As on A4 with Chromium's margins: 210 mm less twice 0.4 inches, of 96 pixels each."""
    printed = tmp_path / "printed.html"
    printed.write_text(page.read_text().replace("@media print", "@media all"))
    found = photograph.measure(printed, 717)
    assert (found["sticking_out"], found["scrolling"]) == ([], [])
    assert found["width"] <= 717
    assert set(found["lines"]) == {"none"}  # both pictures are whole


@needs_chromium
def test_the_dark_page_is_dark(page: Path, tmp_path: Path) -> None:
    light, dark = (photograph.measure(page, photograph.DESKTOP, dark=d) for d in (False, True))
    assert (light["background"], dark["background"]) == (rgb("#ffffff"), rgb("#14161a"))
    assert (light["ink"], dark["ink"]) == (rgb("#16181d"), rgb("#eceef1"))
    photograph.photograph(page, tmp_path / "dark.png", photograph.DESKTOP, dark=True)
    with Image.open(tmp_path / "dark.png") as picture:
        assert picture.size == (photograph.DESKTOP, dark["height"])
        assert picture.convert("RGB").getpixel((2, 2)) == (0x14, 0x16, 0x1A)


@needs_chromium
def test_it_prints(page: Path, tmp_path: Path) -> None:
    photograph.paper(page, tmp_path / "paper.pdf")
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
