"""Evaluation protocols by name: which images, how resized, which truth, scored how.

Two numbers called mIoU differ by points when their protocols differ, so a protocol is one frozen value and
every report names its own. Adding one is adding an entry to `PROTOCOLS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.preprocess import Resize
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.metrics import ConfusionMetric, ImageMetric, Metric

Truth = NDArray[Any]
ReadTruth = Callable[[Dataset, Sample, tuple[int, int]], Truth]


@dataclass(frozen=True)
class Protocol:
    """One way of scoring.

    Attributes:
        name: as `validate --protocol` takes it.
        description: one line, for `--help` and the report.
        resize: the grid that is scored, and the size that a network is shown unless it takes one size only.
        read_truth: truth of a sample on the grid of (height, width) that is scored.
        metric: counts and scores.
        foreground_only: only images whose truth holds one of the 20 classes.
        targets: published fractions by model, (mIoU, pixel accuracy), on all of COCO val2017.
    """

    name: str
    description: str
    resize: Resize
    read_truth: ReadTruth
    metric: Metric
    foreground_only: bool = False
    targets: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def grid(self, image: Image.Image) -> tuple[int, int]:
        """The (height, width) on which this photograph is scored."""
        width, height = self.resize.target(*image.size)
        return height, width

    @property
    def published(self) -> str:
        """The targets in words: `resnet50 60.5 / 91.4`, mIoU and pixel accuracy in percent."""
        return ", ".join(f"{arch} {100 * miou:.4g} / {100 * pixel:.4g}" for arch, (miou, pixel) in self.targets.items())

    def selects(self, dataset: Dataset, sample: Sample) -> bool:
        """Whether the protocol scores this image."""
        return not self.foreground_only or bool(dataset.classes_in(sample))


def resized_label_map(dataset: Dataset, sample: Sample, grid: tuple[int, int]) -> Truth:
    """(H, W) uint8 truth resized to `grid` by PIL's nearest neighbour, as torchvision's transforms do."""
    labels = dataset.label_map(sample)
    if labels.shape == grid:
        return labels
    image = Image.fromarray(labels).resize((grid[1], grid[0]), Image.Resampling.NEAREST)
    return np.asarray(image)


def native_multilabel(dataset: Dataset, sample: Sample, grid: tuple[int, int]) -> Truth:
    """(21, H, W) bool truth at the image's own size, which `grid` is."""
    return dataset.multilabel(sample)


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="torchvision",
            description="short side 520, 21 classes, one confusion matrix, overlaps void (pytorch/vision references)",
            resize=Resize(short_side=520),
            read_truth=resized_label_map,
            metric=ConfusionMetric(),
            targets={"resnet50": (0.605, 0.914), "resnet101": (0.637, 0.919)},
        ),
        Protocol(
            name="zoo",
            description="native size, 20 classes per image, images that hold one (the ONNX model zoo's notebook)",
            resize=Resize(),
            read_truth=native_multilabel,
            metric=ImageMetric(),
            foreground_only=True,
            targets={"resnet50": (0.650, 0.996), "resnet101": (0.66734, 0.99563)},
        ),
        Protocol(
            name="inc",
            description="zoo with the IoU's mean taken over N + 1 images (Neural Compressor's FCN example)",
            resize=Resize(),
            read_truth=native_multilabel,
            metric=ImageMetric(extra_images=1),
            foreground_only=True,
        ),
        *(
            Protocol(
                name=name,
                description=f"image and truth resized to {side}x{side}, 21 classes, one confusion matrix ({which})",
                resize=Resize(size=(side, side)),
                read_truth=resized_label_map,
                metric=ConfusionMetric(),
            )
            for name, side, which in (("vastai", 320, "Vastai's VGG FCNs"), ("vastai-512", 512, "Vastai's mmseg FCNs"))
        ),
        Protocol(
            name="voc-native",
            description="native size, 21 classes, one confusion matrix, 255 void (GluonCV's and Tramac's testval)",
            resize=Resize(),
            read_truth=resized_label_map,
            metric=ConfusionMetric(),
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol is called {name!r}", fix=f"choose one of: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
