"""Names that would steer a terminal, and names that are not UTF-8."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from limits import fcn_onnx
from PIL import Image
from toys import photograph, pixel_classifier, residual_network, save

from fcn_onnx.data.labels import LabelSpace
from fcn_onnx.data.palette import draw_legend
from fcn_onnx.jobs.text import one_line, utf8, visible
from fcn_onnx.model.card import ModelCard
from fcn_onnx.report.markdown import markdown_table

ESCAPE = "\x1b[31;1mred\x1b]0;title\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü × 猫", "plain ü × 猫"),
        (ESCAPE, r"\x1b[31;1mred\x1b]0;title\x07"),
        ("a\rb\tc\x7f\x9b", r"a\x0db\x09c\x7f\x9b"),
        ("safe\u202egnp.exe\u2066", r"safe\u202egnp.exe\u2066"),
        (os.fsdecode(b"caf\xe9"), r"caf\udce9"),
        ("line\nline", "line\nline"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert one_line(text) == shown.replace("\n", "\\n")
    assert visible(shown) == shown


def quiet(text: str) -> bool:
    return not any(ord(c) < 32 and c != "\n" for c in text)


def test_no_command_hands_names_to_the_terminal(tmp_path: Path) -> None:
    model = pixel_classifier(classes=3)
    for node in model.graph.node:
        node.name = ESCAPE
    ModelCard(classes=("background", "cat" + ESCAPE, "dog\nerror: all is lost")).write_to(model)
    path = save(model, tmp_path / f"model{ESCAPE}.onnx".replace("/", "_"))
    data = tmp_path / "data"
    data.mkdir()
    photograph(24, 20, 1).save(data / f"a{ESCAPE}.png")
    (data / f"b{ESCAPE}.png").write_text("no image")
    said = [
        fcn_onnx("inspect", path),
        fcn_onnx("inspect", f"missing{ESCAPE}.onnx"),
        fcn_onnx("inspect", path, f"surplus{ESCAPE}", f"of{ESCAPE}", "one"),
        fcn_onnx("predict", path, data / f"a{ESCAPE}.png", "--output", tmp_path / "seen"),
        fcn_onnx("predict", path, data, "--output", tmp_path / "seen"),
        fcn_onnx("predict", path, "-", stdin=(data / f"a{ESCAPE}.png").read_bytes()),
        fcn_onnx("calibrate", "--model", path, "--data", data, "--skip-bad-images", "--output", tmp_path / "t.json"),
        fcn_onnx("validate", "--fp32", path, "--int8", path, "--data", data, "--report", tmp_path / "report"),
    ]
    for done in said:
        assert quiet(done.stderr), done
        if done.stdout[:4] != "\ufffdPNG":
            assert quiet(done.stdout), done
    assert any("\\x1b" in done.stdout for done in said)
    assert any("\\x1b" in done.stderr for done in said)


def test_markdown_and_pictures_are_quiet_too() -> None:
    assert quiet(markdown_table(("a", "b"), [(ESCAPE, "x\ny")]))
    picture = photograph(200, 100, 0)
    for name in (ESCAPE, "two\nlines", "\ud800", "\0", "x" * 1_000_000):
        assert draw_legend(picture, [1], LabelSpace(("background", name), 0)).size == picture.size


def test_a_name_that_is_not_utf8_goes_through(tmp_path: Path) -> None:
    """It is written `\\udcXX` in JSON, which JSON reads as the same name again."""
    data = tmp_path / "data"
    data.mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (24, 20), (9, 99, 200)).save(data / "x.png")
    (data / "x.png").rename(data / name)
    model = save(residual_network(), tmp_path / "model.onnx")
    done = fcn_onnx("calibrate", "--model", model, "--data", data, "--output", tmp_path / "t.json")
    assert done.returncode == 0, done
    table = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert list(table["fcn_onnx"]["images"]) == [name]
    done = fcn_onnx("quantize", "--model", model, "--data", data, "--output", tmp_path / "int8.onnx")
    assert done.returncode == 0, done
    done = fcn_onnx("predict", model, data, "--output", tmp_path / "seen", "--json", "-")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["predictions"][0]["image"].endswith(name)
    assert utf8(name) == b"caf\\udce9.png"
