"""What quantization costs on calibration images: the score that a search for a better int8 model goes by.

Evaluation images stay unseen. Where the calibration images have no labels, fp32's own are the truth, over all of its
classes: fp32's mIoU is then 1, and what int8 loses is where it labels otherwise than fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.errors import DatasetError, UsageError
from fcn_onnx.evaluation.grids import resized_label_map
from fcn_onnx.evaluation.metrics import ConfusionMetric, Counts
from fcn_onnx.jobs.prefetch import prefetch
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig
from fcn_onnx.runtime.segmenter import Labels, Segmenter

KEPT_BYTES = 1 << 28
"""Of images that are kept as the models take them: some sixty of 520×690."""


class Judge:
    """Compares int8 models with their fp32 original, which is run once.

    Args:
        fp32: the original.
        dataset: truth for the samples, if it has any; its classes are then the model's.
        samples: calibration images.
        preprocessing: theirs.
        interface: of the models.
        threads: of each session.
        runtime: what runs all models.

    Attributes:
        truth: what the labels are compared with, in words.

    Raises:
        DatasetError: the data set's classes are not the model's.
        UsageError: fp32 scores nothing on these images, so that nothing can be lost.
    """

    def __init__(
        self,
        fp32: Path | Model,
        dataset: Dataset,
        samples: Sequence[Sample],
        preprocessing: Preprocessing,
        *,
        interface: Interface = Interface(),
        threads: int = 0,
        runtime: str = DEFAULT_RUNTIME,
        progress: Progress = SILENT,
    ) -> None:
        self._samples = samples
        self._preprocessing = preprocessing
        self._interface = interface
        self._config = SessionConfig(threads=threads)
        self._runtime = runtime
        self._batches: dict[str, NDArray[np.float32]] = {}
        self._room = KEPT_BYTES
        original = Segmenter(fp32, self._config, interface, runtime)
        if dataset.labelled:
            _require_same_classes(dataset, original)
        self.truth = (
            f"the mIoU is of {len(original.classes)} classes, against the labels of {dataset.root}"
            if dataset.labelled
            else f"the calibration images have no labels: the mIoU is of {len(original.classes)} classes, against "
            "fp32's own labels, so that every pixel that int8 labels otherwise is a loss"
        )
        progress.note(self.truth)
        self._reference = self._labels(original, len(samples), progress, "labelling")
        self._truth = [
            resized_label_map(dataset, sample, (labels.shape[0], labels.shape[1])) if dataset.labelled else labels
            for sample, labels in zip(samples, self._reference, strict=True)
        ]
        self._metric = ConfusionMetric(len(original.classes))
        self._fp32_miou = self._miou(self._reference)
        if not self._fp32_miou > 0:
            raise UsageError(
                f"the fp32 model has an mIoU of {self._fp32_miou} on the {len(samples)} calibration images",
                fix="calibrate on images of its classes, or leave --max-drop out",
            )

    def drop_percent(self, model: Path | onnx.ModelProto, progress: Progress = SILENT) -> float:
        """The relative mIoU that `model` loses on all the images, in percent; negative is a gain."""
        labels = self._labels(self._opened(model), len(self._samples), progress, "judging")
        return 100 * (self._fp32_miou - self._miou(labels)) / self._fp32_miou

    def flipped_share(self, model: Path | onnx.ModelProto, images: int) -> float:
        """The share of the pixels of the first images whose label is not fp32's."""
        labels = self._labels(self._opened(model), images, SILENT, "judging")
        flipped = sum(int((a != b).sum()) for a, b in zip(labels, self._reference, strict=False))
        return flipped / sum(label.size for label in labels)

    def _opened(self, model: Path | onnx.ModelProto) -> Segmenter:
        return Segmenter(model, self._config, self._interface, self._runtime)

    def _labels(self, segmenter: Segmenter, images: int, progress: Progress, label: str) -> list[Labels]:
        loaded = prefetch(self._batch, self._samples[:images])
        tracked = progress.track(loaded, total=images, label=label)
        return [segmenter.labels(segmenter.run(batch), sample.name) for sample, batch in tracked]

    def _batch(self, sample: Sample) -> NDArray[np.float32]:
        """An image as the models take it; as many as there is room for are read once for all of them."""
        if sample.name in self._batches:
            return self._batches[sample.name]
        batch = self._preprocessing.read(sample)
        self._room -= batch.nbytes
        if self._room >= 0:
            self._batches[sample.name] = batch
        return batch

    def _miou(self, labels: Sequence[Labels]) -> float:
        rows: Counts = np.stack([self._metric.count(t, p) for t, p in zip(self._truth, labels, strict=True)])
        return self._metric.scores(rows).miou


def _require_same_classes(dataset: Dataset, model: Segmenter) -> None:
    labelled = dataset.label_space.names
    same = labelled == model.named if model.named else len(labelled) == len(model.classes)
    if not same:
        ours, theirs = (f"{len(names)} classes ({', '.join(names[:4])}, …)" for names in (labelled, model.classes))
        raise DatasetError(
            f"{dataset.root} has {ours}, and {model.network.name} has {theirs}",
            fix="calibrate on images that are labelled with the model's classes, or on images without labels",
        )
