"""The images that each candidate changed most, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.evaluation.protocol import Protocol
from fcn_onnx.evaluation.regions import flat_truth
from fcn_onnx.evaluation.result import PerImage
from fcn_onnx.evaluation.scoring import Tally
from fcn_onnx.evaluation.sparse import SparseCounts
from fcn_onnx.report.gallery import draw, most_changed, named
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.stages.documenting import Seen

GALLERY_IMAGES = 4
WORST_IMAGES = 10


def look(
    tally: Tally,
    samples: Sequence[Sample],
    segmenters: Sequence[Segmenter],
    preprocessing: Preprocessing,
    dataset: Dataset,
    protocol: Protocol,
) -> tuple[dict[str, Seen], dict[str, NDArray[Any]]]:
    """What each candidate changed most, and the pictures of it.

    Args:
        samples, segmenters: of the tally's images and rows; what the tally has no labels of, as an earlier run scored
            it, is shown to the models once more.

    Returns:
        By candidate, and by the pictures' names: see `draw`.
    """
    reference, *others = range(len(tally.rows))
    worst = {row: most_changed(tally.agreement[row], WORST_IMAGES) for row in others}
    wanted: dict[int, list[int]] = {}
    for row, images in worst.items():
        for image in images[:GALLERY_IMAGES]:
            wanted.setdefault(image, [reference]).append(row)
    pictures: dict[str, NDArray[Any]] = {}
    for image, rows in wanted.items():
        sample = samples[image]
        photograph = sample.read()
        known = tally.labels.get(sample.name)
        if known is None:
            batch = preprocessing(photograph, sample.name)
            known = tuple(
                protocol.predicted(segmenter, segmenter.run(batch), photograph, preprocessing, sample.name).labels
                for segmenter in segmenters
            )
        labels = {tally.rows[row]: known[row] for row in rows}
        truth = protocol.read_truth(dataset, sample, protocol.grid(photograph))
        shown = flat_truth(truth) if dataset.labelled else None
        pictures |= draw(image, photograph, shown, labels, dataset.label_space)
    return {
        name: _seen(tally, name, worst[row], dataset.labelled) for row, name in enumerate(tally.rows) if row in worst
    }, pictures


def _seen(tally: Tally, candidate: str, worst: Sequence[int], truth: bool) -> Seen:
    drawn = tuple(named(image, tally.images[image], candidate, truth=truth) for image in worst[:GALLERY_IMAGES])
    return Seen(tuple(worst), drawn)


def per_image(tally: Tally) -> PerImage:
    """The tally by the names of `images.npz`, which are those of the rows; one candidate's agreement needs none."""
    arrays: dict[str, NDArray[Any] | SparseCounts] = {"names": np.array(tally.images)}
    for row, name in enumerate(tally.rows):
        arrays |= {f"counts_{name}": tally.counts[row], f"latency_{name}": tally.latency_ms[row]}
        arrays[f"regions_{name}"] = tally.regions[row]
        if row:
            arrays["agreement" if len(tally.rows) == 2 else f"agreement_{name}"] = tally.agreement[row]
    return PerImage(arrays | {"regions_ground": tally.ground, "seconds": tally.seconds})
