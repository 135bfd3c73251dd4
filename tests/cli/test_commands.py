"""The command line as a user meets it: names, exit codes, clean stdout, nothing half-written."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from PIL import Image
from toys import MIXED_MACS, mixed_products, photograph, pixel_classifier, residual_network, save, write_coco

from fcn_onnx.calibration.methods import METHODS
from fcn_onnx.cli import COMMANDS, main
from fcn_onnx.cli.console import print_table
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.jobs.artifact import digest_file
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.model.card import ModelCard
from fcn_onnx.networks.families import ARCHITECTURES
from fcn_onnx.runtime.cpu import read_cpu
from fcn_onnx.stages.doctor import Diagnosis, PackageState


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a toy fp32 model, and a COCO data set in `coco`."""
    monkeypatch.chdir(tmp_path)
    save(residual_network(), tmp_path / "fcn-toy-12.onnx")
    write_coco(tmp_path / "coco")
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def succeed(*arguments: str) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


def test_every_command_has_an_example() -> None:
    assert re.findall(r"^  (\w[\w-]*)  ", succeed("--help").stdout, re.M) == list(COMMANDS)
    for command in COMMANDS:
        assert f"Example: fcn-onnx {command}" in succeed(command, "--help").stdout


def test_quantize_and_validate_follow_one_another_with_nothing_else_typed(folder: Path) -> None:
    quantized = succeed("quantize", "--data", "coco/val2017", "--limit", "2")
    assert "wrote fcn-toy-12-int8.onnx" in quantized.stdout
    validated = succeed("validate", "--data", "coco/val2017")
    assert "2 calibration images left out" in validated.stdout
    assert "mIoU" in validated.stdout
    assert sorted(p.name for p in (folder / "report").iterdir()) == [
        "images.npz",
        "metrics.json",
        "report.html",
        "report.json",
        "report.md",
    ]
    report = json.loads((folder / "report" / "report.json").read_text())
    assert report["images"] == 3
    again = succeed("quantize", "--data", "coco/val2017", "--limit", "2")
    assert "up to date" in again.stdout


def test_networks_are_listed_with_what_they_cost() -> None:
    """A golden line; its numbers are torchvision's own."""
    lines = [re.split(r"  +", line.strip()) for line in succeed("export", "--list").stdout.splitlines()]
    assert lines[0] == ["network", "parameters", "GMAC", "at", "heads", "published, and by whom"]
    assert ["resnet50", "35,322,218", "152.717", "520x520", "out, aux"] in [line[:5] for line in lines]
    listed = json.loads(succeed("export", "--list", "--json", "-").stdout)["networks"]
    assert [one["arch"] for one in listed] == [line[0] for line in lines[1:-1]] == list(ARCHITECTURES)
    tiny = next(one for one in listed if one["arch"] == "tiny")
    assert (tiny["parameters"], tiny["size"], tiny["weights_published"]) == (279_818, [520, 520], True)


def test_json_on_stdout_is_clean(folder: Path) -> None:
    quantized = json.loads(succeed("quantize", "--data", "coco/val2017", "--json", "-").stdout)
    assert quantized["plan"]["quant_format"] == "qoperator"
    validated = json.loads(succeed("validate", "--data", "coco/val2017", "--json", "-").stdout)
    assert validated["protocol"] == "torchvision"
    inspected = json.loads(succeed("inspect", "fcn-toy-12-int8.onnx", "--json", "-").stdout)
    assert inspected["source"] == digest_file(folder / "fcn-toy-12.onnx")
    calibrated = json.loads(succeed("calibrate", "--data", "coco/val2017", "--json", "-").stdout)
    assert calibrated["images"] == 2
    timed = json.loads(succeed("benchmark", "fcn-toy-12.onnx", "--size", "64x64", "--runs", "3", "--json", "-").stdout)
    assert timed["models"][0]["speedup"] == 1
    succeed("validate", "--data", "coco/val2017", "--json", "out.json")
    assert json.loads(Path("out.json").read_text())["delta"]["label_agreement"] > 0.5


