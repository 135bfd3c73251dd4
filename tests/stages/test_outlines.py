"""`--dry-run`: what is shown is what is then done, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from toys import photograph, residual_network, save, write_coco

from fcn_onnx.cli import main
from fcn_onnx.stages.outline import Estimate, ends, estimated

DATA = ("--data", "coco/val2017")
RECIPE = (
    "export: {arch: tiny, weights: none}\nquantize: {data: coco/val2017, limit: 2}\nvalidate: {data: coco/val2017}\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(residual_network(), tmp_path / "fcn-toy-12.onnx")
    write_coco(tmp_path / "coco")
    photograph(90, 70, 1).save(tmp_path / "street.png")
    (tmp_path / "r.yaml").write_text(RECIPE + "output: out\n")
    return tmp_path


def call(*words: str) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, result.output
    return result


def outline(*words: str) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = json.loads(call(*words, "--dry-run", "--json", "-").stdout)["stages"]
    return stages


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def test_nothing_is_written_by_any_command(folder: Path) -> None:
    before = contents(folder)
    for words in (
        ("export", "--arch", "tiny", "--weights", "none", "--output", "new/m.onnx"),
        ("export", "--arch", "resnet50"),
        ("calibrate", *DATA, "--histograms", "new/h.npz"),
        ("quantize", *DATA),
        ("validate", *DATA, "--fp32", "fcn-toy-12.onnx", "--int8", "fcn-toy-12.onnx"),
        ("predict", "fcn-toy-12.onnx", "street.png", "--tile", "64x64"),
        ("sensitivity", *DATA, "--limit", "2"),
        ("run", "r.yaml"),
    ):
        shown = call(*words, "--dry-run").stdout
        assert f"{words[0] if words[0] != 'run' else 'export'}, not done:" in shown
        assert "is made" in shown
    assert contents(folder) == before


def test_what_is_shown_is_what_is_done(folder: Path) -> None:
    words = ("quantize", *DATA, "--limit", "2")
    (before,) = outline(*words)
    assert list(before["outputs"].values()) == ["is made"]
    assert before["estimate"]["seconds"] > 0
    assert before["estimate"]["peak_bytes"] > 10_000_000
    made = json.loads(call(*words, "--json", "-").stdout)
    (after,) = outline(*words)
    assert list(after["outputs"].values()) == ["up to date"]
    assert after["estimate"] is None
    assert after["images"] == before["images"]
    assert made["plan"]["target"] in after["decided"]["plan"]
    assert list(outline(*words, "--force")[0]["outputs"].values()) == ["is there, and is replaced"]
    (scored,) = outline("validate", *DATA)
    report = json.loads(call("validate", *DATA, "--json", "-").stdout)
    assert len(scored["images"]) == report["images"]
    assert scored["decided"]["protocol"].startswith(report["protocol"])
    assert not set(scored["images"]) & set(before["images"])


def test_a_recipe_as_far_as_its_files_are_there(folder: Path) -> None:
    export, quantize, validate = outline("run", "r.yaml")
    assert list(export["outputs"].values()) == ["is made"]
    assert quantize["left_open"] == ["all but the options, as out/fcn-tiny-12.onnx is still to be made"]
    assert "out/fcn-tiny-12-int8.onnx" in validate["left_open"][0]
    call("export", "--arch", "tiny", "--weights", "none", "--output", "out/fcn-tiny-12.onnx")
    export, quantize, _ = outline("run", "r.yaml")
    assert list(export["outputs"].values()) == ["up to date"]
    assert len(quantize["images"]) == 2


def test_what_the_command_refuses_is_refused(folder: Path) -> None:
    for words, said in {
        ("quantize", "--data", "nowhere"): "nowhere does not exist",
        ("quantize", *DATA, "--output", "fcn-toy-12.onnx"): "would overwrite",
        ("predict", "fcn-toy-12.onnx", "-"): "of a stream nothing is known",
        ("quantize", *DATA, "--output", "street.png/int8.onnx"): "cannot be written",
    }.items():
        refused = CliRunner().invoke(main, [*words, "--dry-run"])
        assert refused.exit_code == 2, refused.output
        assert said in refused.stderr


def test_an_estimate_is_of_two_images(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(10, 30), (10, 10), (20, 40), (10, 20)]
    clock = iter([100.0, 118.0])
    monkeypatch.setattr("fcn_onnx.stages.outline.time.perf_counter", lambda: next(clock))
    worked: list[int] = []
    estimate = estimated(sizes, worked.append, "it", workers=2, times=3)
    assert estimate is not None
    assert (worked[0], sorted(worked[1:])) == (1, [1, 2])
    assert estimate.seconds == pytest.approx(18 / 900 * 1400 * 3 / 2)
    assert ends(sizes) == ((10, 10), (20, 40))
    assert str(Estimate(150, 2_000_000_000, "it")) == "2 min and 2.0 GB of memory for it"
    assert estimated([], worked.append, "it") is None
