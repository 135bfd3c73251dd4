"""The stage `bundle`: a model in a folder that needs onnxruntime, numpy and Pillow alone, and that has been run once.

What `predict` knows of the model is written down in bundle.json, and a script of sixty lines does what it says. Before
the folder gets its name, the script labels a picture in a process that can import those three packages and no others.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcn_onnx.data import opencv
from fcn_onnx.data.images import read_rgb, upright
from fcn_onnx.data.label_spaces import label_space
from fcn_onnx.data.palette import label_image, palette_of
from fcn_onnx.data.preprocess import GREY, PILLOW
from fcn_onnx.errors import OutputError
from fcn_onnx.jobs.artifact import atomic_folder, claim_outputs, dump_json
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.files import save_model
from fcn_onnx.model.labels import Meaning
from fcn_onnx.model.model import Model
from fcn_onnx.model.taps import path_to
from fcn_onnx.runtime import bundled
from fcn_onnx.runtime.looking import Eye
from fcn_onnx.runtime.memory import Room
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages.bundle_options import BundleOptions
from fcn_onnx.stages.bundle_texts import dockerfile, readme, requirements
from fcn_onnx.stages.bundle_trial import tried

TILE = (1024, 1024)
"""What a model of any size is shown at once, unless the user says otherwise."""

SCENE = (320, 1200)
"""(height, width) of the synthetic scene: wider than a tile."""

MODEL, CONFIG, TEST, LABELS, OPENCV = "model.onnx", "bundle.json", "test.png", "test-labels.png", "opencv.py"
SCRIPTS = ("segment.py", "check.py")
TEXTS = ("README.md", "requirements.txt", "Dockerfile")
FILES = (MODEL, CONFIG, TEST, LABELS, *SCRIPTS, *TEXTS)


@dataclass(frozen=True)
class Bundle:
    """The result of `bundle`.

    Attributes:
        folder: what was written, with these
        files: in it, sorted.
        labels: `sha256:<hex>` of the labels of its test image, row by row, one byte each, as both `predict` and the
            script found them.
        config: what bundle.json holds.
    """

    folder: Path
    files: tuple[str, ...]
    labels: str
    config: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The object that `bundle --json` writes."""
        return {"output": str(self.folder), "files": list(self.files), "labels": self.labels, "config": self.config}


def bundle(options: BundleOptions, *, progress: Progress = SILENT) -> Bundle:
    """Write a folder that serves a model, when its script has been seen to label as `predict` does.

    Raises:
        UsageError: tiles that the model does not take.
        ModelError: it cannot be read or run.
        ImageError: the test image cannot be read.
        OutputError: the folder cannot be written, or the model's data file is called as a file of the bundle is.
        BundleError: the script does not run, or labels otherwise.
    """
    model = Model.open(options.model)
    outputs: dict[str, Path | None] = {
        f"{name} of --output": options.output / name for name in (*_data_names(model), *FILES)
    }
    claim_outputs(outputs, {"the model": model.path, "--image": options.image} | _data(model))
    eye = _eye(options, model, progress)
    picture = _picture(options.image)
    progress.note(f"labelling the test image, {picture.width}×{picture.height}")
    labels = eye.look(picture, TEST).labels
    config = _config(model, eye, labels)
    with atomic_folder(options.output) as folder:
        _place(model, eye.segmenter.output, folder)
        for name in SCRIPTS:
            shutil.copyfile(Path(*bundled.__path__) / name, folder / name)
        if config["opencv"]:
            shutil.copyfile(opencv.__file__, folder / OPENCV)
        picture.save(folder / TEST)
        label_image(labels, label_space(eye.segmenter.classes)).save(folder / LABELS)
        (folder / CONFIG).write_text(dump_json(config), encoding="utf-8")
        for name, text in zip(TEXTS, (readme(model, config), requirements(), dockerfile()), strict=True):
            (folder / name).write_text(text, encoding="utf-8")
        progress.note("labelling it again, with onnxruntime, numpy and Pillow alone")
        tried(folder, config["test_labels"])
        files = tuple(sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()))
    return Bundle(options.output, files, config["test_labels"], config)


