"""The stage against protocols written out literally: PIL, pycocotools, onnxruntime and loops."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from toys import coarse_classifier, compare, photograph, pixel_classifier, save, write_coco

from fcn_onnx.cli import main
from fcn_onnx.data.choice import ImageSource
from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.demo.writer import write_scenes
from fcn_onnx.errors import ImageError, ModelError, UsageError
from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.evaluation.result import Validation
from fcn_onnx.jobs.artifact import digest_file
from fcn_onnx.jobs.engines import Running
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import Interface
from fcn_onnx.report.html import to_html
from fcn_onnx.report.markdown import to_markdown
from fcn_onnx.report.verdict import verdict
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.stages import validate as validation
from fcn_onnx.stages.export import export
from fcn_onnx.stages.options import ExportOptions, ValidateOptions
from fcn_onnx.stages.validate import validate


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def two_models(folder: Path, calibrated_on: dict[str, str] | None = None) -> tuple[Path, Path]:
    """Two pixel classifiers that differ a little; the second may carry a card like an int8 model's."""
    first = save(pixel_classifier(0), folder / "a.onnx")
    second = pixel_classifier(0, shift=0.02)
    ModelCard(calibration_images=calibrated_on or {}).write_to(second)
    return first, save(second, folder / "b.onnx")


def told(result: Validation) -> str:
    """The verdict on the one candidate."""
    return verdict(result.document, result.document.candidates["int8"])


def test_deltas_are_of_the_scores(tmp_path: Path, coco: Path) -> None:
    result = compare(*two_models(tmp_path), open_dataset(coco))
    report = result.report
    fp32, int8, delta = report["fp32"], report["int8"], report["delta"]
    assert delta["miou"] == pytest.approx(int8["miou"] - fp32["miou"], abs=1e-15)
    assert delta["miou_relative_percent"] == pytest.approx(100 * (int8["miou"] / fp32["miou"] - 1), rel=1e-9)
    changes = {
        name: None if None in (fp32["per_class_iou"][name], iou) else iou - fp32["per_class_iou"][name]
        for name, iou in int8["per_class_iou"].items()
    }
    assert delta["per_class_iou"] == pytest.approx(changes, abs=1e-15)
    for name, bounds in delta["per_class_iou_ci95"].items():
        assert (bounds is None) == (changes[name] is None)
        assert bounds is None or bounds[0] <= changes[name] <= bounds[1]


def test_report_is_json_with_the_promised_names(tmp_path: Path, coco: Path) -> None:
    report = json.loads(json.dumps(compare(*two_models(tmp_path), open_dataset(coco)).report, allow_nan=False))
    model = {"miou", "pixel_accuracy", "per_class_iou", "latency_ms", "size_bytes"}
    assert set(report) >= {"protocol", "images", "fp32", "int8", "delta", "machine", "digests"}
    assert set(report["fp32"]) >= model
    assert set(report["int8"]) >= model
    assert set(report["fp32"]["latency_ms"]) == {"p50", "p90", "p99", "mean"}
    assert set(report["delta"]) >= {
        "miou",
        "miou_relative_percent",
        "miou_ci95",
        "pixel_accuracy",
        "label_agreement",
        "speedup",
        "speedup_ci95",
        "size_ratio",
    }
    assert report["digests"]["fp32"] == digest_file(tmp_path / "a.onnx")
    low, high = report["delta"]["miou_ci95"]
    assert low <= report["delta"]["miou"] <= high


def test_a_model_against_itself_is_the_control(tmp_path: Path, coco: Path) -> None:
    model, _ = two_models(tmp_path)
    result = compare(model, model, open_dataset(coco))
    delta = result.report["delta"]
    assert (delta["miou"], delta["miou_ci95"], delta["label_agreement"], delta["size_ratio"]) == (0, [0, 0], 1, 1)
    assert "A/A control: both models are the same file" in result.report["notes"]
    assert result.report["gallery"] == []


def names_of(result: Validation) -> int:
    return int(result.report["images"])


