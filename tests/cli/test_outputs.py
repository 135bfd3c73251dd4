"""What a command would write is checked before its work: nothing is overwritten that is read, or written twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from toys import photograph, pixel_classifier, residual_network, save, write_coco

from fcn_onnx.cli import main

DATA = ("--data", "coco/val2017")
ANNOTATIONS = "coco/annotations/instances_val2017.json"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: two models, COCO data, a table, histograms, a list, classes, a checkpoint and a recipe."""
    monkeypatch.chdir(tmp_path)
    save(residual_network(), tmp_path / "fcn-toy-12.onnx")
    save(pixel_classifier(), tmp_path / "other.onnx")
    onnx.save(
        pixel_classifier(), tmp_path / "split.onnx", save_as_external_data=True, location="split.data", size_threshold=0
    )
    os.link("other.onnx", "hard.onnx")
    Path("soft.onnx").symlink_to("other.onnx")
    write_coco(tmp_path / "coco")
    photograph(32, 24, 0).save("street.png")
    for name in ("t.json", "h.npz", "w.pth", "taken"):
        (tmp_path / name).write_text("{}")
    Path("list.txt").write_text("000000000001.jpg\n")
    Path("names.txt").write_text("".join(f"class {n}\n" for n in range(21)))
    Path("r.yaml").write_text(
        "export: {arch: tiny}\nquantize: {data: coco/val2017}\nvalidate: {data: coco/val2017}\noutput: out\n"
    )
    return tmp_path


REFUSED = {
    "quantize over its model": ["quantize", "--model", "other.onnx", *DATA, "--output", "other.onnx"],
    "over it by another way": ["quantize", "--model", "other.onnx", *DATA, "--output", "coco/../other.onnx"],
    "over it by a symbolic link": ["quantize", "--model", "other.onnx", *DATA, "--output", "soft.onnx"],
    "over it by a hard link": ["quantize", "--model", "hard.onnx", *DATA, "--output", "other.onnx"],
    "over its data": ["quantize", "--model", "split.onnx", *DATA, "--output", "split.data"],
    "JSON over its data": ["quantize", "--model", "split.onnx", *DATA, "--json", "split.data"],
    "table over its data": ["calibrate", "--model", "split.onnx", *DATA, "--histograms", "split.data"],
    "output and JSON": ["quantize", *DATA, "--output", "z", "--json", "z"],
    "default output and JSON": ["quantize", *DATA, "--json", "fcn-toy-12-int8.onnx"],
    "JSON over the model that is found": ["quantize", *DATA, "--json", "fcn-toy-12.onnx"],
    "JSON over the annotations that are found": ["quantize", *DATA, "--json", ANNOTATIONS],
    "model over the annotations": ["quantize", *DATA, "--output", ANNOTATIONS],
    "model over a calibration image": [
        *("quantize", *DATA, "--limit", "5"),
        *("--output", "coco/val2017/000000000001.jpg"),
    ],
    "JSON over an image": ["quantize", *DATA, "--json", "coco/val2017/000000000001.jpg"],
    "model over the table": ["quantize", "--ranges", "t.json", "--output", "t.json"],
    "model over the list": ["quantize", *DATA, "--images", "list.txt", "--output", "list.txt"],
    "model over the classes": ["quantize", *DATA, "--classes", "names.txt", "--output", "names.txt"],
    "model below a file": ["quantize", *DATA, "--output", "taken/int8.onnx"],
    "model below the JSON": ["quantize", *DATA, "--output", "x/int8.onnx", "--json", "x"],
    "JSON in no place": ["quantize", *DATA, "--json", "taken/x.json"],
    "JSON with too long a name": ["quantize", *DATA, "--json", "x" * 255],
    "Neural Compressor's log": ["quantize", *DATA, "--backend", "neural-compressor", "--output", "m.log"],
    "log over its model": [
        *("quantize", *DATA, "--backend", "neural-compressor", "--model", "fcn-toy-12.onnx"),
        *("--output", "x.onnx", "--json", "x.log"),
    ],
    "table and histograms": ["calibrate", *DATA, "--output", "x", "--histograms", "x"],
    "histograms over the model": ["calibrate", *DATA, "--histograms", "fcn-toy-12.onnx"],
    "default table and JSON": ["calibrate", *DATA, "--json", "calibration/fcn-toy-12-mse.json"],
    "derived over its source": ["calibrate", "--from", "h.npz", "--output", "h.npz"],
    "derived and JSON": ["calibrate", "--from", "h.npz", "--json", "h-mse.json"],
    "export over its weights": ["export", "--arch", "tiny", "--weights", "w.pth", "--output", "w.pth"],
    "JSON over the weights": ["export", "--arch", "tiny", "--weights", "w.pth", "--json", "w.pth"],
    "export and JSON": ["export", "--arch", "tiny", "--json", "fcn-tiny-12.onnx"],
    "export and its archive": ["export", "--arch", "tiny", "--output", "a", "--test-data"],
    "archive and JSON": ["export", "--arch", "tiny", "--test-data", "--json", "fcn-tiny-12.tar.gz"],
    "report over the annotations": [
        *("validate", "--int8", "other.onnx", *DATA),
        *("--annotations", "report/report.json", "--report", "report"),
    ],
    "report and JSON": ["validate", "--int8", "other.onnx", *DATA, "--json", "report/report.json"],
    "JSON over the int8 model": ["validate", "--int8", "other.onnx", *DATA, "--json", "other.onnx"],
    "JSON over a candidate": [
        *("validate", "--int8", "soft.onnx", "--int8", "fcn-toy-12.onnx", *DATA),
        *("--json", "other.onnx"),
    ],
    "candidates and JSON": [
        *("validate", "--int8", "other.onnx", "--int8", "fcn-toy-12.onnx", *DATA),
        *("--json", "report/report.md"),
    ],
    "benchmark over a model": ["benchmark", "fcn-toy-12.onnx", "--json", "fcn-toy-12.onnx"],
    "predict over the model": ["predict", "other.onnx", "street.png", "--json", "other.onnx"],
    "predict over another image": ["predict", "other.onnx", "street.png", "street-labels.png", "--output", "."],
    "prediction and JSON": ["predict", "other.onnx", "street.png", "--json", "predictions/street-labels.png"],
    "inspect over its model": ["inspect", "other.onnx", "--json", "other.onnx"],
    "plot over the histograms": ["inspect", "h.npz", "--plot", "h.npz"],
    "plot and JSON": ["inspect", "h.npz", "--plot", "x", "--json", "x"],
    "comparison over a model": ["inspect", "fcn-toy-12.onnx", "other.onnx", *DATA, "--json", "other.onnx"],
    "run over the recipe": ["run", "r.yaml", "--json", "r.yaml"],
    "run over what it makes": ["run", "r.yaml", "--json", "out/fcn-tiny-12-int8.onnx"],
    "run over its data": ["run", "r.yaml", "--set", "export.weights=out/fcn-tiny-12.onnx"],
    "demo over its data": ["demo", ".", "--json", ANNOTATIONS],
    "demo over real data": ["demo", "."],
}


