"""A release against the last one: what has changed, how sure that is, and what cannot be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from toys import pixel_classifier, save, write_coco

from fcn_onnx.cli import main
from fcn_onnx.evaluation.comparison import compare as compare_counts
from fcn_onnx.evaluation.metrics import ConfusionMetric
from fcn_onnx.stages.compare import compare
from fcn_onnx.stages.report_options import CompareOptions

SCHEMA_1 = Path(__file__).parents[1] / "report" / "schema-1.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`old/` and `new/`, the reports of two int8 models; `two/`, of both in one."""
    folder = tmp_path_factory.mktemp("releases")
    coco = write_coco(folder / "coco")
    models = [save(pixel_classifier(0, shift=x), folder / f"m{i}.onnx") for i, x in enumerate((0.0, 0.1, 0.4))]
    for name, candidates in {"old": models[1:2], "new": models[2:], "two": models[1:]}.items():
        each = [word for path in candidates for word in ("--int8", str(path))]
        words = ["validate", "--fp32", str(models[0]), *each, "--data", str(coco), "--report", str(folder / name)]
        assert CliRunner().invoke(main, words).exit_code == 0
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*more: str, old: str = "old/report.json", new: str = "new/report.json") -> Result:
    return CliRunner().invoke(main, ["compare", old, new, *more])


def edit(path: str, change: Callable[[dict[str, Any]], object]) -> None:
    report = json.loads(Path(path).read_text())
    change(report)
    Path(path).write_text(json.dumps(report))


def test_changes_are_new_minus_old_and_paired(folder: Path) -> None:
    old, new = (json.loads(Path(f"{name}/report.json").read_text()) for name in ("old", "new"))
    change = compare(CompareOptions(old=Path("old/report.json"), new=Path("new/report.json")))
    found = change.candidates["int8"].measures
    assert found["int8_miou"].change == new["int8"]["miou"] - old["int8"]["miou"] != 0
    assert found["label_agreement"].change == new["delta"]["label_agreement"] - old["delta"]["label_agreement"] != 0
    assert found["fp32_miou"].change_ci95 == (0, 0)
    assert found["int8_size_bytes"].new == new["int8"]["size_bytes"]
    a, b = (np.load(f"{name}/images.npz") for name in ("old", "new"))
    literal = compare_counts(ConfusionMetric(21), a["counts_int8"], b["counts_int8"], a["agreement"])
    assert found["int8_miou"].change_ci95 == literal.miou_ci95
    assert found["int8_pixel_accuracy"].change_ci95 == literal.pixel_accuracy_ci95
    same = compare_counts(ConfusionMetric(21), a["counts_int8"], a["counts_int8"], b["agreement"])
    low, high = found["label_agreement"].change_ci95 or (1, -1)
    assert low <= same.label_agreement - old["delta"]["label_agreement"] <= high
    ratio = np.median(old["int8"]["latency_samples_ms"]) / np.median(new["int8"]["latency_samples_ms"])
    assert change.candidates["int8"].speedup == pytest.approx(ratio)
    classes = change.candidates["int8"].per_class_iou or {}
    assert classes["person"] == new["int8"]["per_class_iou"]["person"] - old["int8"]["per_class_iou"]["person"]


def test_the_gates_set_the_exit_code(folder: Path) -> None:
    change = compare(CompareOptions(old=Path("old/report.json"), new=Path("new/report.json")))
    lost = -(change.candidates["int8"].miou_relative_percent or 0)
    worse, better = ("old", "new") if lost > 0 else ("new", "old")
    pair = {"old": f"{worse}/report.json", "new": f"{better}/report.json"}
    assert call(**pair).exit_code == 0
    failed = call("--max-drop", "0", **pair)
    assert failed.exit_code == 1
    assert "FAILED by the point estimate (0 % relative allowed)" in failed.stdout
    assert call("--max-drop", "99", **pair).exit_code == 0
    assert call("--min-agreement", "1", **pair).exit_code == 1
    for name in ("old", "new"):
        Path(f"{name}/images.npz").unlink()
    undecided = call("--max-drop", "99", "--confident", **pair)
    assert undecided.exit_code == 3
    assert "no images.npz beside" in undecided.stdout
    assert "Cannot tell, there is no interval" in undecided.stdout