def test_calibration_images_are_left_out_by_name_and_bytes(tmp_path: Path, coco: Path) -> None:
    one, two = coco / "000000000001.jpg", coco / "000000000002.jpg"
    recorded = {"000000000001.jpg": digest_file(one), "elsewhere/000000000002.jpg": digest_file(two)}
    recorded["000000000003.jpg"] = "sha256:another image of that name"
    models = two_models(tmp_path, recorded)
    dataset = open_dataset(coco)
    report = compare(*models, dataset).report
    assert (report["images"], report["dataset"]["excluded_calibration_images"]) == (3, 2)
    assert any("left out" in note for note in report["notes"])
    assert names_of(compare(*models, dataset, limit=2)) == 2
    everything = compare(*models, dataset, include_calibration_images=True)
    assert names_of(everything) == 5
    assert any("also used to calibrate" in note for note in everything.report["notes"])

    def listed(*ids: int) -> Validation:
        images = tmp_path / "images.txt"
        images.write_text("".join(f"{number:012d}.jpg\n" for number in ids))
        choice = ImageSource(coco, images=images)
        return validate(ValidateOptions(fp32=models[0], int8=models[1:], choice=choice, report=tmp_path / "r"))

    with pytest.raises(UsageError, match=r"000000000001\.jpg"):
        listed(1, 2)
    assert names_of(listed(3, 4)) == 2


def test_nothing_left_to_score_is_an_error(tmp_path: Path, coco: Path) -> None:
    dataset = open_dataset(coco)
    recorded = {s.name: digest_file(s.path) for s in dataset.samples}
    with pytest.raises(UsageError, match="no image is left"):
        compare(*two_models(tmp_path, recorded), dataset)


def test_the_gate_tests_the_point_estimate(tmp_path: Path, coco: Path) -> None:
    models = two_models(tmp_path)
    dataset = open_dataset(coco)
    drop = -compare(*models, dataset).report["delta"]["miou_relative_percent"]
    assert compare(*models, dataset, gates=Gates(max_drop=max(0.0, drop) + 0.01)).passed
    assert compare(*models[::-1], dataset, gates=Gates(max_drop=max(0.0, -drop) + 0.01)).passed
    worse = models if drop > 0 else models[::-1]
    assert not compare(*worse, dataset, gates=Gates(max_drop=abs(drop) / 2)).passed


def test_four_images_have_no_intervals_and_no_verdict(tmp_path: Path, coco: Path) -> None:
    models = two_models(tmp_path)
    result = compare(*models, open_dataset(coco), limit=4, gates=Gates(max_drop=50.0))
    assert (result.only.difference.miou_ci95, result.only.difference.per_class_iou_ci95, result.only.speedup_ci95) == (
        None,
    ) * 3
    delta = json.loads(json.dumps(result.report))["delta"]
    assert {key: value for key, value in delta.items() if key.endswith("ci95")} == {
        f"{key}_ci95": None for key in ("miou", "pixel_accuracy", "label_agreement", "per_class_iou", "speedup")
    }
    assert (result.passed, result.only.gate.certain) == (True, False)
    assert "Cannot tell, 4 images are too few for an interval: mIoU" in verdict(
        result.document, result.document.candidates["int8"]
    )
    assert "significant" not in told(result)


def test_an_interval_that_reaches_over_the_bound_does_not_decide(tmp_path: Path, coco: Path) -> None:
    """The exit code follows the point estimate; the verdict says what the images say."""
    models, dataset = two_models(tmp_path), open_dataset(coco)
    free = compare(*models, dataset).report
    low, high = (-100 * x / free["fp32"]["miou"] for x in free["delta"]["miou_ci95"][::-1])
    for max_drop, certain in (((max(low, 0) + high) / 2, False), (high + 1, True)):
        result = compare(*models, dataset, gates=Gates(max_drop=max_drop))
        assert result.report["gate"]["drop_percent_ci95"] == pytest.approx([low, high])
        assert result.report["gate"]["certain"] is certain
        assert result.passed == (result.report["gate"]["drop_percent"] <= max_drop)
        words = f"Cannot tell, the interval reaches to both sides of the {max_drop:g} % that is allowed"
        assert (words in told(result)) is not certain


def test_one_size_that_overrides_the_protocol_is_said_everywhere(tmp_path: Path, coco: Path) -> None:
    model = save(coarse_classifier(size=(40, 40)), tmp_path / "fixed.onnx")
    command = ["validate", "--fp32", model, "--int8", model, "--data", coco, "--report", tmp_path / "r"]
    done = CliRunner().invoke(main, [str(a) for a in command])
    assert done.exit_code == 0, done.output
    assert "5 images shown at 40x40" in done.stdout
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["shown"] == {"resize": "40x40", "protocol_resize": "short-side 520"}
    assert sum("images of 40x40 only" in note for note in report["notes"]) == 1
    assert "images of 40x40 only" in done.stderr
    for name in ("report.md", "report.html"):
        told = "Shown at 40x40, the one size that the models take, not at short-side 520."
        assert told in (tmp_path / "r" / name).read_text()
    result = compare(*two_models(tmp_path), open_dataset(coco))
    free = result.report
    assert free["shown"] == {"resize": "short-side 520", "protocol_resize": "short-side 520"}
    assert not any("only" in note for note in free["notes"])
    assert "Shown at" not in to_html(result.document) + to_markdown(result.document)