WORDS = ("would overwrite", " are both ", "below which others", "cannot write", "names an image", "not of our scenes")


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_overwrite_is_refused_before_the_work(folder: Path, case: str) -> None:
    if case == "report over the annotations":
        (folder / "report").mkdir()
        Path(ANNOTATIONS).rename("report/report.json")
    if case == "predict over another image":
        photograph(32, 24, 1).save("street-labels.png")
    if case == "run over its data":
        (folder / "out").mkdir()
        (folder / "w.pth").rename("out/fcn-tiny-12.onnx")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    result = CliRunner().invoke(main, REFUSED[case])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert any(words in result.stderr for words in WORDS), result.stderr
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_the_message_names_both_options(folder: Path) -> None:
    result = CliRunner().invoke(main, ["calibrate", *DATA, "--output", "x", "--histograms", "./x"])
    assert "--output and --histograms are both x" in result.stderr
    result = CliRunner().invoke(main, ["quantize", *DATA, "--output", "fcn-toy-12.onnx"])
    assert "--output would overwrite fcn-toy-12.onnx, which is the model" in result.stderr


def test_parents_of_all_outputs_are_made(folder: Path) -> None:
    arguments = ["calibrate", *DATA, "--output", "a/b/t.json", "--histograms", "c/h.npz", "--json", "d/e.json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(Path("d/e.json").read_text())["output"] == "a/b/t.json"
    assert Path("c/h.npz").is_file()


def test_an_output_may_be_replaced(folder: Path) -> None:
    arguments = ["quantize", *DATA, "--output", "coco/val2017/x.onnx", "--json", "coco/val2017/x.json"]
    for _ in range(2):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    assert "skipped" in Path("coco/val2017/x.json").read_text()
