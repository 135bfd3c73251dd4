"""The stage `predict`: photographs in, label maps and pictures of them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.artifact import atomic_folder
from fcn_onnx.data.images import read_rgb, upright
from fcn_onnx.data.palette import label_image, overlay
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import UsageError
from fcn_onnx.progress import SILENT, Progress
from fcn_onnx.runtime import SessionConfig
from fcn_onnx.segmenter import Interface, Segmenter, on_grid


@dataclass(frozen=True)
class Prediction:
    """What the model saw in one image.

    Attributes:
        image: the file that was read.
        labels: palette PNG, pixel value = label, at the image's own size.
        overlay: the photograph with the classes blended over it.
        confidence: grey PNG, 255 · softmax probability of the label; None where the model returns labels only.
        shares: share of the pixels by class name, largest first.
    """

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
    interface: Interface = Interface(),
    threads: int = 0,
    progress: Progress = SILENT,
) -> tuple[Prediction, ...]:
    """Segment photographs and write `<name>-labels.png`, `<name>-overlay.jpg` and `<name>-confidence.png`.

    An image is turned upright as its EXIF says, normalised at its own size (a fixed-size model gets it resized),
    and labelled with the argmax of `out`, as the ONNX model zoo's FCN notebook does.

    Args:
        model: an ONNX file that returns logits or labels.
        images: image files; their names must differ, as results are named after them.
        output: a folder; created if need be.
        interface: of the model, where it does not say it itself.

    Raises:
        UsageError: no image, or two of one name.
        ImageError, ModelError, OutputError: see the message.
    """
    stems = Counter(path.stem for path in images)
    if not images:
        raise UsageError("no image to segment", fix="name at least one image file")
    if max(stems.values()) > 1:
        raise UsageError(
            f"two images are called {stems.most_common(1)[0][0]}, and results are named after images",
            fix="predict them into different --output folders",
        )
    segmenter = Segmenter(model, SessionConfig(threads=threads), interface)
    preprocessing = replace(segmenter.preprocessing, resize=Resize(size=segmenter.fixed_size))
    done = []
    for path in progress.track(images, total=len(images), label="predicting"):
        photograph = upright(path, read_rgb(path))
        labels, confidence = _segment(segmenter, preprocessing, photograph, path)
        stem = path.stem
        result = Prediction(
            image=path,
            labels=output / f"{stem}-labels.png",
            overlay=output / f"{stem}-overlay.jpg",
            confidence=None if confidence is None else output / f"{stem}-confidence.png",
            shares=_shares(labels, segmenter.classes),
        )
        with atomic_folder(output) as folder:
            label_image(labels).save(folder / result.labels.name)
            overlay(photograph, labels).save(folder / result.overlay.name, quality=92)
            if confidence is not None and result.confidence is not None:
                Image.fromarray(confidence).save(folder / result.confidence.name)
        done.append(result)
    return tuple(done)


def _segment(
    segmenter: Segmenter, preprocessing: Preprocessing, photograph: Image.Image, path: Path
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Labels and, of logits, confidence, both (H, W) uint8 at the photograph's size."""
    value = segmenter.run(preprocessing(photograph))
    grid = photograph.height, photograph.width
    labels = on_grid(segmenter.labels(value, str(path)), grid)
    logits = segmenter.scores(value, str(path))
    if logits is None:
        return labels, None
    probability = 1 / np.exp(logits - logits.max(0)).sum(0)
    return labels, on_grid(np.rint(255 * probability).astype(np.uint8), grid)


def _shares(labels: NDArray[np.uint8], classes: Sequence[str]) -> dict[str, float]:
    numbers = np.bincount(labels.ravel(), minlength=len(classes))
    order = np.argsort(-numbers, kind="stable")
    return {classes[i]: float(numbers[i] / labels.size) for i in order if numbers[i]}