def carded(folder: Path, name: str, classes: tuple[str, ...] = (), **preprocessing: Any) -> Path:
    model = pixel_classifier(0, classes=len(classes) or 21)
    said = Preprocessing().to_json() | preprocessing if preprocessing else None
    ModelCard(preprocessing=said, classes=classes).write_to(model)
    return save(model, folder / f"{name}.onnx")


@pytest.mark.parametrize(
    ("key", "value", "option", "words"),
    [
        ("channels", "BGR", Interface(channels="BGR"), "channels RGB, and .*b.onnx channels BGR"),
        ("mean", [0, 0, 0], Interface(mean=(0, 0, 0)), "mean 0.485,0.456,0.406, and .*b.onnx mean 0,0,0"),
        ("std", [1, 1, 1], Interface(std=(1, 1, 1)), "std 0.229,0.224,0.225, and .*b.onnx std 1,1,1"),
    ],
)
def test_cards_that_contradict_each_other_are_refused_unless_an_option_settles_it(
    tmp_path: Path, coco: Path, key: str, value: Any, option: Interface, words: str
) -> None:
    first, second = carded(tmp_path, "a", channels="RGB"), carded(tmp_path, "b", **{key: value})
    silent, dataset = carded(tmp_path, "c"), open_dataset(coco)
    for stage in (
        lambda: compare(first, second, dataset),
        lambda: validate(ValidateOptions(fp32=first, int8=(second,), choice=ImageSource(coco), report=tmp_path / "r")),
        lambda: validate(
            ValidateOptions(fp32=first, int8=[silent, second], choice=ImageSource(coco), report=tmp_path / "r")
        ),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            stage()
        assert f"--{key}" in caught.value.fix
    assert not list((tmp_path / "r").rglob("report.*"))
    settled = compare(first, second, dataset, interface=option).report
    assert settled["preprocessing"][key] == value
    assert compare(silent, second, dataset).report["preprocessing"][key] == value


def test_models_of_different_classes_are_refused_before_the_work(tmp_path: Path, coco: Path) -> None:
    turned = (VOC_CLASSES[0], *VOC_CLASSES[:0:-1])
    first, second = carded(tmp_path, "a", VOC_CLASSES), carded(tmp_path, "b", turned)
    words = (
        r"a\.onnx says that it has 21 classes \(label 1 is 'aeroplane'\), and .*b\.onnx .* \(label 1 is 'tvmonitor'\)"
    )
    dataset = open_dataset(coco)
    for stage in (
        lambda: compare(first, second, dataset),
        lambda: validate(ValidateOptions(fp32=first, int8=(second,), choice=ImageSource(coco), report=tmp_path / "r")),
        lambda: validate(
            ValidateOptions(fp32=first, int8=[first, second], choice=ImageSource(coco), report=tmp_path / "r")
        ),
    ):
        with pytest.raises(ModelError, match=words):
            stage()
    few = carded(tmp_path, "few", VOC_CLASSES[:20])
    with pytest.raises(ModelError, match=r"21 classes \(the last is 'tvmonitor'\), and .* 20 classes"):
        compare(first, few, dataset)
    with pytest.raises(ModelError, match=r"label 20 classes .* was opened for 21"):
        compare(few, few, dataset)
    assert compare(first, second, dataset, interface=Interface(classes=VOC_CLASSES)).only.difference.miou == 0


def test_an_interrupted_run_continues_to_the_same_scores(
    tmp_path: Path, coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, dataset = two_models(tmp_path), open_dataset(coco)
    whole = compare(*models, dataset).report
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    notes: list[str] = []

    class Interrupting:
        def __init__(self, after: int) -> None:
            self.after = after

        def track(self, items, *, total, label, done=0):  # type: ignore[no-untyped-def]
            for index, item in enumerate(items):
                if index == self.after:
                    raise KeyboardInterrupt
                yield item

        def note(self, message: str) -> None:
            notes.append(message)

    def scored(after: int) -> dict[str, Any]:
        return compare(*models, dataset, report=tmp_path / "report", progress=Interrupting(after)).report

    with pytest.raises(KeyboardInterrupt):
        scored(3)
    assert len(list(tmp_path.glob(".report.*.journal"))) == 1
    resumed = scored(99)
    assert any("continuing after 3 finished images" in note for note in notes)
    assert not list(tmp_path.glob(".report.*"))
    for name in ("fp32", "int8"):
        for score in ("miou", "pixel_accuracy", "per_class_iou"):
            assert resumed[name][score] == whole[name][score]
    assert resumed["delta"]["miou_ci95"] == whole["delta"]["miou_ci95"]
    assert resumed["confusion"] == whole["confusion"]
    assert resumed["gallery"] == whole["gallery"]


def test_every_model_is_opened_once_and_runs_once_an_image_and_once_to_warm_up(
    tmp_path: Path, coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures are of labels that were seen when they were scored: the same as of models that are run for them."""
    opened: list[Segmenter] = []
    runs: list[Segmenter] = []
    made, run = Segmenter.__init__, Segmenter.run

    def making(self: Segmenter, *arguments: Any, **named: Any) -> None:
        opened.append(self)
        made(self, *arguments, **named)

    def running(self: Segmenter, batch: NDArray[np.float32]) -> NDArray[Any]:
        runs.append(self)
        return run(self, batch)

    monkeypatch.setattr(Segmenter, "__init__", making)
    monkeypatch.setattr(Segmenter, "run", running)
    models, dataset = two_models(tmp_path), open_dataset(coco)
    models = carded(tmp_path, "said", channels="RGB"), models[1]  # a model without a card is tried out before
    result = compare(*models, dataset)
    assert len(opened) == 2
    assert len(runs) == 2 * (1 + len(dataset.samples))
    assert result.pictures
    score = validation.score_images
    monkeypatch.setattr(validation, "score_images", lambda *a, **named: replace(score(*a, **named), labels={}))
    again = compare(*models, dataset)
    assert len(runs) > 4 * (1 + len(dataset.samples))
    assert again.pictures.keys() == result.pictures.keys()
    for name, picture in again.pictures.items():
        np.testing.assert_array_equal(picture, result.pictures[name])


@pytest.mark.parametrize("change", ["nothing", "image", "annotations", "kernel", "threads"])
def test_a_run_that_was_interrupted_continues_only_where_nothing_has_changed(
    tmp_path: Path, coco: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Neither another image of the same size, nor another CPU's kernels, are mixed with what was scored."""
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    models, threads = two_models(tmp_path), 2
    noted: list[str] = []

    class Stopping:
        def __init__(self, after: int) -> None:
            self.after = after

        def track(self, items, *, total, label, done=0):  # type: ignore[no-untyped-def]
            yield from itertools.islice(items, self.after)
            if self.after < total:
                raise KeyboardInterrupt

        def note(self, message: str) -> None:
            noted.append(message)

    def scored(after: int) -> dict[str, Any]:
        report = tmp_path / "report"
        return compare(*models, open_dataset(coco), threads=threads, report=report, progress=Stopping(after)).report

    with pytest.raises(KeyboardInterrupt):
        scored(3)
    match change:
        case "image":
            path = coco / "000000000001.jpg"
            size = path.stat().st_size
            photograph(64, 48, 99).save(path, quality=60)
            path.write_bytes(path.read_bytes().ljust(size, b"\0"))
            assert path.stat().st_size == size
        case "annotations":
            (source,) = (coco.parent / "annotations").iterdir()
            source.write_text(source.read_text() + "\n")
        case "kernel":
            monkeypatch.setattr(validation, "measured_cpu", lambda: measured_cpu().saturating())
        case "threads":
            threads = 1
    resumed = scored(99)
    assert any("continuing after 3" in note for note in noted) == (change == "nothing")
    whole = compare(*models, open_dataset(coco), threads=threads).report
    for name in ("fp32", "int8"):
        assert resumed[name]["miou"] == whole[name]["miou"]


def test_models_that_do_not_fit_are_refused(tmp_path: Path, coco: Path) -> None:
    dataset = open_dataset(coco)
    good, _ = two_models(tmp_path)
    few = save(pixel_classifier(classes=5), tmp_path / "few.onnx")
    with pytest.raises(ModelError, match=r"is declared as \(\?, 5,"):
        compare(good, few, dataset)
    nan = pixel_classifier()
    nan.graph.initializer[1].raw_data = np.full(21, np.nan, np.float32).tobytes()
    with pytest.raises(ModelError, match="not finite"):
        compare(good, save(nan, tmp_path / "nan.onnx"), dataset)
    with pytest.raises(UsageError, match="choose one of: torchvision, zoo, inc"):
        compare(good, good, dataset, protocol="imagenet")


def test_an_int8_model_of_another_original_is_pointed_out(tmp_path: Path, coco: Path) -> None:
    first, _ = two_models(tmp_path)
    stranger = pixel_classifier(0, shift=0.02)
    ModelCard(source="sha256:of something else").write_to(stranger)
    report = compare(first, save(stranger, tmp_path / "c.onnx"), open_dataset(coco)).report
    assert "the int8 model was made from another fp32 model (sha256:of something else)" in report["notes"]


def test_classes_that_one_model_alone_scores_are_named(tmp_path: Path, coco: Path) -> None:
    first, _ = two_models(tmp_path)
    biased = pixel_classifier(0)
    bias = onnx.numpy_helper.to_array(biased.graph.initializer[1]).copy()
    control = compare(first, first, open_dataset(coco)).report["fp32"]["per_class_iou"]
    truth = {c for s in open_dataset(coco).samples for c in open_dataset(coco).classes_in(s)} | {0}
    absent = next(c for c, iou in enumerate(control.values()) if c not in truth and iou == 0)
    bias[absent] -= 1e6  # the second model never predicts it
    biased.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(bias, "b"))
    result = compare(first, save(biased, tmp_path / "biased.onnx"), open_dataset(coco))
    report = result.report
    ious = {model: report[model]["per_class_iou"] for model in ("fp32", "int8")}
    name = list(control)[absent]
    assert (ious["fp32"][name], ious["int8"][name]) == (0.0, None)
    common = [c for c, iou in ious["fp32"].items() if None not in (iou, ious["int8"][c])]
    change = 100 * sum(ious["int8"][c] - ious["fp32"][c] for c in common) / len(common)
    found = report["one_sided_classes"]
    assert (found["predicted_by"][name], found["common_classes"]) == ("fp32", len(common))
    assert 100 * found["miou_common_classes"] == pytest.approx(change)
    assert f"{name} (fp32)" in told(result)
    assert f"{change:+.2f} points" in told(result)


@pytest.mark.parametrize("protocol", ["torchvision", "zoo"])
def test_any_number_of_workers_scores_the_same(tmp_path: Path, coco: Path, protocol: str) -> None:
    models = two_models(tmp_path)
    alone, together = (
        compare(*models, open_dataset(coco), protocol=protocol, running=Running(workers=workers), threads=2).report
        for workers in (1, 2)
    )
    for key in ("images", "confusion", "one_sided_classes", "worst_images", "gallery", "absent_classes"):
        assert alone[key] == together[key]
    for model in ("fp32", "int8"):
        for score in ("miou", "pixel_accuracy", "per_class_iou"):
            assert alone[model][score] == together[model][score]
    for delta in ("miou", "miou_ci95", "pixel_accuracy", "label_agreement"):
        assert alone["delta"][delta] == together["delta"][delta]
    assert any("2 workers shared the machine" in note for note in together["notes"])


def test_an_error_in_a_worker_is_the_error(tmp_path: Path, coco: Path) -> None:
    models = two_models(tmp_path)
    dataset = open_dataset(coco)
    (coco / "000000000003.jpg").write_bytes(b"not a photograph")
    with pytest.raises(ImageError, match=r"000000000003\.jpg"):
        compare(*models, dataset, running=Running(workers=2), threads=2)


def test_a_damaged_model_is_flagged(tmp_path: Path) -> None:
    """One layer's output channels in another order: the file is sound, and every shape and range is as it was."""
    write_scenes(tmp_path / "scenes", images=12, size=(120, 160))
    fp32 = export(ExportOptions(arch="tiny", output=tmp_path / "tiny.onnx")).path
    damaged = onnx.load(fp32)
    weights = {t.name: t for t in damaged.graph.initializer}
    conv = [node for node in damaged.graph.node if node.op_type == "Conv"][3]
    for name in conv.input[1:]:
        turned = np.roll(onnx.numpy_helper.to_array(weights[name]), 1, axis=0)
        weights[name].CopyFrom(onnx.numpy_helper.from_array(turned, name))
    result = compare(
        fp32,
        save(damaged, tmp_path / "damaged.onnx"),
        open_dataset(tmp_path / "scenes" / "val2017"),
        gates=Gates(max_drop=1.0),
    )
    assert not result.passed
    assert told(result).startswith("FAILED (1 % relative allowed). Int8 loses accuracy")
    assert result.only.difference.miou_ci95[1] < 0
    assert result.only.difference.label_agreement_ci95[1] < 1