def test_gate_sets_the_exit_code_and_the_report_is_there_all_the_same(folder: Path) -> None:
    save(pixel_classifier(0), folder / "fcn-a-12.onnx")
    save(pixel_classifier(7), folder / "other.onnx")
    pair = ("--fp32", "fcn-a-12.onnx", "--int8", "other.onnx", "--data", "coco/val2017")
    scores = json.loads(succeed("validate", *pair, "--json", "-").stdout)
    drop = -scores["delta"]["miou_relative_percent"]
    if drop < 0:
        pair = ("--fp32", "other.onnx", "--int8", "fcn-a-12.onnx", "--data", "coco/val2017")
    failed = call("validate", *pair, "--max-drop", "0", "--report", "gate")
    assert failed.exit_code == 1
    assert "FAILED" in failed.stdout
    assert (folder / "gate" / "report.html").exists()
    assert succeed("validate", *pair, "--max-drop", "100").exit_code == 0


def test_a_report_in_folders_that_are_not_there_yet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is written long before the report's folder is made."""
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    succeed("validate", "--int8", "fcn-toy-12.onnx", "--data", "coco/val2017", "--report", "a/b/report")
    assert (folder / "a" / "b" / "report" / "report.html").exists()
    assert not list(folder.rglob("*.journal"))


def test_predict_writes_labels_overlay_and_confidence(folder: Path) -> None:
    save(pixel_classifier(), folder / "p.onnx")
    image = photograph(70, 50, 3)
    image.save(folder / "street.png")
    shown = succeed("predict", "p.onnx", "street.png", "--output", "out").stdout
    assert "street.png:" in shown
    session_input = Preprocessing(Resize())(image)
    weight, bias = (onnx.numpy_helper.to_array(t) for t in pixel_classifier().graph.initializer)
    logits = np.einsum("oi,ihw->ohw", weight[:, :, 0, 0], session_input[0]) + bias[:, None, None]
    with Image.open("out/street-labels.png") as labels:
        assert (np.asarray(labels) == logits.argmax(0)).mean() > 0.999
    odds = np.exp(logits - logits.max(0))
    expected = (odds / odds.sum(0)).max(0) * 255
    with Image.open("out/street-confidence.png") as confidence:
        assert np.abs(np.asarray(confidence) - expected).max() < 1
    with Image.open("out/street-overlay.jpg") as blended:
        assert blended.size == image.size


def test_inspect_shows_form_and_cost(folder: Path) -> None:
    succeed("quantize", "--data", "coco/val2017")
    shown = succeed("inspect", "fcn-toy-12-int8.onnx", "--size", "64x96").stdout
    assert "qoperator, per channel" in shown
    assert "GMAC at 64×96" in shown
    assert "calibrated    mse on 2 images" in shown


def test_run_makes_everything_and_then_nothing(folder: Path) -> None:
    recipe = folder / "r.yaml"
    recipe.write_text(
        "export: {arch: tiny}\nquantize: {data: scenes/val2017, limit: 2}\n"
        "validate: {data: scenes/val2017, limit: 2}\noutput: out\nscenes: {folder: scenes, images: 6}\n"
    )
    result = succeed("run", "r.yaml", "--set", "validate.protocol=zoo", "--save", "all.yaml", "--junit", "gates.xml")
    assert "protocol zoo, 2 images" in result.stdout
    assert "<testsuites" in Path("gates.xml").read_text()
    models = [folder / "out" / name for name in ("fcn-tiny-12.onnx", "fcn-tiny-12-int8.onnx")]
    made = [path.stat().st_mtime_ns for path in models]
    assert "protocol zoo, 2 images" in succeed("run", "all.yaml", "--save", "again.yaml").stdout
    assert [path.stat().st_mtime_ns for path in models] == made
    assert Path("again.yaml").read_text() == Path("all.yaml").read_text()
    saved = yaml.safe_load(Path("all.yaml").read_text())
    assert saved["validate"]["protocol"] == "zoo"
    card = ModelCard.read_from(onnx.load(models[1]), "int8")
    assert card.quantization is not None
    assert saved["quantize"]["target"] == card.quantization["target"] != "auto"
    assert (saved["quantize"]["limit"], saved["quantize"]["method"]) == (len(card.calibration_images), "mse")
    assert call("run", "all.yaml", "--save", "all.yaml").exit_code == 2


