"""Which images to calibrate on, as one value that travels from the command line to the stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.data.sample import VOC_CLASSES, Sample
from fcn_onnx.data.selection import draw, read_list, spread_over_classes
from fcn_onnx.data.sets.discover import annotations_beside, open_dataset, require_labels
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.bounds import COUNT
from fcn_onnx.jobs.progress import SILENT, Progress

DEFAULT_LIMIT = 100
"""Images drawn when no limit is given; never more than half of what is there."""


@dataclass(frozen=True)
class ImageChoice:
    """Images of a data folder: those of a list, or a seeded draw.

    Attributes:
        data: COCO images, a VOCdevkit or any folder of images.
        annotations: COCO annotations, if they are elsewhere.
        images: a list of exactly the images to take.
        limit: how many to draw; default min(100, half of them).
        seed: of the draw.
        spread: draw so that the classes are covered evenly; needs labels.
    """

    data: Path
    annotations: Path | None = None
    images: Path | None = None
    limit: int | None = None
    seed: int = 0
    spread: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError on a list and a draw at once, or a draw of no image."""
        COUNT.require("--limit", self.limit)
        if self.images is not None and (self.limit is not None or self.spread):
            raise UsageError("--images contradicts --limit and --spread", fix="give one of them")

    def inputs(self) -> dict[str, Path | None]:
        """Files that are read beside the images, by what they are called; see `claim_outputs`."""
        return {
            "the annotations": self.annotations or annotations_beside(self.data),
            "the list of images": self.images,
        }

    def choose(self, progress: Progress = SILENT, classes: tuple[str, ...] = VOC_CLASSES) -> tuple[Sample, ...]:
        """Open the data and choose, in the order of ids.

        Args:
            classes: what `spread` covers; nothing else looks at labels, and annotations need not know them.

        Raises:
            DatasetError: the data, or what the list names, is not there; or `spread` finds no labels of `classes`.
        """
        dataset = open_dataset(self.data, annotations=self.annotations, classes=classes if self.spread else VOC_CLASSES)
        progress.note(dataset.description)
        if self.images is not None:
            return read_list(self.images, dataset)
        available = len(dataset.samples)
        wanted = self.limit if self.limit is not None else max(1, min(DEFAULT_LIMIT, available // 2))
        if wanted > available:
            progress.note(f"asked for {wanted} calibration images, {available} are there: all are used")
        number = min(wanted, available)
        if self.spread:
            require_labels(dataset)
            return spread_over_classes(dataset, number, self.seed)
        return draw(dataset.samples, number, self.seed)
