"""Counts from label maps, and scores from counts.

A metric first reduces one image to a row of integers (`count`), and then any set of rows to scores
(`scores`). Rows of different images only ever add up or average, so one pass over the data serves the
point estimate, every bootstrap resample and a resumed run alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.sample import VOC_CLASSES

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Scores of R weightings of the images at once; fractions, not percent.

    Attributes:
        miou: (R,) float64.
        pixel_accuracy: (R,) float64.
        per_class_iou: (R, C) float64, NaN where a class is in neither truth nor prediction; None where the
            metric has no classes.
        mean_accuracy: (R,) float64, mean over the classes in the truth of the share of their pixels that are found;
            None likewise.
    """

    miou: Floats
    pixel_accuracy: Floats
    per_class_iou: Floats | None = None
    mean_accuracy: Floats | None = None


class Metric(Protocol):
    """How one protocol turns truth and prediction into scores."""

    @property
    def columns(self) -> int:
        """Length of a row of counts."""
        ...

    @property
    def leaves_absent_out(self) -> bool:
        """Whether the mean is over classes, and one in neither truth nor prediction is no part of it."""
        ...

    def count(self, truth: NDArray[Any], prediction: NDArray[np.uint8]) -> Counts:
        """One image's row, (columns,) int64; `prediction` is (H, W) uint8 labels."""
        ...

    def scores(self, counts: Counts, weights: Floats) -> Scores:
        """Scores of images whose rows are `counts` (N, columns), each weighting of `weights` (R, N) by itself."""
        ...


@dataclass(frozen=True)
class ConfusionMetric:
    """mIoU and pixel accuracy of one confusion matrix over the data set.

    IoU_c = tp / (tp + fp + fn), mIoU their mean, pixel accuracy = trace / sum; truth outside [0, classes) is not
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

    def count(self, truth: NDArray[Any], prediction: NDArray[np.uint8]) -> Counts:
        """The flattened confusion matrix, row = truth, column = prediction; `truth` is (H, W) uint8."""
        scored = truth < self.classes
        pairs = truth[scored].astype(np.int64) * self.classes + prediction[scored]
        return np.bincount(pairs, minlength=self.columns)

    def scores(self, counts: Counts, weights: Floats) -> Scores:
        """See `Metric.scores`; a class is left out of a weighting in which its union is empty."""
        matrices = counts.reshape(-1, self.classes, self.classes)
        diagonal = np.einsum("ncc->nc", matrices)
        statistics = np.concatenate([diagonal, matrices.sum(2), matrices.sum(1)], axis=1)
        tp, truth, predicted = np.split(weights @ statistics.astype(np.float64), 3, axis=1)
        union = truth + predicted - tp
        iou = np.divide(tp, union, out=np.full_like(tp, np.nan), where=union > 0)
        total = truth.sum(1)
        accuracy = np.divide(tp.sum(1), total, out=np.full_like(total, np.nan), where=total > 0)
        found = np.divide(tp, truth, out=np.full_like(tp, np.nan), where=truth > 0)
        mean = _nanmean(iou) if self.leaves_absent_out else np.nan_to_num(iou).mean(1)
        return Scores(mean, accuracy, iou, _nanmean(found))


@dataclass(frozen=True)
class ImageMetric:
    """The ONNX model zoo's per-image scores over the 20 foreground channels taken together.

    Per image IoU = Σ∧ / Σ∨ over channels and pixels, 1 where the union is empty, and accuracy =
    Σ(prediction = truth) / (20·H·W), true negatives included; each is averaged over images.
    (`validation_accuracy.ipynb` of the zoo's FCN page.)

    Attributes:
        extra_images: added to N when averaging the IoU; Neural Compressor's example starts its counter at 1.
    """

    extra_images: int = 0
    columns: int = 4
    leaves_absent_out: bool = False

    def count(self, truth: NDArray[Any], prediction: NDArray[np.uint8]) -> Counts:
        """(Σ∧, Σ∨, Σ equal, 20·H·W); `truth` is (C, H, W) bool and its channel 0 is not looked at."""
        foreground = truth[1:]
        rows, columns = np.nonzero(prediction)
        intersection = int(foreground[prediction[rows, columns] - 1, rows, columns].sum())
        union = int(foreground.sum()) + len(rows) - intersection
        cells = foreground.size
        return np.array([intersection, union, cells - (union - intersection), cells], np.int64)

    def scores(self, counts: Counts, weights: Floats) -> Scores:
        """See `Metric.scores`."""
        intersection, union, equal, cells = counts.T.astype(np.float64)
        iou = np.divide(intersection, union, out=np.ones_like(union), where=union > 0)
        images = weights.sum(1)
        return Scores(weights @ iou / (images + self.extra_images), weights @ (equal / cells) / images)


def _nanmean(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is left (without numpy's warning)."""
    present = ~np.isnan(values)
    totals = np.where(present, values, 0).sum(-1)
    number = present.sum(-1)
    means: Floats = np.divide(totals, number, out=np.full_like(totals, np.nan), where=number > 0)
    return means