def test_doctor_finds_the_core(folder: Path) -> None:
    shown = succeed("doctor").stdout
    assert re.search(r"onnxruntime +\S+ +everything +ok", shown)
    assert "int8 " in shown


def test_doctor_says_what_to_type_for_what_is_missing() -> None:
    packages = [
        PackageState("torch", None, "export", "missing", "export"),
        PackageState("numpy", "1", "everything", "does not import", None),
        PackageState("onnx", "1", "everything", "ok", None),
    ]
    lines = Diagnosis("3.11", read_cpu(), tuple(packages)).remedies
    pip = f"{sys.executable} -m pip install "
    assert lines[0] == pip + "--force-reinstall 'numpy>=1.26'"
    assert lines[1].startswith(pip)
    assert "'torch>=2.5'" in lines[1]
    assert "hypothesis" not in lines[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(shell: str) -> None:
    assert "_FCN_ONNX_COMPLETE" in succeed("completion", shell).stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["quan"], {"quantize"}),
        (["quantize", "--per-"], {"--per-channel", "--per-tensor"}),
        (["quantize", "--target", "avx"], {"avx2"}),
    ],
)
def test_what_is_typed_is_completed(typed: list[str], offered: set[str]) -> None:
    found = ShellComplete(main, {}, "fcn-onnx", "_FCN_ONNX_COMPLETE").get_completions(typed[:-1], typed[-1])
    assert {item.value for item in found} >= offered
    assert all(item.value.startswith(typed[-1]) for item in found)


def _bad_image(folder: Path) -> None:
    (folder / "coco" / "val2017" / "000000000003.jpg").write_bytes(b"junk")


def _cmyk(folder: Path) -> None:
    photograph(50, 50, 1).convert("CMYK").save(folder / "coco" / "val2017" / "000000000003.jpg")


