"""Every option and every input of a stage is changed by itself: it is redone exactly where its result depends on it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from toys import photograph, residual_network, save, write_coco, write_voc

from fcn_onnx.calibration import observing
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.data.preprocess import IMAGENET_MEAN
from fcn_onnx.jobs import artifact
from fcn_onnx.jobs.engines import Running
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import SILENT, SilentProgress
from fcn_onnx.model.interface import InputHints, Interface
from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.runtime.seam import RUNTIMES
from fcn_onnx.stages import export as exporter
from fcn_onnx.stages import quantize as quantizing
from fcn_onnx.stages import sensitivity as trying
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.export import export
from fcn_onnx.stages.options import CalibrateOptions, ExportOptions, QuantizeOptions, SensitivityOptions
from fcn_onnx.stages.quantize import quantize
from fcn_onnx.stages.sensitivity import sensitivity

Change = Callable[[dict[str, Any], Path, pytest.MonkeyPatch], object]

VNNI = Cpu("a", 2, frozenset({"avx2", "avx512bw", "avx512_vnni"}))
PLAIN: dict[str, Any] = {}
SEARCHED: dict[str, Any] = {"max_drop": 1.0}
REFINED: dict[str, Any] = {"refine": True}


class StoppedError(Exception):
    """The stage has come to what it would do next."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    on_cpu(monkeypatch, VNNI)
    monkeypatch.setitem(RUNTIMES, "openvino", replace(RUNTIMES["onnxruntime"], target="openvino"))  # not installed
    write_coco(tmp_path / "coco")
    proto = residual_network()
    proto.graph.output.extend([onnx.ValueInfoProto(name="body")])
    save(onnx.shape_inference.infer_shapes(proto), tmp_path / "m.onnx")
    return tmp_path


def on_cpu(monkeypatch: pytest.MonkeyPatch, cpu: Cpu) -> None:
    for module in (quantizing, observing, trying):
        monkeypatch.setattr(module, "measured_cpu", lambda: cpu)


def with_version(package: str) -> Change:
    return lambda _, __, patch: patch.setattr(
        artifact, "version", lambda name: "0.0" if name == package else version(name)
    )


def option(**changed: Any) -> Change:
    return lambda options, *_: options.update(changed)


def choose(**changed: Any) -> Change:
    return lambda options, *_: options.update(choice=replace(options["choice"], **changed))


def interface(**changed: Any) -> Change:
    return lambda options, *_: options.update(interface=replace(options["interface"], **changed))


def another_image(options: dict[str, Any], folder: Path, _: object) -> None:
    """Of the same name and the same size."""
    path = (
        options["choice"].choose().samples[0].path if "choice" in options else folder / "coco/val2017/000000000001.jpg"
    )
    size = path.stat().st_size
    photograph(40, 40, 99).save(path, quality=30)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    assert path.stat().st_size == size


def touched(options: dict[str, Any], folder: Path, _: object) -> None:
    for path in folder.rglob("*.*"):
        path.touch()


def other_truth(options: dict[str, Any], folder: Path, _: object) -> None:
    path = folder / "coco/annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"].pop()
    path.write_text(json.dumps(content))


def truth_elsewhere(options: dict[str, Any], folder: Path, _: object) -> None:
    other = folder / "same.json"
    other.write_bytes((folder / "coco/annotations/instances_val2017.json").read_bytes())
    options["choice"] = replace(options["choice"], annotations=other)


def other_model(options: dict[str, Any], folder: Path, _: object) -> None:
    model = onnx.load(folder / "m.onnx")
    save(residual_network(1), folder / "n.onnx")
    model.graph.initializer[0].CopyFrom(onnx.load(folder / "n.onnx").graph.initializer[0])
    save(model, folder / "m.onnx")


def model_elsewhere(options: dict[str, Any], folder: Path, _: object) -> None:
    options["model"] = (folder / "m.onnx").rename(folder / "moved.onnx")


def listed(options: dict[str, Any], folder: Path, _: object) -> None:
    """The images that were drawn, named in a list."""
    names = [sample.name for sample in options["choice"].choose().samples]
    (folder / "list.txt").write_text("\n".join(names))
    options["choice"] = ImageChoice(folder / "coco/val2017", images=folder / "list.txt")


def with_masks(options: dict[str, Any], folder: Path, _: object) -> None:
    """Of all images, each wholly of class 1 but for its first row."""
    (folder / "masks").mkdir(exist_ok=True)
    for path in sorted((folder / "coco/val2017").iterdir()):
        with Image.open(path) as image:
            labels = np.ones((image.height, image.width), np.uint8)
        labels[0] = 0
        Image.fromarray(labels).save(folder / "masks" / f"{path.stem}.png")
    options["choice"] = replace(options["choice"], masks=folder / "masks")


