"""The stage `predict`: photographs in, label maps and pictures of them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.frames import read_frames
from fcn_onnx.data.images import read_rgb, require_file, upright
from fcn_onnx.data.label_spaces import label_space
from fcn_onnx.data.palette import draw_legend, label_image, overlay
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.folder import images_below
from fcn_onnx.errors import OutputError, UsageError
from fcn_onnx.jobs.artifact import (
    atomic_folder,
    digest_files,
    digest_json,
    job_digest,
    require_distinct,
    require_writable,
)
from fcn_onnx.jobs.engines import executor_of
from fcn_onnx.jobs.fold import Rows, fold
from fcn_onnx.jobs.journal import Journals, nearest_folder
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.jobs.records import Arrays
from fcn_onnx.model.files import digest_model
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.looking import Eye
from fcn_onnx.runtime.memory import Room
from fcn_onnx.runtime.onnxruntime import measured_cpu
from fcn_onnx.runtime.seam import RUNTIMES, SessionConfig, get_runtime
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages.options import PredictOptions
from fcn_onnx.stages.running import footprint_of

__all__ = ["KINDS", "Picture", "Prediction", "predict", "predict_frames", "read_frames"]

KINDS: Mapping[str, str] = {"overlay": ".jpg", "labels": ".png", "confidence": ".png"}
"""What is drawn of an image, and as which kind of file."""


PREDICTIONS = Path("predictions")


@dataclass(frozen=True)
class Picture:
    """What the model saw in one image, at the image's own size.

    Attributes:
        labels: palette image whose pixel values are the labels.
        overlay: the photograph with the classes blended over it.
        confidence: grey image, 255 · probability of the label; None where the model returns labels only.
        shares: share of the pixels by class name, largest first.
    """

    labels: Image.Image
    overlay: Image.Image
    confidence: Image.Image | None
    shares: dict[str, float]

    def save(self, image: Path, result: Path) -> Prediction:
        """Write the pictures of `image`, all or none, to files whose names begin with `result`."""
        where = _prediction(image, result, self.shares, rated=self.confidence is not None)
        with atomic_folder(result.parent) as folder:
            self.labels.save(folder / where.labels.name)
            self.overlay.save(folder / where.overlay.name, quality=92)
            if self.confidence is not None and where.confidence is not None:
                self.confidence.save(folder / where.confidence.name)
        return where


@dataclass(frozen=True)
class Prediction:
    """Where the pictures of one image are; see `Picture`."""

    image: Path
    labels: Path
    overlay: Path
    confidence: Path | None
    shares: dict[str, float]


def predict(options: PredictOptions, *, progress: Progress = SILENT) -> tuple[Prediction, ...]:
    """Segment photographs and write `<name>-labels.png`, `<name>-overlay.jpg` and `<name>-confidence.png`.

    An image is turned upright as its EXIF says, normalised at its own size (a fixed-size model gets it resized),
    and labelled with the argmax of `out`, as the ONNX model zoo's FCN notebook does; with tiles, in pieces, as
    `fcn_onnx.model.tiling` has it. Images of a folder are taken with
    those of its subfolders, and their results lie in the same subfolders of the output. An interrupted run continues.

    Raises:
        UsageError: no image, or two whose results would have the same name.
        ImageError, ModelError, OutputError: see the message.
    """
    model, output = options.model, options.output or PREDICTIONS
    files = files_of(options.images, output)
    require_distinct(
        {f"the {kind} of {path}": output / _named(name, kind) for path, name in files.items() for kind in KINDS},
        {"the model": model} | {f"the image {path}": path for path in files},
    )
    interface, opened = open_settled(options, progress)
    painter = Painter.of(options, interface, opened)
    eye = painter.eye
    footprint = footprint_of([model], [Sample(str(path), str(path), path) for path in files], eye.preprocessing)
    executor = executor_of(options.running, options.threads, progress, footprint)
    job = job_digest(
        "predict",
        "pillow",
        RUNTIMES[options.runtime].package,
        model=digest_model(model),
        images=list(zip(map(str, files), digest_files(list(files), progress), strict=True)),
        cpu=measured_cpu().kernels(),
        how=[
            options.runtime,
            eye.preprocessing.to_json(),
            eye.segmenter.output,
            list(eye.segmenter.classes),
            options.legend,
            str(eye.grid),
        ],
    )
    rows = Rows(painter.to_arrays, lambda name, arrays: painter.from_arrays(items[name], arrays))
    items = {str(path): (path, output / result) for path, result in files.items()}
    with _made(output), Journals(output, wait_s=options.wait, progress=progress) as journals:
        fold(
            _Drawing(painter, options, interface, executor.share(SessionConfig(threads=options.threads).thread_count)),
            items,
            rows,
            executor=executor,
            journal=journals.of(job),
            progress=progress,
            label="predicting",
        )
    return tuple(rows.in_order(items))


def predict_frames(
    options: PredictOptions, frames: Iterable[tuple[str, Image.Image]], *, progress: Progress = SILENT
) -> Iterator[tuple[str, Picture]]:
    """Segment frames as they come, such as those of `read_frames`, instead of the options' images; nothing is kept.

    Args:
        frames: names, and RGB images of any size.

    Raises:
        ImageError, ModelError: see the message.
    """
    painter = Painter.of(options, *open_settled(options, progress))
    for name, photograph in frames:
        yield name, painter.paint(photograph, name)


Named = tuple[Path, Path]
"""An image, and what the names of its results begin with."""


@dataclass(frozen=True)
class _Drawing:
    """The task that draws what a model sees in an image; another process that gets it opens the model itself.

    Attributes:
        options, interface: what the painter was made with.
        threads: of the sessions of other processes.
    """

    painter: Painter
    options: PredictOptions
    interface: Interface
    threads: int

    def __reduce__(self) -> tuple[Callable[..., _Drawing], tuple[PredictOptions, Interface]]:
        return _redrawing, (replace(self.options, threads=self.threads), self.interface)

    def load(self, named: Named) -> tuple[Named, Image.Image]:
        return named, upright(named[0], read_rgb(named[0]))

    def open(self) -> Callable[[tuple[Named, Image.Image]], Prediction]:
        def draw(loaded: tuple[Named, Image.Image]) -> Prediction:
            (image, result), photograph = loaded
            return self.painter.paint(photograph, str(image)).save(image, result)

        return draw


def _redrawing(options: PredictOptions, interface: Interface) -> _Drawing:
    return _Drawing(Painter.of(options, interface), options, interface, options.threads)


def open_settled(options: PredictOptions, progress: Progress) -> tuple[Interface, Model]:
    """The model, what it does not say itself, settled; and what a reader of its results must know, said."""
    model = Model.open(options.model)
    interface = settle([model], options.interface, progress)
    if remark := get_runtime(options.runtime).remark:
        progress.note(remark)
    return interface, model


class Painter:
    """What an eye sees, as pictures."""

    def __init__(self, eye: Eye, *, legend: bool) -> None:
        self.eye = eye
        self._legend = legend
        self._classes = eye.segmenter.classes
        self._space = label_space(self._classes)

    @classmethod
    def of(cls, options: PredictOptions, interface: Interface, model: Model | None = None) -> Painter:
        """Open the model that the options name, unless it is."""
        config = SessionConfig(threads=options.threads)
        segmenter = Segmenter(model or options.model, config, interface, options.runtime)
        return cls(Eye(segmenter, Room(options.model), options.tiling), legend=options.legend)

    def paint(self, photograph: Image.Image, name: str) -> Picture:
        """Everything that is drawn of one photograph."""
        seen = self.eye.look(photograph, name)
        blended = overlay(photograph, seen.labels, self._space)
        shares = _shares(seen.labels, self._classes)
        if self._legend:
            blended = draw_legend(blended, map(self._classes.index, shares), self._space)
        confidence = None if seen.confidence is None else Image.fromarray(seen.confidence)
        return Picture(label_image(seen.labels, self._space), blended, confidence, shares)

    def to_arrays(self, prediction: Prediction) -> Arrays:
        """What the journal keeps of a prediction: the shares by label, and which pictures there are.

        Raises:
            OutputError: there are none, as another machine's folder of that name has them.
        """
        if not prediction.labels.is_file():
            raise OutputError(
                f"a worker wrote {prediction.labels}, and it is not here",
                fix="name an --output folder that every node has under the same path",
            )
        return {
            "shares": np.array([prediction.shares.get(name, 0.0) for name in self._classes]),
            "rated": np.array(prediction.confidence is not None),
            "pictures": np.array(_digest(prediction)),
        }

    def from_arrays(self, named: Named, arrays: Arrays) -> Prediction:
        """The inverse of `to_arrays`. Raises ValueError if the pictures are not those any more."""
        shares = dict(zip(self._classes, arrays["shares"].tolist(), strict=True))
        prediction = _prediction(*named, shares, rated=bool(arrays["rated"]))
        if _digest(prediction) != str(arrays["pictures"]):
            raise ValueError(f"the pictures of {named[0]} have changed")
        return prediction


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder is there from now on; if nothing came into it, it goes again."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder", fix="name a folder to write into")
    require_writable(nearest_folder(folder) / "x")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def files_of(images: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Image files, and what their results are called, relative to the output folder and without a suffix."""
    files: dict[Path, Path] = {}
    for path in images:
        if not path.is_dir():
            files[path] = Path(path.stem)
            continue
        found = images_below(path)
        ours = output.resolve()
        files |= {p: p.relative_to(path).with_suffix("") for p in found if not p.resolve().is_relative_to(ours)}
    for path in files:
        require_file(path)
    if not files:
        raise UsageError("no image to segment", fix="name at least one image file, or a folder that holds some")
    name, number = Counter(files.values()).most_common(1)[0]
    if number > 1:
        same = " and ".join(str(path) for path, other in files.items() if other == name)
        raise UsageError(
            f"the results of {same} would both be called {name}", fix="predict them into different --output folders"
        )
    return files


def _digest(prediction: Prediction) -> str:
    """Of the pictures on disk."""
    pictures = [prediction.labels, prediction.overlay, prediction.confidence]
    return digest_json(digest_files([path for path in pictures if path]))


def _prediction(image: Path, result: Path, shares: dict[str, float], *, rated: bool) -> Prediction:
    """Where the pictures of `image` are; `result` is what their names begin with."""
    return Prediction(
        image=image,
        labels=_named(result, "labels"),
        overlay=_named(result, "overlay"),
        confidence=_named(result, "confidence") if rated else None,
        shares={name: share for name, share in sorted(shares.items(), key=lambda item: -item[1]) if share},
    )


def _named(result: Path, kind: str) -> Path:
    """The file of one kind of picture."""
    return result.with_name(f"{result.name}-{kind}{KINDS[kind]}")


def _shares(labels: NDArray[np.uint8], classes: Sequence[str]) -> dict[str, float]:
    numbers = np.bincount(labels.ravel(), minlength=len(classes))
    order = np.argsort(-numbers, kind="stable")
    return {classes[i]: float(numbers[i] / labels.size) for i in order if numbers[i]}
