"""One way of scoring, as a value: which images, how resized, which truth, scored how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.labelmaps import Labels, likeliest, on_grid
from fcn_onnx.data.preprocess import PILLOW, Preprocessing, Resize
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.evaluation.grids import Truth, no_truth
from fcn_onnx.evaluation.metrics import Metric, Prediction, TramacMetric, Unscored

if TYPE_CHECKING:
    from fcn_onnx.runtime.segmenter import Segmenter

Target = tuple[float, float | None]
ReadTruth = Callable[[Dataset, Sample, tuple[int, int]], Truth]
OnGrid = Callable[[Labels, tuple[int, int]], Labels]


@dataclass(frozen=True)
class Protocol:
    """One way of scoring.

    Attributes:
        name: as `validate --protocol` takes it.
        description: one line, for `--help` and the report.
        resize: the size that a network is shown unless it takes one size only.
        read_truth: truth of a sample on the grid of (height, width) that is scored.
        metric: counts and scores.
        of_network: `resize` is for networks that say no size of their own; one that does is shown that.
        resample: how a picture is resized, and
        resizes_floats: whether that is done when it is normalised: see `Preprocessing`.
        scored: the grid that is scored, where it is not the size that is shown.
        pad: (height, width) that the picture is padded to with zeros, right and below.
        on_grid: how labels are brought to the grid.
        resizes_logits: whether it is logits that are, bilinearly, and then labelled.
        foreground_only: only images whose truth holds a class but background.
        labelled_area: only images whose annotations' areas sum to more than this, in pixels.
        on: what is otherwise on data sets of a kind, by that and by attribute.
        targets: published fractions by model, (mIoU, pixel accuracy).
        published_on: the images that the targets are of.
    """

    name: str
    description: str
    resize: Resize
    read_truth: ReadTruth
    metric: Metric
    of_network: bool = False
    resample: str = PILLOW
    resizes_floats: bool = False
    scored: Resize | None = None
    pad: tuple[int, int] | None = None
    on_grid: OnGrid = on_grid
    resizes_logits: bool = False
    foreground_only: bool = False
    labelled_area: float = 0
    on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    published_on: str = "COCO val2017"

    def of_kind(self, kind: str) -> Protocol:
        """What it is on data sets of this kind."""
        return replace(self, **self.on.get(kind, {}))

    def without_truth(self) -> Protocol:
        """What is left of it on data without truth: how images are shown, and on which grid labels are compared."""
        return replace(self, metric=Unscored(), read_truth=no_truth, foreground_only=False, labelled_area=0)

    def of_size(self, size: tuple[int, int] | None) -> Protocol:
        """What it is for networks whose own (height, width) is this; None where they do not say any."""
        return replace(self, resize=Resize(size=size)) if self.of_network and size else self

    def grid(self, image: Image.Image) -> tuple[int, int]:
        """The (height, width) on which this photograph is scored."""
        width, height = (self.scored or self.resize).target(*image.size)
        return height, width

    def shown(self, preprocessing: Preprocessing, fixed_size: tuple[int, int] | None) -> Preprocessing:
        """How networks that normalise as `preprocessing` does are shown an image.

        Raises:
            UsageError: they take images of one size, and this protocol pads to another; or it pads with the mean
                colour when it has normalised, and they normalise themselves.
        """
        if self.pad and preprocessing.divisor == 1:
            raise UsageError(
                f"protocol {self.name} pads normalised images with 0, and the models take pixels and normalise them "
                "themselves",
                fix="use another protocol",
            )
        if fixed_size and self.pad and fixed_size != self.pad:
            raise UsageError(
                f"protocol {self.name} pads images to {self.pad[0]}x{self.pad[1]}, and the models take "
                f"{fixed_size[0]}x{fixed_size[1]}",
                fix="export them without --size, or use another protocol",
            )
        return replace(
            preprocessing,
            resize=Resize(size=fixed_size) if fixed_size and not self.pad else self.resize,
            pad=self.pad,
            resample=self.resample,
            resizes_floats=self.resizes_floats and preprocessing.divisor != 1,
        )

    def predicted(
        self, segmenter: Segmenter, value: NDArray[Any], photograph: Image.Image, shown: Preprocessing, name: str
    ) -> Prediction:
        """Labels on the grid that is scored.

        Args:
            segmenter: the model that returned `value` for the photograph called `name`.
            shown: how it was shown.

        Raises:
            ModelError: the model returns something else than logits or labels of its classes, or something else than
                logits where the protocol looks at those.
        """
        from fcn_onnx.runtime.upsampling import upsample  # what runs models is loaded when one is scored

        grid = self.grid(photograph)
        if isinstance(self.metric, TramacMetric):
            logits = self._logits(segmenter, value, name, "takes pixel accuracy from logits")
            labels, truncated = (self.on_grid(likeliest(planes), grid) for planes in (logits, np.trunc(logits)))
            return Prediction(labels, truncated)
        if not self.resizes_logits:
            return Prediction(self.on_grid(segmenter.labels(value, name), grid))
        logits = self._logits(segmenter, value, name, "resizes logits")
        width, height = shown.resize.target(*photograph.size)
        whole = upsample(logits, shown.pad or (height, width))
        return Prediction(likeliest(upsample(whole[:, :height, :width], grid)))

    def _logits(self, segmenter: Segmenter, value: NDArray[Any], name: str, why: str) -> NDArray[np.float32]:
        from fcn_onnx.model.labels import Meaning

        scores = segmenter.scores(value, name)
        truncated = isinstance(self.metric, TramacMetric)
        if scores is None or (truncated and segmenter.meaning is not Meaning.LOGITS):
            raise ModelError(
                f"protocol {self.name} {why}, and {segmenter.network.name} returns {segmenter.meaning.value}",
                fix="use a model that returns logits, or another protocol",
            )
        return scores

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
