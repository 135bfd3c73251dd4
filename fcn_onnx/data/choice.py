"""Which images to work on, as one value that travels from the command line to the stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.bounds import COUNT
from fcn_onnx.jobs.fields import Checked, option
from fcn_onnx.jobs.progress import SILENT, Progress

if TYPE_CHECKING:
    from fcn_onnx.data.sample import Dataset, Sample

DEFAULT_LIMIT = 100
"""Images drawn when no limit is given; never more than half of what is there."""

DATA = (
    "COCO images (coco/val2017 finds coco/annotations/instances_val2017.json), a VOCdevkit, Cityscapes, ADE20K, images "
    "with --masks, or, where no truth is needed, any folder of images."
)


@dataclass(frozen=True)
class ImageSource(Checked):
    """Images of a data folder: all, or those of a list.

    Attributes:
        data: of one of the data sets in `fcn_onnx.data.sets.discover`.
        annotations: COCO annotations, if they are elsewhere.
        masks: a folder of PNG masks that are called as the images are.
        label_map: what the masks' values mean, see `fcn_onnx.data.sets.label_map`.
        split: of a data set that has splits.
        images: a list of exactly the images to take.

    Raises:
        UsageError: truth from two places, or a label map of none.
    """

    data: Path = option(help=DATA, metavar="DIR")
    annotations: Path | None = option(None, help="COCO annotations, if they are elsewhere.", metavar="FILE")
    masks: Path | None = option(
        None, help="Truth as PNG masks that are called as the images in --data are.", metavar="DIR"
    )
    label_map: Path | None = option(
        None,
        help="What the values of --masks mean: lines of `R G B class` or `number class`. Default: they are labels.",
        metavar="FILE",
    )
    split: str | None = option(None, help="Which split of VOC, Cityscapes or ADE20K. Default: val.", metavar="NAME")
    images: Path | None = option(
        None, help="Exactly these images: one name a line, relative to --data.", metavar="LIST"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.annotations is not None and self.masks is not None:
            raise UsageError("--annotations and --masks are two truths", fix="give one of them")
        if self.label_map is not None and self.masks is None:
            raise UsageError("--label-map is of masks, and there are none", fix="give --masks, or leave it out")

    def inputs(self) -> dict[str, Path | None]:
        """Files that are read beside the images, by what they are called; see `claim_outputs`."""
        from fcn_onnx.data.sets.discover import annotations_beside  # what reads images is loaded when they are read

        return {
            "the annotations": self.annotations or annotations_beside(self.data),
            "the label map": self.label_map,
            "the list of images": self.images,
        }

    def open(self, classes: tuple[str, ...] = (), number: int | None = None) -> Dataset:
        """The data set, labelled with a model's classes: see `open_dataset`, and for what is raised."""
        from fcn_onnx.data.sets.discover import open_dataset

        return open_dataset(self, classes, number)

    def open_images(self) -> Dataset:
        """The data set for its images alone, whatever the labels are; see `open`."""
        return replace(self, label_map=None).open()

    def listed(self, dataset: Dataset) -> tuple[Sample, ...] | None:
        """The images of the list, None without one. Raises DatasetError if they are not in the data set."""
        from fcn_onnx.data.selection import read_list

        return None if self.images is None else read_list(self.images, dataset)


@dataclass(frozen=True)
class Chosen:
    """A data set that was opened, and the images of it that were chosen, in the order of ids."""

    dataset: Dataset
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class ImageChoice(ImageSource):
    """Images to calibrate on: those of a list, or a seeded draw.

    Attributes:
        limit: how many to draw; default min(100, half of them).
        seed: of the draw.
        spread: draw so that the classes are covered evenly; needs labels.

    Raises:
        UsageError: a list and a draw at once, or a draw of no image.
    """

    limit: int | None = option(None, help="How many to calibrate on. Default: min(100, half).", bound=COUNT)
    seed: int = option(0, help="Seed of the draw of calibration images.")
    spread: bool = option(False, help="Draw images that cover the classes evenly (needs annotations).")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images is not None and (self.limit is not None or self.spread):
            raise UsageError("--images contradicts --limit and --spread", fix="give one of them")

    def choose(
        self,
        progress: Progress = SILENT,
        classes: tuple[str, ...] = (),
        number: int | None = None,
        *,
        scored: bool = False,
    ) -> Chosen:
        """Open the data and choose, in the order of ids.

        Args:
            classes, number: of the model, see `open_dataset`; where nothing looks at labels, the data need not have
                them.
            scored: whether the caller will look at labels; `spread` does too.

        Raises:
            DatasetError: the data, or what the list names, is not there; or `spread` finds no labels of `classes`.
        """
        dataset = self.open(classes, number) if self.spread or scored else self.open_images()
        progress.note(dataset.description)
        return Chosen(dataset, self._drawn(dataset, progress))

    def _drawn(self, dataset: Dataset, progress: Progress) -> tuple[Sample, ...]:
        from fcn_onnx.data.selection import draw, spread_over_classes
        from fcn_onnx.data.sets.discover import require_labels

        if (listed := self.listed(dataset)) is not None:
            return listed
        available = len(dataset.samples)
        wanted = self.limit if self.limit is not None else max(1, min(DEFAULT_LIMIT, available // 2))
        if wanted > available:
            progress.note(f"asked for {wanted} calibration images, {available} are there: all are used")
        number = min(wanted, available)
        if self.spread:
            require_labels(dataset)
            return spread_over_classes(dataset, number, self.seed)
        return draw(dataset.samples, number, self.seed)