def with_label_map(options: dict[str, Any], folder: Path, _: object) -> None:
    with_masks(options, folder, _)
    (folder / "map.txt").write_text("0 person\n1 background\n")
    options["choice"] = replace(options["choice"], label_map=folder / "map.txt")


def another_form(_: object, __: object, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(artifact, "FORM_VERSION", artifact.FORM_VERSION + 1)


def cpu(other: Cpu) -> Change:
    return lambda _, __, patch: on_cpu(patch, other)


REDONE = True
"""The result depends on it."""

EVERYWHERE: dict[str, tuple[Change, bool]] = {
    "nothing": (option(), not REDONE),
    "threads": (option(threads=1), not REDONE),
    "output": (option(output=Path("elsewhere.onnx")), not REDONE),
    "progress": (option(progress=SilentProgress()), not REDONE),
    "times of files": (touched, not REDONE),
    "weights": (other_model, REDONE),
    "place of the model": (model_elsewhere, not REDONE),
    "an image": (another_image, REDONE),
    "fewer images": (choose(limit=2), REDONE),
    "another draw": (choose(seed=1), REDONE),
    "spread": (choose(spread=True), REDONE),
    "the same images in a list": (listed, not REDONE),
    "mean": (interface(mean=(0.5, 0.5, 0.5)), REDONE),
    "std": (interface(std=(0.5, 0.5, 0.5)), REDONE),
    "channels": (interface(channels="BGR"), REDONE),
    "the channels it has": (interface(channels="RGB"), not REDONE),
    "multiple": (interface(multiple_of=32), REDONE),
    "form of our files": (another_form, REDONE),
    "fcn-onnx": (with_version("fcn-onnx"), REDONE),
    "onnxruntime": (with_version("onnxruntime"), REDONE),
    "Pillow": (with_version("pillow"), REDONE),
    "torch": (with_version("torch"), not REDONE),
}

QUANTIZE: dict[str, tuple[dict[str, Any], Change, bool]] = {
    **{name: (PLAIN, *rest) for name, rest in EVERYWHERE.items()},
    "method": (PLAIN, option(method="kl"), REDONE),
    "the default method": (PLAIN, option(method="mse"), not REDONE),
    "percentile": ({"method": "percentile", "percentile": 99.99999}, option(percentile=100.0), REDONE),
    "the default percentile": ({"method": "percentile"}, option(percentile=99.999), REDONE),
    "backend": (PLAIN, option(backend="neural-compressor"), REDONE),
    "form": (PLAIN, option(format="qdq"), REDONE),
    "the form it chooses": (PLAIN, option(format="qoperator"), not REDONE),
    "target": (PLAIN, option(target="avx2"), REDONE),
    "the target it chooses": (PLAIN, option(target="vnni"), not REDONE),
    "runtime": (PLAIN, option(runtime="openvino"), REDONE),  # for the target that it reads
    "runtime, the target named": ({"target": "openvino"}, option(runtime="openvino"), not REDONE),
    "runtime that is measured in": (SEARCHED | {"target": "openvino"}, option(runtime="openvino"), REDONE),
    "scales": (PLAIN, option(per_channel=False), REDONE),
    "the scales it chooses": (PLAIN, option(per_channel=True), not REDONE),
    "bias correction": (PLAIN, option(bias_correction=False), REDONE),
    "convolutions kept": (PLAIN, option(keep_float=["branch"]), REDONE),
    "the same ones in other words": ({"keep_float": ["branch"]}, option(keep_float=["bran.h"]), not REDONE),
    "classes": (PLAIN, interface(classes=("ground", *VOC_CLASSES[1:])), REDONE),
    "refine": (PLAIN, option(**REFINED), REDONE),
    "max drop": (PLAIN, option(**SEARCHED), REDONE),
    "another max drop": (SEARCHED, option(max_drop=2.0), REDONE),
    "min agreement": (PLAIN, option(min_agreement=0.5), REDONE),
    "another min agreement": ({"min_agreement": 0.5}, option(min_agreement=0.4), REDONE),
    "truth, by agreement": ({"min_agreement": 0.5}, other_truth, not REDONE),
    "a CPU of the same kind": (PLAIN, cpu(replace(VNNI, model="b", cores=9)), not REDONE),
    "a CPU that chooses another target": (PLAIN, cpu(VNNI.saturating()), REDONE),
    "a CPU that saturates what it tries": (SEARCHED | {"target": "vnni"}, cpu(VNNI.saturating()), REDONE),
    "one that saturates, nothing tried": ({"target": "vnni"}, cpu(VNNI.saturating()), not REDONE),
    "one that saturates what cannot": (SEARCHED | {"target": "avx2"}, cpu(VNNI.saturating()), not REDONE),
    "truth": (PLAIN, other_truth, not REDONE),
    "truth that is scored": (SEARCHED, other_truth, REDONE),
    "truth elsewhere": (SEARCHED, truth_elsewhere, not REDONE),
    "masks": (PLAIN, with_masks, not REDONE),
    "masks that are scored": (SEARCHED, with_masks, REDONE),
    "label map": (PLAIN, with_label_map, not REDONE),
    "label map that is scored": (SEARCHED, with_label_map, REDONE),
    "truth, refined": (REFINED, other_truth, not REDONE),
    "output that is read": (PLAIN, interface(output_name="body"), REDONE),  # the card says so
    "the output it reads": (SEARCHED, interface(output_name="out"), not REDONE),
    "pycocotools": (PLAIN, with_version("pycocotools"), not REDONE),
    "pycocotools, scored": (SEARCHED, with_version("pycocotools"), REDONE),
    "Neural Compressor": (PLAIN, with_version("neural-compressor"), not REDONE),
    "Neural Compressor, used": (
        {"backend": "neural-compressor", "max_drop": None},
        with_version("neural-compressor"),
        REDONE,
    ),
}


def without_progress(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "progress"}


def job_of_quantize(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """What an int8 model must have been made from to be up to date."""
    found: list[str] = []

    def stop(path: Path, job: str, *_: object) -> None:
        found.append(job)
        raise StoppedError

    monkeypatch.setattr(quantizing, "up_to_date", stop)
    with pytest.raises(StoppedError):
        quantize(QuantizeOptions(**without_progress(options)), progress=options.get("progress", SILENT))
    return found[0]


@pytest.mark.parametrize("name", QUANTIZE)
def test_quantize(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked, change, redone = QUANTIZE[name]
    choice = ImageChoice(folder / "coco/val2017", limit=3)
    options = {"model": folder / "m.onnx", "choice": choice, "interface": Interface(), **asked}
    before = job_of_quantize(options, monkeypatch)
    change(options, folder, monkeypatch)
    assert (job_of_quantize(options, monkeypatch) != before) == redone


@pytest.mark.parametrize("searched", [False, True])
def test_journals_of_a_run_that_was_killed_as_it_ended_go_with_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch, searched: bool
) -> None:
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    options = QuantizeOptions(
        model=folder / "m.onnx",
        choice=ImageChoice(folder / "coco/val2017", limit=2),
        output=folder / "int8.onnx",
        interface=Interface(output_name="out"),
        max_drop=60.0 if searched else None,
    )
    with monkeypatch.context() as killed:
        killed.setattr(Journal, "remove", Journal.close)
        quantize(options)
    assert len(list(folder.glob(".int8.onnx.*.journal"))) == 1 + searched
    assert quantize(options).skipped
    assert not list(folder.glob(".int8.onnx.*.journal"))


def test_quantize_on_another_split_or_by_another_label_map(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"model": folder / "m.onnx", "choice": ImageChoice(write_voc(folder), limit=1)}
    before = job_of_quantize(options, monkeypatch)
    for split, redone in (("val", False), ("train", True)):
        options["choice"] = ImageChoice(folder / "VOCdevkit", limit=1, split=split)
        assert (job_of_quantize(options, monkeypatch) != before) == redone
    options = {"model": folder / "m.onnx", "choice": ImageChoice(folder / "coco/val2017", limit=3), **SEARCHED}
    jobs = {job_of_quantize(options, monkeypatch)}
    for change in (with_masks, with_label_map):
        change(options, folder, monkeypatch)
        jobs.add(job_of_quantize(options, monkeypatch))
    assert len(jobs) == 3


def test_quantize_from_a_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"model": folder / "m.onnx", "ranges": folder / "t.json"}
    choice = ImageChoice(folder / "coco/val2017", limit=3)
    calibrate(CalibrateOptions(model=options["model"], choice=choice, output=folder / "t.json"))
    before = job_of_quantize(options, monkeypatch)
    another_image(options, folder, None)
    with_version("pillow")(options, folder, monkeypatch)
    assert job_of_quantize(options, monkeypatch) == before
    calibrate(CalibrateOptions(model=options["model"], choice=choice, output=folder / "t.json"))
    assert job_of_quantize(options, monkeypatch) != before


CALIBRATE: dict[str, tuple[Change, bool]] = EVERYWHERE | {
    "workers": (option(running=Running(workers=2)), not REDONE),
    "bad images are skipped": (option(skip_bad_images=True), not REDONE),
    "histograms": (option(histograms=Path("h.npz")), not REDONE),
    "method": (option(method="kl"), not REDONE),
    "levels": (option(levels="s8"), not REDONE),
    "output that is read": (interface(output_name="body"), not REDONE),
    "truth": (other_truth, not REDONE),
    "masks": (with_masks, not REDONE),
    "label map": (with_label_map, not REDONE),
    "a CPU with other kernels": (cpu(VNNI.saturating()), REDONE),
}
"""What was observed is kept until all is; it serves every method."""


def job_of_calibrate(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Which interrupted run a calibration would continue."""
    found: list[str] = []

    def stop(*_: object, journal: Journal, **__: object) -> None:
        found.append(journal._job)
        raise StoppedError

    monkeypatch.setattr(observing, "observe", stop)
    with pytest.raises(StoppedError):
        calibrate(CalibrateOptions(**without_progress(options)), progress=options.get("progress", SILENT))
    return found[0]


@pytest.mark.parametrize("name", CALIBRATE)
def test_calibrate(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    change, redone = CALIBRATE[name]
    choice = ImageChoice(folder / "coco/val2017", limit=3)
    options = {"model": folder / "m.onnx", "choice": choice, "interface": Interface()}
    before = job_of_calibrate(options, monkeypatch)
    change(options, folder, monkeypatch)
    assert (job_of_calibrate(options, monkeypatch) != before) == redone


SENSITIVITY: dict[str, tuple[Change, bool]] = (
    EVERYWHERE
    | {
        "threads": (option(threads=1), REDONE),  # times are among the numbers
        "output": (option(report=Path("elsewhere")), not REDONE),
        "method": (option(method="kl"), REDONE),
        "the default method": (option(method="mse"), not REDONE),
        "a percentile": (option(method="percentile", percentile=99.9), REDONE),
        "form": (option(format="qdq"), REDONE),
        "target": (option(target="avx2"), REDONE),
        "the target it chooses": (option(target="vnni"), not REDONE),
        "scales": (option(per_channel=False), REDONE),
        "bias correction": (option(bias_correction=False), REDONE),
        "images of a trial": (option(trial_images=2), REDONE),
        "classes": (interface(classes=("ground", *VOC_CLASSES[1:])), REDONE),
        "output that is read": (interface(output_name="body"), REDONE),
        "truth": (other_truth, not REDONE),
        "a CPU with other kernels": (cpu(VNNI.saturating()), REDONE),
    }
)


@pytest.mark.parametrize("name", SENSITIVITY)
def test_sensitivity(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found: list[str] = []

    def stop(_: Path, job: str) -> None:
        found.append(job)
        raise StoppedError

    monkeypatch.setattr(trying, "up_to_date", stop)
    change, redone = SENSITIVITY[name]
    options: dict[str, Any] = {"model": folder / "m.onnx", "choice": ImageChoice(folder / "coco/val2017", limit=3)}
    options["interface"] = Interface()
    for step in (option(), change):
        step(options, folder, monkeypatch)
        asked = SensitivityOptions(**without_progress(options))
        with pytest.raises(StoppedError):
            sensitivity(asked, progress=options.get("progress", SILENT))
    assert (found[0] != found[1]) == redone


def checkpoint(folder: Path, scale: float = 1.0, name: str = "w.pth") -> str:
    import torch

    from fcn_onnx.networks.building import build_network

    state = build_network("tiny", "DEFAULT").network.state_dict()
    state["classifier.4.bias"] *= scale
    torch.save(state, folder / name)
    return str(folder / name)


def hint(**changed: Any) -> Change:
    return option(hints=InputHints(**changed))


def other_names(options: dict[str, Any], folder: Path, _: object) -> None:
    (folder / "names.txt").write_text("\n".join(("ground", *VOC_CLASSES[1:])))
    options["classes"] = str(folder / "names.txt")


def moved_checkpoint(options: dict[str, Any], folder: Path, _: object) -> None:
    (folder / "sub").mkdir()
    options["weights"] = str(Path(options["weights"]).rename(folder / "sub" / "w.pth"))


EXPORT: dict[str, tuple[Change, bool]] = {
    "nothing": (option(), not REDONE),
    "output": (option(output=Path("elsewhere.onnx")), not REDONE),
    "progress": (option(progress=SilentProgress()), not REDONE),
    "test data": (option(test_data=True), not REDONE),
    "opset": (option(opset=13), REDONE),
    "aux": (option(aux=False), REDONE),
    "size": (option(size=(64, 96)), REDONE),
    "labels": (option(output_labels=True), REDONE),
    "half": (option(fp16=True), REDONE),
    "weights": (option(weights="none"), REDONE),
    "architecture": (option(arch="resnet50", weights="none"), REDONE),
    "classes": (other_names, REDONE),
    "the classes it has": (option(classes=21), not REDONE),
    "mean": (hint(mean=(0.0, 0.0, 0.0)), REDONE),
    "std": (hint(std=(1.0, 1.0, 1.0)), REDONE),
    "channels": (hint(channels="BGR"), REDONE),
    "multiple of": (hint(multiple_of=8), REDONE),
    "the mean it has": (hint(mean=IMAGENET_MEAN), not REDONE),
    "the architecture it is recognised as": (option(arch=None), not REDONE),
    "the aux it has": (option(aux=True), not REDONE),
    "checkpoint": (lambda options, folder, _: checkpoint(folder, 2.0), REDONE),
    "place of the checkpoint": (moved_checkpoint, not REDONE),
    "form of our files": (another_form, REDONE),
    "torch": (with_version("torch"), REDONE),
    "onnxscript": (with_version("onnxscript"), REDONE),
    "Pillow": (with_version("pillow"), not REDONE),
    "Neural Compressor": (with_version("neural-compressor"), not REDONE),
}


def job_of_export(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    found: list[str] = []

    def stop(_: object, job: str) -> None:
        found.append(job)
        raise StoppedError

    monkeypatch.setattr(exporter.ModelCard, "for_job", stop)
    with pytest.raises(StoppedError):
        export(ExportOptions(**without_progress(options)), progress=options.get("progress", SILENT))
    return found[0]


@pytest.mark.parametrize("name", EXPORT)
def test_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    change, redone = EXPORT[name]
    options = {"arch": "tiny", "weights": checkpoint(tmp_path)}
    before = job_of_export(options, monkeypatch)
    change(options, tmp_path, monkeypatch)
    assert (job_of_export(options, monkeypatch) != before) == redone


OWN = """
import torch

def build():
    class Net(torch.nn.Conv2d):
        def forward(self, x):
            return {{"logits": super().forward(x)}}

    return Net(3, {classes}, 3, padding=1)
"""
OWN_NETWORK: dict[str, tuple[Change, bool]] = {
    "nothing": (option(), not REDONE),
    "opset": (option(opset=13), REDONE),
    "the code": (lambda options, folder, _: (folder / "own.py").write_text(OWN.format(classes=4)), REDONE),
    "the code, not what it computes": (
        lambda options, folder, _: (folder / "own.py").write_text("# mine\n" + OWN.format(classes=3)),
        not REDONE,
    ),
    "size": (option(size=(64, 96)), REDONE),
    "name of what is returned": (option(output_name="logits"), REDONE),
    "random": (option(weights="none"), REDONE),  # the same values under another name
}


@pytest.mark.parametrize("name", OWN_NETWORK)
def test_export_of_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Known by what it computes, however that is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN.format(classes=3))
    change, redone = OWN_NETWORK[name]
    options: dict[str, Any] = {"network": "own:build"}
    jobs = []
    for step in (option(), change):
        step(options, tmp_path, monkeypatch)
        monkeypatch.delitem(sys.modules, "own", raising=False)
        importlib.invalidate_caches()
        jobs.append(job_of_export(options, monkeypatch))
    assert (jobs[0] != jobs[1]) == redone


def test_what_is_up_to_date_is_so_by_name_and_by_choice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From end to end: `auto`, then the same target by name; then a model with other weights in its place."""
    options: dict[str, Any] = {"choice": ImageChoice(folder / "coco/val2017", limit=2), "output": folder / "i.onnx"}
    assert not quantize(QuantizeOptions(model=folder / "m.onnx", **options)).skipped
    assert quantize(QuantizeOptions(model=folder / "m.onnx", target="vnni", format="qoperator", **options)).skipped
    save(residual_network(1), folder / "m.onnx")
    assert not quantize(QuantizeOptions(model=folder / "m.onnx", **options)).skipped