WRONG: dict[str, tuple[Any, list[str], str]] = {
    "no data folder": (None, ["quantize", "--data", "nowhere"], "nowhere does not exist"),
    "empty folder": (lambda f: (f / "e").mkdir(), ["quantize", "--data", "e"], "no image in e"),
    "corrupt image": (_bad_image, ["quantize", "--data", "coco/val2017", "--limit", "5"], "000000000003.jpg"),
    "cmyk image": (_cmyk, ["validate", "--int8", "fcn-toy-12.onnx", "--data", "coco/val2017"], "mode CMYK"),
    "no model": (lambda f: (f / "fcn-toy-12.onnx").unlink(), ["quantize", "--data", "coco/val2017"], "fcn-onnx export"),
    "two models": (
        lambda f: save(pixel_classifier(), f / "fcn-b-12.onnx"),
        ["quantize", "--data", "coco/val2017"],
        "fcn-b-12.onnx, fcn-toy-12.onnx",
    ),
    "truncated model": (
        lambda f: (f / "fcn-toy-12.onnx").write_bytes((f / "fcn-toy-12.onnx").read_bytes()[:500]),
        ["quantize", "--data", "coco/val2017"],
        "fcn-toy-12.onnx",
    ),
    "int8 as fp32": (
        lambda f: succeed("quantize", "--data", "coco/val2017"),
        ["validate", "--fp32", "fcn-toy-12-int8.onnx", "--int8", "fcn-toy-12.onnx", "--data", "coco/val2017"],
        "is quantized",
    ),
    "unlabelled": (
        lambda f: photograph(9, 9, 0).save(f / "plain.png"),
        ["validate", "--int8", "fcn-toy-12.onnx", "--data", ".", "--max-drop", "1"],
        "--annotations",
    ),
    "unwritable report": (
        lambda f: (f / "report").write_text(""),
        ["validate", "--int8", "fcn-toy-12.onnx", "--data", "coco/val2017"],
        "report",
    ),
    "unwritable output": (
        None,
        ["quantize", "--data", "coco/val2017", "--output", "fcn-toy-12.onnx/such/x.onnx"],
        "is a file",
    ),
    "bad annotations": (
        lambda f: (f / "coco" / "annotations" / "instances_val2017.json").write_text("{"),
        ["quantize", "--data", "coco/val2017"],
        "is not JSON",
    ),
    "unknown opset": (None, ["export", "--arch", "tiny", "--opset", "7"], "--opset 11 to"),
    "unknown architecture": (None, ["export", "--arch", "unet"], "'unet'"),
    "bad size": (None, ["export", "--arch", "tiny", "--size", "big"], "height x width"),
    "no image to predict": (None, ["predict", "fcn-toy-12.onnx", "gone.jpg"], "gone.jpg"),
    "calibrate nothing": (None, ["calibrate", "--data", "nowhere"], "nowhere does not exist"),
    "recipe": (None, ["run", "gone.yaml"], "gone.yaml"),
    "illegal form": (
        None,
        ["quantize", "--data", "coco/val2017", "--format", "qdq", "--per-channel"],
        "--format qoperator",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_message_exit_2_and_nothing_written(folder: Path, case: str) -> None:
    prepare, arguments, words = WRONG[case]
    if prepare:
        prepare(folder)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before


def test_histograms_are_kept_inspected_and_drawn(folder: Path) -> None:
    succeed("calibrate", "--data", "coco/val2017", "--limit", "3", "--histograms", "h.npz", "--output", "minmax.json")
    derived = succeed("calibrate", "--from", "h.npz", "--method", "kl")
    assert "wrote h-kl.json" in derived.stdout
    shown = succeed("inspect", "h.npz", "--plot", "h.html").stdout
    kl = json.loads(Path("h-kl.json").read_text())["data"]["body"]["highest"]["data"][0]
    row = next(line.split() for line in shown.splitlines() if line.startswith("body "))
    assert row[1 + 2 * list(METHODS).index("kl")] == f"{kl:.4g}"  # each threshold is followed by its (error)
    page = Path("h.html").read_text()
    for tensor in ("stem_relu", "body", "logits"):
        assert f"<p class='name'>{tensor}</p>" in page
    assert f"kl {kl:.4g}" in page
    assert call("inspect", "fcn-toy-12.onnx", "--plot", "x.html").exit_code == 2
    assert call("calibrate", "--data", "coco/val2017", "--from", "h.npz").exit_code == 2


def test_a_narrow_terminal_cuts_no_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    cells = ["a-model-with-a-long-name.onnx", "12345.6 ms", "0.12 (-0.57 … 1.20)", "98.99 %"]
    print_table(("model", "p50", "drop", "agreement"), [cells])
    line = capsys.readouterr().out.splitlines()[1]
    assert all(cell in line for cell in cells)


def test_quantize_names_what_stays_fp32_with_its_share(folder: Path) -> None:
    save(mixed_products(), folder / "fcn-toy-12.onnx")
    arguments = ("quantize", "--data", "coco/val2017", "--target", "vnni")
    total = sum(MIXED_MACS.values())
    shares = {name: 100 * macs / total for name, macs in MIXED_MACS.items()}
    lines = succeed(*arguments).stdout.splitlines()
    assert f"int8 share of the multiply-accumulates: {shares['conv'] + shares['product']:.2f} %" in lines
    assert [line for line in lines if line.startswith("fp32:")] == [
        f"fp32: 1 Conv ({shares['last']:.2f} % of the multiply-accumulates): last",
        f"fp32: 1 ConvTranspose ({shares['transposed']:.2f} % of the multiply-accumulates): transposed",
    ]
    shown = json.loads(succeed("inspect", "fcn-toy-12-int8.onnx", "--json", "-").stdout)
    expected = {name: pytest.approx(share / 100) for name, share in shares.items() if name not in ("conv", "product")}
    assert shown["float_nodes"] == expected
    assert {name: node["macs_share"] for name, node in shown["executed"]["float_nodes"].items()} == expected
    assert (
        f"1 ConvTranspose ({shares['transposed']:.2f} % of the MACs), fp32 in the file: transposed"
        in succeed("inspect", "fcn-toy-12-int8.onnx").stdout
    )