def _data_names(model: Model) -> dict[str, Path]:
    """The model's data files, by where they lie beside it, as it refers to them."""
    names = {file.resolve().relative_to(model.path.parent.resolve()).as_posix(): file for file in model.data}
    if taken := names.keys() & {*FILES, OPENCV}:
        raise OutputError(
            f"{model.path} keeps weights in {min(taken)}, as a file of the bundle is called",
            fix="save the model with its data under another name",
        )
    return names


def _place(model: Model, output: str, folder: Path) -> None:
    """The model as it is; or, where it has other outputs too, what the one that is read needs."""
    if len(model.proto.graph.output) > 1:
        save_model(path_to(model.proto, output), folder / MODEL)
        return
    shutil.copyfile(model.path, folder / MODEL)
    for name, file in _data_names(model).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)


def _data(model: Model) -> dict[str, Path | None]:
    return {f"the data file {file.name} of {model.path}": file for file in model.data}


def _eye(options: BundleOptions, model: Model, progress: Progress) -> Eye:
    """The model as `predict` looks with it, with tiles where it takes any size."""
    segmenter = Segmenter(model, interface=settle([model], options.interface, progress))
    tiling = options.tiling
    if tiling.tile is None and segmenter.fixed_size is None:
        tiling = replace(tiling, tile=TILE)
    return Eye(segmenter, Room(model.path), tiling)


def _picture(image: Path | None) -> Image.Image:
    """The test image, upright."""
    if image is not None:
        return upright(image, read_rgb(image))
    from fcn_onnx.demo.layout import compose

    return compose(0, 1, SCENE).image.convert("RGB")


def _config(model: Model, eye: Eye, labels: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    """All that the script is to know, as plain values."""
    segmenter, shown, grid = eye.segmenter, eye.preprocessing, eye.grid
    form, grey = segmenter.network.form, shown.channels == GREY
    order = [0] if grey else [2, 1, 0] if shown.channels == "BGR" else [0, 1, 2]
    size = shown.resize.size
    scaled: list[Any] = [["divide", [shown.divisor]]]
    scaled += [["subtract", [shown.mean[c] for c in order]], ["divide", [shown.std[c] for c in order]]]
    by_opencv = size is not None and shown.resample != PILLOW
    resized = [[shown.resample, [size[1], size[0]]]] if size is not None and by_opencv else []
    classes = segmenter.classes
    space = label_space(classes)
    return {
        "model": MODEL,
        "digest": model.digest,
        "input": form.name,
        "output": segmenter.output,
        "classes": list(classes),
        "palette": palette_of(space)[: len(classes)].ravel().tolist(),
        "mode": "L" if grey else "RGB",
        "resize": [size[1], size[0]] if size is not None and not by_opencv else None,
        "channels": order,
        "opencv": by_opencv,
        "steps": scaled + resized if shown.resizes_floats else resized + scaled,
        "multiple_of": list(grid.tile) if grid and grid.fixed else [form.multiple_of] * 2,
        "colour": form.colour,
        "batch": form.batch or 1,
        "layout": [0, 1, 2, 3] if form.layout.channels_last else [0, 3, 1, 2],
        "dtype": form.dtype.__name__,
        "tile": list(grid.tile) if grid else None,
        "step": [grid.step(side) for side in grid.tile] if grid else None,
        "fixed": bool(grid and grid.fixed),
        **_returned(segmenter),
        "test_labels": "sha256:" + hashlib.sha256(labels.tobytes()).hexdigest(),
    }


def _returned(segmenter: Segmenter) -> dict[str, Any]:
    """Where the classes lie in what the model returns, and what its values are."""
    height, width = (own or 64 * segmenter.network.form.multiple_of for own in segmenter.network.form.size)
    channels = segmenter.network.form.layout.channels
    value = segmenter.run(np.zeros((1, channels, height, width), np.float32))
    segmenter.require_classes(value)
    axes = segmenter.axes(value.shape)
    assert axes is not None  # what was required
    absent: Sequence[int] = [place for place, axis in ((0, axes.batch), (1, axes.planes)) if axis is None]
    planes = 1 if axes.planes is None else axes.planes + (axes.batch is None)
    count = 1 if axes.planes is None else value.shape[axes.planes]
    one = segmenter.meaning is not Meaning.LABELS and count < len(segmenter.classes)
    return {
        "missing": list(absent),
        "axes": [0, planes],
        "of_two": int(segmenter.meaning is Meaning.PROBABILITIES) if one else None,
        "labels": segmenter.meaning is Meaning.LABELS,
    }
