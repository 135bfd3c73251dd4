"""What quantization costs on calibration images: the score that a search for a better int8 model goes by.

Evaluation images stay unseen. Where the calibration images have no labels, fp32's own are the truth, over all of its
classes: fp32's mIoU is then 1, and what int8 loses is where it labels otherwise than fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from fcn_onnx.data.sample import Dataset
from fcn_onnx.errors import DatasetError, UsageError
from fcn_onnx.evaluation.grids import resized_label_map
from fcn_onnx.evaluation.metrics import ConfusionMetric, Counts
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.quantization.reference import Reference, flipped_share
from fcn_onnx.runtime.segmenter import Labels, Segmenter


@dataclass(frozen=True)
class Score:
    """What a model is worth.

    Attributes:
        agreement: share of the pixels with fp32's label.
        drop_percent: relative mIoU lost, in percent; negative is a gain.
    """

    agreement: float
    drop_percent: float


class Judge:
    """Scores models on the images of a reference.

    Args:
        reference: fp32 on calibration images.
        dataset: truth for them, if it has any; its classes are then the model's. None looks for none.

    Attributes:
        truth: what the labels are compared with, in words.

    Raises:
        DatasetError: the data set's classes are not the model's.
        UsageError: fp32 scores nothing on these images, so that nothing can be lost.
    """

    def __init__(self, reference: Reference, dataset: Dataset | None) -> None:
        self.reference = reference
        classes = len(reference.original.classes)
        labelled = dataset if dataset is not None and dataset.labelled else None
        if labelled is not None:
            require_same_classes(labelled, reference.original)
        self.truth = (
            f"the mIoU is of {classes} classes, against the labels of {labelled.root}"
            if labelled is not None
            else f"the calibration images have no labels: the mIoU is of {classes} classes, against fp32's own labels, "
            "so that every pixel that int8 labels otherwise is a loss"
        )
        self._truth = [
            labels if labelled is None else resized_label_map(labelled, sample, (labels.shape[0], labels.shape[1]))
            for sample, labels in zip(reference.samples, reference.labels, strict=True)
        ]
        self._metric = ConfusionMetric(classes)
        self._fp32_miou = self._miou(reference.labels)
        if not self._fp32_miou > 0:
            raise UsageError(
                f"the fp32 model has an mIoU of {self._fp32_miou} on the {len(reference.samples)} calibration images",
                fix="calibrate on images of its classes, or leave --max-drop out",
            )

    def score(self, model: Path | onnx.ModelProto | Segmenter, progress: Progress = SILENT) -> Score:
        """Of `model` on all the images."""
        labels = self.reference.labelled(model, progress)
        drop = 100 * (self._fp32_miou - self._miou(labels)) / self._fp32_miou
        return Score(1 - flipped_share(labels, self.reference.labels), drop)

    def drop_percent(self, model: Path | onnx.ModelProto) -> float:
        """The relative mIoU that `model` loses on all the images, in percent; negative is a gain."""
        return self.score(model).drop_percent

    def _miou(self, labels: Sequence[Labels]) -> float:
        rows: Counts = np.stack([self._metric.count(t, p) for t, p in zip(self._truth, labels, strict=True)])
        return self._metric.scores(rows).miou


def require_same_classes(dataset: Dataset, model: Segmenter) -> None:
    """Raise DatasetError where labels of the data set mean other classes than the model's."""
    labelled = dataset.label_space.names
    same = labelled == model.named if model.named else len(labelled) == len(model.classes)
    if not same:
        ours, theirs = (f"{len(names)} classes ({', '.join(names[:4])}, …)" for names in (labelled, model.classes))
        raise DatasetError(
            f"{dataset.root} has {ours}, and {model.network.name} has {theirs}",
            fix="calibrate on images that are labelled with the model's classes, or on images without labels",
        )
