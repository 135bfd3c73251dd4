"""Evaluation protocols by name: which images, how resized, which truth, scored how.

Two numbers called mIoU differ by points when their protocols differ, so a protocol is one frozen value and
every report names its own. Adding one is adding an entry to `PROTOCOLS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.labels import VOC, LabelSpace
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.evaluation.metrics import ConfusionMetric, ImageMetric, Metric
from fcn_onnx.runtime.segmenter import Labels, Segmenter, on_grid
from fcn_onnx.runtime.upsampling import upsample

Truth = NDArray[Any]
Target = tuple[float, float | None]
ReadTruth = Callable[[Dataset, Sample, tuple[int, int]], Truth]


@dataclass(frozen=True)
class Protocol:
    """One way of scoring.

    Attributes:
        name: as `validate --protocol` takes it.
        description: one line, for `--help` and the report.
        resize: the size that a network is shown unless it takes one size only.
        read_truth: truth of a sample on the grid of (height, width) that is scored.
        metric: counts and scores.
        scored: the grid that is scored, where it is not the size that is shown.
        pad: (height, width) that the picture is padded to with zeros, right and below.
        resizes_logits: whether it is logits that are brought to the grid, bilinearly, and then labelled; if not, labels
            are, by nearest neighbour.
        foreground_only: only images whose truth holds a class but background.
        labelled_area: only images with more labelled pixels than this.
        targets: published fractions by model, (mIoU, pixel accuracy).
        published_on: the images that the targets are of.
    """

    name: str
    description: str
    resize: Resize
    read_truth: ReadTruth
    metric: Metric
    scored: Resize | None = None
    pad: tuple[int, int] | None = None
    resizes_logits: bool = False
    foreground_only: bool = False
    labelled_area: float = 0
    targets: Mapping[str, Target] = field(default_factory=dict)
    published_on: str = "COCO val2017"

    def grid(self, image: Image.Image) -> tuple[int, int]:
        """The (height, width) on which this photograph is scored."""
        width, height = (self.scored or self.resize).target(*image.size)
        return height, width

    def shown(self, preprocessing: Preprocessing, fixed_size: tuple[int, int] | None) -> Preprocessing:
        """How networks that normalise as `preprocessing` does are shown an image.

        Raises:
            UsageError: they take images of one size, and this protocol pads to another.
        """
        if fixed_size and self.pad and fixed_size != self.pad:
            raise UsageError(
                f"protocol {self.name} pads images to {self.pad[0]}x{self.pad[1]}, and the models take "
                f"{fixed_size[0]}x{fixed_size[1]}",
                fix="export them without --size, or use another protocol",
            )
        resize = Resize(size=fixed_size) if fixed_size and not self.pad else self.resize
        return replace(preprocessing, resize=resize, pad=self.pad)

    def labels(
        self, segmenter: Segmenter, value: NDArray[Any], photograph: Image.Image, shown: Preprocessing, name: str
    ) -> Labels:
        """(H, W) uint8 labels on the grid that is scored.

        Args:
            segmenter: the model that returned `value` for the photograph called `name`.
            shown: how it was shown.

        Raises:
            ModelError: the model returns something else than logits or labels of its classes, or labels where the
                protocol resizes logits.
        """
        grid = self.grid(photograph)
        if not self.resizes_logits:
            return on_grid(segmenter.labels(value, name), grid)
        logits = segmenter.scores(value, name)
        if logits is None:
            raise ModelError(
                f"protocol {self.name} resizes logits, and {segmenter.network.name} returns labels",
                fix="use a model that returns logits, or another protocol",
            )
        width, height = shown.resize.target(*photograph.size)
        whole = upsample(logits, shown.pad or (height, width))
        labels: Labels = upsample(whole[:, :height, :width], grid).argmax(0).astype(np.uint8)
        return labels

    @property
    def published(self) -> str:
        """The targets in words: `resnet50 60.5 / 91.4`, mIoU and pixel accuracy in percent."""
        parts = [
            f"{arch} {100 * miou:.4g}" + ("" if pixel is None else f" / {100 * pixel:.4g}")
            for arch, (miou, pixel) in self.targets.items()
        ]
        return f"{', '.join(parts)} on {self.published_on}" if parts else ""

    @property
    def listed(self) -> str:
        """What `--help` says."""
        return self.description + (f"; published: {self.published}" if self.targets else "")

    def selects(self, dataset: Dataset, sample: Sample) -> bool:
        """Whether the protocol scores this image."""
        if self.labelled_area and dataset.labelled_area(sample) <= self.labelled_area:
            return False
        return not self.foreground_only or bool(dataset.classes_in(sample))


def resized_label_map(dataset: Dataset, sample: Sample, grid: tuple[int, int]) -> Truth:
    """(H, W) uint8 truth resized to `grid` by PIL's nearest neighbour, as torchvision's transforms do."""
    labels = dataset.label_map(sample)
    if labels.shape == grid:
        return labels
    image = Image.fromarray(labels).resize((grid[1], grid[0]), Image.Resampling.NEAREST)
    return np.asarray(image)


def native_multilabel(dataset: Dataset, sample: Sample, grid: tuple[int, int]) -> Truth:
    """(C, H, W) bool truth at the image's own size, which `grid` is."""
    return dataset.multilabel(sample)


def wrapped_label_map(dataset: Dataset, sample: Sample, grid: tuple[int, int]) -> Truth:
    """(H, W) uint8 truth modulo the number of classes: with 21, void (255) is scored as class 3, bird.

    That is what TI's published figures were computed with, so it is kept under that name alone.
    """
    return resized_label_map(dataset, sample, grid) % np.uint8(len(dataset.label_space.names))


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
        Protocol(
            name="mmseg",
            description="shown within 2048x512, logits resized to the native size, scored there (mmsegmentation)",
            resize=Resize(within=(2048, 512)),
            scored=Resize(),
            resizes_logits=True,
            read_truth=resized_label_map,
            metric=ConfusionMetric(),
            targets={
                "fcn_r50-d8 20k": (0.6708, None),
                "fcn_r50-d8 40k": (0.6697, None),
                "fcn_r101-d8 20k": (0.7116, None),
                "fcn_r101-d8 40k": (0.6991, None),
            },
            published_on="VOC 2012 val",
        ),
        Protocol(
            name="mindspore",
            description="long side 512, zeros to 512x512, logits cropped and resized to the native size (MindSpore)",
            resize=Resize(long_side=512),
            scored=Resize(),
            pad=(512, 512),
            resizes_logits=True,
            read_truth=resized_label_map,
            metric=ConfusionMetric(),
            targets={"FCN-8s": (0.6467, None)},
            published_on="VOC 2012 val",
        ),
        Protocol(
            name="ti",
            description="shown at 512x512, labels to the native size, > 1000 labelled pixels, absent classes 0, "
            "void as class 3 (TI's edgeai-benchmark)",
            resize=Resize(size=(512, 512)),
            scored=Resize(),
            read_truth=wrapped_label_map,
            metric=ConfusionMetric(leaves_absent_out=False),
            labelled_area=1000,
        ),
    )
}


def get_protocol(name: str, space: LabelSpace = VOC) -> Protocol:
    """The protocol called `name`, for these classes.

    Raises:
        UsageError: there is none.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol is called {name!r}", fix=f"choose one of: {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    return replace(protocol, metric=protocol.metric.fitted(space))
