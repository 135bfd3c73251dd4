"""The stage `predict`: photographs in, label maps and pictures of them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.artifact import atomic_folder
from fcn_onnx.card import ModelCard
from fcn_onnx.data.images import read_rgb, upright
from fcn_onnx.data.palette import label_image, overlay
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.data.sample import VOC_CLASSES
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.progress import SILENT, Progress
from fcn_onnx.runtime import Network, SessionConfig, load_model


@dataclass(frozen=True)
class Prediction:
    """What the model saw in one image.

    Attributes:
        image: the file that was read.
        labels: palette PNG, pixel value = label, at the image's own size.
        overlay: the photograph with the classes blended over it.
        confidence: grey PNG, 255 · softmax probability of the label.
        shares: share of the pixels by class name, largest first.
    """

    image: Path
    labels: Path
    overlay: Path
    confidence: Path
    shares: dict[str, float]


def predict(
    model: Path,
    images: Sequence[Path],
    *,
    output: Path = Path("predictions"),
    threads: int = 0,
    progress: Progress = SILENT,
) -> tuple[Prediction, ...]:
    """Segment photographs and write `<name>-labels.png`, `<name>-overlay.jpg` and `<name>-confidence.png`.

    An image is turned upright as its EXIF says, normalised at its own size (a fixed-size model gets it resized),
    and labelled with the argmax of `out`, as the ONNX model zoo's FCN notebook does.

    Args:
        model: an ONNX file with an output `out` of logits.
        images: image files; their names must differ, as results are named after them.
        output: a folder; created if need be.

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
    network = Network(model, SessionConfig(threads=threads))
    network.require_output("out")
    preprocessing = _preprocessing(model, network)
    done = []
    for path in progress.track(images, total=len(images), label="predicting"):
        photograph = upright(path, read_rgb(path))
        labels, confidence = _segment(network, preprocessing, photograph, path)
        stem = path.stem
        result = Prediction(
            image=path,
            labels=output / f"{stem}-labels.png",
            overlay=output / f"{stem}-overlay.jpg",
            confidence=output / f"{stem}-confidence.png",
            shares=_shares(labels),
        )
        with atomic_folder(output) as folder:
            label_image(labels).save(folder / result.labels.name)
            overlay(photograph, labels).save(folder / result.overlay.name, quality=92)
            Image.fromarray(confidence).save(folder / result.confidence.name)
        done.append(result)
    return tuple(done)


def _preprocessing(model: Path, network: Network) -> Preprocessing:
    """The model's own normalisation at the image's own size, or at the one size that the model takes."""
    card = ModelCard.read_from(load_model(model), str(model))
    own = Preprocessing.from_json(dict(card.preprocessing)) if card.preprocessing else Preprocessing()
    height, width = network.input_size
    fixed = (height, width) if height is not None and width is not None else None
    return Preprocessing(Resize(size=fixed), own.mean, own.std)


def _segment(
    network: Network, preprocessing: Preprocessing, photograph: Image.Image, path: Path
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Labels and confidence, both (H, W) uint8 at the photograph's size."""
    logits = network.run(preprocessing(photograph), ["out"])["out"][0]
    if logits.ndim != 3 or len(logits) != len(VOC_CLASSES) or not np.isfinite(logits).all():
        raise ModelError(
            f"the output `out` of {network.name} for {path} is {logits.shape}, or not finite",
            fix="use a model of the 21 VOC classes that returns logits",
        )
    labels = logits.argmax(0).astype(np.uint8)
    best = logits.max(0)
    probability = 1 / np.exp(logits - best).sum(0)
    confidence = np.rint(255 * probability).astype(np.uint8)
    if labels.shape == (photograph.height, photograph.width):
        return labels, confidence
    back = [
        np.asarray(Image.fromarray(values).resize(photograph.size, Image.Resampling.NEAREST))
        for values in (labels, confidence)
    ]
    return back[0], back[1]


def _shares(labels: NDArray[np.uint8]) -> dict[str, float]:
    numbers = np.bincount(labels.ravel(), minlength=len(VOC_CLASSES))
    order = np.argsort(-numbers, kind="stable")
    return {VOC_CLASSES[i]: float(numbers[i] / labels.size) for i in order if numbers[i]}
