"""Counts from label maps, and scores from counts.

A metric first reduces one image to a row of integers (`count`). Every score is then a ratio of sums over images, or a
mean of such ratios, so one pass over the data serves the point estimate, every bootstrap resample and its spread, and a
resumed run alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.labels import VOC_CLASSES, VOID, LabelSpace
from fcn_onnx.errors import DatasetError, ModelError
from fcn_onnx.evaluation.sparse import Held, blocks

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


class Ratios(NamedTuple):
    """K scores, each a ratio of sums over the images: Σ numerators[:, k] / Σ denominators[:, k]; (N, K) float64."""

    numerators: Floats
    denominators: Floats

    def values(self) -> Floats:
        """(K,) float64 over all images, NaN where a denominator is 0."""
        return divide(self.numerators.sum(0), self.denominators.sum(0))


@dataclass(frozen=True)
class Scores:
    """Scores of a set of images; fractions, not percent.

    Attributes:
        miou, pixel_accuracy: NaN where there is nothing to score.
        per_class_iou: (C,) float64, NaN where a class is in neither truth nor prediction; None where the metric has no
            classes.
        mean_accuracy: mean over the classes in the truth of the share of their pixels that are found; None likewise.
    """

    miou: float
    pixel_accuracy: float
    per_class_iou: Floats | None = None
    mean_accuracy: float | None = None


class Prediction(NamedTuple):
    """What a model makes of an image, on the grid that is scored.

    Attributes:
        labels: (H, W) uint8.
        truncated: labels of the logits truncated to integers, likewise; None where the metric does not look at them.
    """

    labels: NDArray[np.uint8]
    truncated: NDArray[np.uint8] | None = None


class Metric(Protocol):
    """How one protocol turns truth and prediction into scores."""

    @property
    def columns(self) -> int:
        """Length of a row of counts."""
        ...

    @property
    def leaves_absent_out(self) -> bool:
        """Whether a class in neither truth nor prediction is no part of the mean, or counts as 0 in it."""
        ...

    def fitted(self, space: LabelSpace) -> Self:
        """The same metric, of these classes."""
        ...

    def count(
        self, truth: NDArray[Any], prediction: NDArray[np.uint8], truncated: NDArray[np.uint8] | None = None
    ) -> Counts:
        """One image's row, (columns,) int64; the rest are the fields of a `Prediction`.

        Raises:
            ModelError: a label of the prediction is no class of this metric.
            DatasetError: likewise of the truth, and it is not `VOID`.
        """
        ...

    def ious(self, counts: Held) -> Ratios:
        """The ratios whose mean is the mIoU: one a class, or one alone."""
        ...

    def accuracy(self, counts: Held) -> Ratios:
        """The pixel accuracy as one ratio."""
        ...

    def scores(self, counts: Held) -> Scores:
        """Scores of all the images whose rows are `counts` (N, columns)."""
        ...


@dataclass(frozen=True)
class ConfusionMetric:
    """mIoU and pixel accuracy of one confusion matrix over the data set.

    IoU_c = tp / (tp + fp + fn), mIoU their mean, pixel accuracy = trace / sum; pixels whose truth is `VOID` are not
    counted. A class in neither truth nor prediction is left out of the mean. (pytorch/vision
    `references/segmentation/utils.py`, `ConfusionMatrix`, where such a class gives NaN.)

    Attributes:
        classes: how many there are, background among them.
        leaves_absent_out: if not, a class in neither truth nor prediction counts as 0 in the mean.
    """

    classes: int = len(VOC_CLASSES)
    leaves_absent_out: bool = True

    @property
    def columns(self) -> int:
        """One for each pair of truth and prediction."""
        return self.classes**2

    def fitted(self, space: LabelSpace) -> Self:
        """See `Metric.fitted`; the background is a class like any."""
        return replace(self, classes=len(space.names))

    def count(
        self, truth: NDArray[Any], prediction: NDArray[np.uint8], truncated: NDArray[np.uint8] | None = None
    ) -> Counts:
        """The flattened confusion matrix, row = truth, column = prediction; `truth` is (H, W) uint8."""
        require_classes(prediction, self.classes)
        scored = truth < self.classes
        others = truth[~scored]
        if (others != VOID).any():
            raise DatasetError(
                f"the truth holds the label {others[others != VOID].min()}, which is none of {self.classes} classes",
                fix="correct the masks, or name all their classes with --classes",
            )
        pairs = truth[scored].astype(np.int64) * self.classes + prediction[scored]
        return np.bincount(pairs, minlength=self.classes**2)

    def matrix(self, counts: Held) -> Counts:
        """The confusion matrix of all the images whose rows are `counts`, (classes, classes) int64, row = truth."""
        summed = np.zeros((self.classes, self.classes), np.int64)
        for block in blocks(counts):
            summed += self._matrices(block).sum(0, dtype=np.int64)
        return summed

    def ious(self, counts: Held) -> Ratios:
        """tp / (tp + fp + fn) of each class."""
        tp, union, predicted = self._sums(counts)
        union += predicted
        union -= tp
        return Ratios(tp, union)

    def accuracy(self, counts: Held) -> Ratios:
        """trace / sum."""
        tp, truth, _ = self._sums(counts)
        return Ratios(tp.sum(1, keepdims=True), truth.sum(1, keepdims=True))

    def scores(self, counts: Held) -> Scores:
        """See `Metric.scores`."""
        iou = self.ious(counts).values()
        tp, truth, _ = self._sums(counts)
        return Scores(
            miou=_nanmean(iou) if self.leaves_absent_out else float(np.nan_to_num(iou).mean()),
            pixel_accuracy=float(self.accuracy(counts).values()[0]),
            per_class_iou=iou,
            mean_accuracy=_nanmean(Ratios(tp, truth).values()),
        )

    def _sums(self, counts: Held) -> tuple[Floats, Floats, Floats]:
        """Pixels of each class that are right, in the truth, and predicted, each (N, C) float64."""
        tp, truth, predicted = (np.empty((len(counts), self.classes)) for _ in range(3))
        start = 0
        for block in blocks(counts):
            matrices, images = self._matrices(block), slice(start, start + len(block))
            tp[images], truth[images] = np.einsum("ncc->nc", matrices), matrices.sum(2)
            predicted[images] = matrices.sum(1)
            start += len(block)
        return tp, truth, predicted

    def _matrices(self, counts: Counts) -> Counts:
        return counts[:, : self.classes**2].reshape(-1, self.classes, self.classes)


@dataclass(frozen=True)
class TramacMetric(ConfusionMetric):
    """Tramac's scores: absent classes count as 0, and pixel accuracy is that of logits truncated to integers.

    `core/utils/score.py` takes `argmax(output.long())` for the one and `argmax(output)` for the other, so a pixel whose
    logits differ by less than 1 may be wrong in the accuracy and right in the mIoU.
    """

    leaves_absent_out: bool = False

    @property
    def columns(self) -> int:
        """The confusion matrix, pixels that the truncated logits have right, and pixels in the truth."""
        return self.classes**2 + 2

    def count(
        self, truth: NDArray[Any], prediction: NDArray[np.uint8], truncated: NDArray[np.uint8] | None = None
    ) -> Counts:
        """See `Metric.count`; `truncated` has to be there."""
        if truncated is None:
            raise ValueError("pixel accuracy is counted of truncated logits")
        scored = truth < self.classes
        right = np.count_nonzero((truncated == truth) & scored)
        return np.append(super().count(truth, prediction), [right, np.count_nonzero(scored)])

    def accuracy(self, counts: Held) -> Ratios:
        """Right over all, of the truncated logits."""
        right, labelled = np.concatenate([block[:, -2:] for block in blocks(counts)]).T.astype(np.float64)
        return Ratios(right[:, None], labelled[:, None])


@dataclass(frozen=True)
class ImageMetric:
    """The ONNX model zoo's per-image scores over the channels of all classes but background, taken together.

    Per image IoU = Σ∧ / Σ∨ over channels and pixels, 1 where the union is empty, and accuracy =
    Σ(prediction = truth) / (channels·H·W), true negatives included; each is averaged over images.
    (`validation_accuracy.ipynb` of the zoo's FCN page, where there are 20 channels.)

    Attributes:
        background: the label whose channel is left out; None where every class counts.
        extra_images: added to N when averaging the IoU; Neural Compressor's example starts its counter at 1.
    """

    extra_images: int = 0
    background: int | None = 0
    columns: int = 4
    leaves_absent_out: bool = True

    def fitted(self, space: LabelSpace) -> Self:
        """See `Metric.fitted`."""
        return replace(self, background=space.background)

    def count(
        self, truth: NDArray[Any], prediction: NDArray[np.uint8], truncated: NDArray[np.uint8] | None = None
    ) -> Counts:
        """(Σ∧, Σ∨, Σ equal, channels·H·W); `truth` is (C, H, W) bool and its background is not looked at."""
        require_classes(prediction, len(truth))
        things = [label for label in range(len(truth)) if label != self.background]
        found = np.ones(prediction.shape, bool) if self.background is None else prediction != self.background
        rows, columns = np.nonzero(found)
        intersection = int(truth[prediction[rows, columns], rows, columns].sum())
        union = sum(int(truth[label].sum()) for label in things) + len(rows) - intersection
        cells = len(things) * prediction.size
        return np.array([intersection, union, cells - (union - intersection), cells], np.int64)

    def ious(self, counts: Held) -> Ratios:
        """Each image's IoU over 1, or over its part of N + `extra_images`."""
        intersection, union, _, _ = np.asarray(counts).T.astype(np.float64)
        iou = np.divide(intersection, union, out=np.ones_like(union), where=union > 0)
        return Ratios(iou[:, None], np.full((len(iou), 1), 1 + self.extra_images / len(iou)))

    def accuracy(self, counts: Held) -> Ratios:
        """Each image's accuracy over 1."""
        _, _, equal, cells = np.asarray(counts).T.astype(np.float64)
        return Ratios((equal / cells)[:, None], np.ones((len(cells), 1)))

    def scores(self, counts: Held) -> Scores:
        """See `Metric.scores`."""
        return Scores(float(self.ious(counts).values()[0]), float(self.accuracy(counts).values()[0]))


@dataclass(frozen=True)
class Unscored:
    """Where there is no truth: every score is NaN."""

    columns: int = 1
    leaves_absent_out: bool = True

    def fitted(self, space: LabelSpace) -> Self:
        """See `Metric.fitted`."""
        return self

    def count(
        self, truth: NDArray[Any], prediction: NDArray[np.uint8], truncated: NDArray[np.uint8] | None = None
    ) -> Counts:
        """Nothing, (1,)."""
        return np.zeros(1, np.int64)

    def ious(self, counts: Held) -> Ratios:
        """One, of nothing over nothing."""
        nothing = np.asarray(counts).astype(np.float64)
        return Ratios(nothing, nothing)

    def accuracy(self, counts: Held) -> Ratios:
        """Likewise."""
        return self.ious(counts)

    def scores(self, counts: Held) -> Scores:
        """See `Metric.scores`."""
        return Scores(float("nan"), float("nan"))


def divide(numerators: Floats, denominators: Floats) -> Floats:
    """Elementwise quotient, NaN where the denominator is 0."""
    quotient: Floats = np.divide(
        numerators, denominators, out=np.full(np.shape(numerators), np.nan), where=denominators != 0
    )
    return quotient


def require_classes(prediction: NDArray[np.uint8], classes: int) -> None:
    """A label that is no class would be counted as another pair of classes, or past the end."""
    if prediction.size and prediction.max() >= classes:
        raise ModelError(
            f"the label {prediction.max()} was predicted, which is none of {classes} classes",
            fix="name the classes of the model with --classes",
        )


def _nanmean(values: Floats) -> float:
    """Mean of what is not NaN; NaN where nothing is left (without numpy's warning)."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
