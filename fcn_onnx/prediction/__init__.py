"""The stage `predict`: photographs in, label maps and pictures of them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.artifact import (
    atomic_folder,
    digest_files,
    digest_json,
    job_digest,
    require_distinct,
    require_writable,
)
from fcn_onnx.data.folder import EXTENSIONS
from fcn_onnx.data.images import read_rgb, upright
from fcn_onnx.data.palette import draw_legend, label_image, overlay
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import OutputError, UsageError
from fcn_onnx.jobs.prefetch import prefetch
from fcn_onnx.journal import Arrays, Journal, State, journal_path, nearest_folder
from fcn_onnx.model.files import digest_model
from fcn_onnx.prediction.frames import read_frames
from fcn_onnx.progress import SILENT, Progress
from fcn_onnx.runtime import SessionConfig, measured_cpu
from fcn_onnx.segmenter import Interface, Segmenter, on_grid
from fcn_onnx.settling import settle

__all__ = ["KINDS", "Picture", "Prediction", "predict", "predict_frames", "read_frames"]

KINDS: Mapping[str, str] = {"overlay": ".jpg", "labels": ".png", "confidence": ".png"}
"""What is drawn of an image, and as which kind of file."""


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


def predict(
    model: Path,
    images: Sequence[Path],
    *,
    output: Path = Path("predictions"),
    legend: bool = True,
    interface: Interface = Interface(),
    threads: int = 0,
    progress: Progress = SILENT,
) -> tuple[Prediction, ...]:
    """Segment photographs and write `<name>-labels.png`, `<name>-overlay.jpg` and `<name>-confidence.png`.

    An image is turned upright as its EXIF says, normalised at its own size (a fixed-size model gets it resized),
    and labelled with the argmax of `out`, as the ONNX model zoo's FCN notebook does. An interrupted run continues.

    Args:
        model: an ONNX file that returns logits or labels.
        images: image files, and folders, whose images are taken with those of their subfolders; the results lie in the
            same subfolders of `output`.
        output: a folder; created if need be.
        legend: name the classes in the overlay.
        interface: of the model, where it does not say it itself.

    Raises:
        UsageError: no image, or two whose results would have the same name.
        ImageError, ModelError, OutputError: see the message.
    """
    files = _files(images, output)
    require_distinct(
        {f"the {kind} of {path}": output / _named(name, kind) for path, name in files.items() for kind in KINDS},
        {"the model": model} | {f"the image {path}": path for path in files},
    )
    eye = _Eye(model, settle([model], interface, progress), threads, legend=legend)
    job = job_digest(
        "predict",
        "pillow",
        model=digest_model(model),
        images=list(zip(map(str, files), digest_files(list(files), progress), strict=True)),
        cpu=measured_cpu().kernels(),
        how=[eye.preprocessing.to_json(), eye.segmenter.output, list(eye.segmenter.classes), legend],
    )
    with _made(output), Journal(journal_path(output), job, progress=progress) as journal:
        done = _finished(journal.load(), files, output, eye.segmenter.classes)
        digests = {path: _digest(prediction) for path, prediction in done.items()}
        remaining = [path for path in files if path not in done]

        def state() -> Arrays:
            shares = [[p.shares.get(name, 0.0) for name in eye.segmenter.classes] for p in done.values()]
            return {"shares": np.array(shares), "digests": np.array(list(digests.values()))}

        loaded = prefetch(lambda path: upright(path, read_rgb(path)), remaining)
        for path, photograph in progress.track(loaded, total=len(files), label="predicting", done=len(done)):
            done[path] = eye.look(photograph, str(path)).save(path, output / files[path])
            digests[path] = _digest(done[path])
            journal.save(state, [str(p) for p in done])
    return tuple(done[path] for path in files)


def predict_frames(
    model: Path,
    frames: Iterable[tuple[str, Image.Image]],
    *,
    legend: bool = True,
    interface: Interface = Interface(),
    threads: int = 0,
    progress: Progress = SILENT,
) -> Iterator[tuple[str, Picture]]:
    """Segment frames as they come, such as those of `read_frames`; nothing is kept.

    Args:
        frames: names, and RGB images of any size.

    Raises:
        ImageError, ModelError: see the message.
    """
    eye = _Eye(model, settle([model], interface, progress), threads, legend=legend)
    for name, photograph in frames:
        yield name, eye.look(photograph, name)


class _Eye:
    """A model that photographs are shown at their own size, or at its one size."""

    def __init__(self, model: Path, interface: Interface, threads: int, *, legend: bool) -> None:
        self.segmenter = Segmenter(model, SessionConfig(threads=threads), interface)
        self.preprocessing: Preprocessing = replace(
            self.segmenter.preprocessing, resize=Resize(size=self.segmenter.fixed_size)
        )
        self._legend = legend

    def look(self, photograph: Image.Image, name: str) -> Picture:
        """Everything that is drawn of one photograph."""
        value = self.segmenter.run(self.preprocessing(photograph))
        grid = photograph.height, photograph.width
        labels = on_grid(self.segmenter.labels(value, name), grid)
        scores = self.segmenter.scores(value, name)
        confidence = None
        if scores is not None:
            probability = self.segmenter.certainty(scores, name)
            confidence = Image.fromarray(on_grid(np.rint(255 * probability).astype(np.uint8), grid))
        blended = overlay(photograph, labels)
        shares = _shares(labels, self.segmenter.classes)
        if self._legend:
            numbers = {name: number for number, name in enumerate(self.segmenter.classes)}
            blended = draw_legend(blended, {numbers[name]: name for name in shares if numbers[name]})
        return Picture(label_image(labels), blended, confidence, shares)


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


def _files(images: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Image files, and what their results are called, relative to the output folder and without a suffix."""
    files: dict[Path, Path] = {}
    for path in images:
        if not path.is_dir():
            files[path] = Path(path.stem)
            continue
        found = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in EXTENSIONS and p.is_file()]
        ours = output.resolve()
        files |= {p: p.relative_to(path).with_suffix("") for p in found if not p.resolve().is_relative_to(ours)}
    if not files:
        raise UsageError("no image to segment", fix="name at least one image file, or a folder that holds some")
    name, number = Counter(files.values()).most_common(1)[0]
    if number > 1:
        same = " and ".join(str(path) for path, other in files.items() if other == name)
        raise UsageError(
            f"the results of {same} would both be called {name}", fix="predict them into different --output folders"
        )
    return files


def _finished(
    state: State | None, files: Mapping[Path, Path], output: Path, classes: Sequence[str]
) -> dict[Path, Prediction]:
    """What an earlier run of this job drew, where the pictures are still those that it wrote."""
    found: dict[Path, Prediction] = {}
    if state is None:
        return found
    for name, row, digest in zip(state.done, state.arrays["shares"], state.arrays["digests"], strict=True):
        path, result = Path(name), output / files[Path(name)]
        shares = dict(zip(classes, row.tolist(), strict=True))
        prediction = _prediction(path, result, shares, rated=_named(result, "confidence").exists())
        if _digest(prediction) == digest:
            found[path] = prediction
    return found


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