def test_json_is_clean_and_does_not_go_over_a_report(folder: Path) -> None:
    written = json.loads(call("--json", "-").stdout)
    assert (written["images"], list(written["candidates"])) == (5, ["int8"])
    before = Path("old/report.json").read_bytes()
    for target in ("old/report.json", "new/images.npz"):
        assert call("--json", target).exit_code == 2
    assert Path("old/report.json").read_bytes() == before


DIFFERENT: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "protocol": (lambda r: r.update(protocol="vastai"), "the protocol: torchvision and vastai"),
    "classes": (lambda r: r["classes"].reverse(), "the classes: 21 and 21, label 0 is 'background' and 'tvmonitor'"),
    "images": (lambda r: r["digests"].update(images="sha256:1"), "the images: 5 and 5, by name or content"),
    "no truth": (lambda r: r["fp32"].update(pixel_accuracy=None), "the truth: one of them has none"),
    "truth": (lambda r: r["confusion"]["fp32"][3].__setitem__(0, 10**6), "the truth: pixels of bird, "),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_makes_it_meaningless_is_refused_and_named(folder: Path, case: str) -> None:
    change, said = DIFFERENT[case]
    edit("new/report.json", change)
    result = call()
    assert result.exit_code == 2
    assert said in result.stderr


def test_arrays_of_another_report_are_refused(folder: Path) -> None:
    shutil.copy("old/images.npz", "new/images.npz")
    result = call()
    assert result.exit_code == 2
    assert "the images.npz beside new/report.json is of another report" in result.stderr
    Path("new/images.npz").write_bytes(b"PK nothing")
    assert "cannot be read" in call().stderr


def test_latencies_of_two_machines_are_no_gate(folder: Path) -> None:
    edit("new/report.json", lambda r: r["machine"].update(cpu="another"))
    assert "latencies are of two machines" in call().stdout
    result = call("--min-speedup", "0.5")
    assert result.exit_code == 2
    assert "--min-speedup is of one machine" in result.stderr


def test_several_candidates_go_by_their_files(folder: Path) -> None:
    written = json.loads(call("--json", "-", old="two/report.json", new="two/report.json").stdout)
    assert list(written["candidates"]) == ["m1", "m2"]
    one = call(old="old/report.json", new="two/report.json")
    assert "in one of the reports only: m2" in one.stdout
    edit("old/report.json", lambda r: r["int8"].update(path="other.onnx"))
    none = call(old="old/report.json", new="two/report.json")
    assert none.exit_code == 2
    assert "has the candidates other, and two/report.json m1, m2" in none.stderr


def test_without_truth_agreement_and_latency_are_compared_and_nothing_is_scored(folder: Path) -> None:
    shutil.copytree(next(folder.glob("coco/**/val2017")), "plain")
    for name, model in (("old", "m1.onnx"), ("new", "m2.onnx")):
        words = ["validate", "--fp32", "m0.onnx", "--int8", model, "--data", "plain", "--report", name]
        assert CliRunner().invoke(main, words).exit_code == 0
    change = compare(CompareOptions(old=Path("old/report.json"), new=Path("new/report.json")))
    found = change.candidates["int8"]
    assert {name for name, measure in found.measures.items() if measure.change is None} >= {
        *("fp32_miou", "int8_miou", "int8_pixel_accuracy")
    }
    assert (found.per_class_iou, found.miou_relative_percent) == (None, None)
    old, new = (np.load(f"{name}/images.npz")["agreement"] for name in ("old", "new"))
    agreement = found.measures["label_agreement"]
    shares = [float(pairs[:, 0].sum() / pairs[:, 1].sum()) for pairs in (old, new)]
    assert agreement.change == pytest.approx(shares[1] - shares[0])
    low, high = agreement.change_ci95 or (1, -1)
    assert low <= (agreement.change or 0) <= high
    assert found.speedup > 0
    assert call("--min-agreement", "1").exit_code == 1
    refused = call("--max-drop", "1")
    assert refused.exit_code == 2
    assert "--max-drop" in refused.stderr


def test_a_report_of_schema_1_is_read() -> None:
    result = call(old=str(SCHEMA_1), new=str(SCHEMA_1))
    assert result.exit_code == 0, result.output
    assert "int8 mIoU" in result.stdout
