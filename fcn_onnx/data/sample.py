"""What the rest of the program knows of a data set: samples with names, and truth when there is any."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.images import read_rgb
from fcn_onnx.errors import DatasetError, UsageError
from fcn_onnx.jobs.artifact import digest_each, digest_file
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.jobs.reading import read_text

VOID = 255
"""Label of pixels that no protocol scores."""

VOC_CLASSES: tuple[str, ...] = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The 21 classes of PASCAL VOC in label order, background first."""


MAX_CLASSES = 255
"""Labels are stored in 8 bits, and one is `VOID`."""


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names from a text file: one a line in label order, background first; empty lines do not count.

    Raises:
        UsageError: the file cannot be read, names fewer than two or more than 255 classes, or one twice.
    """
    try:
        names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the classes in {path} cannot be read: {error}", fix="name a text file, one class a line"
        ) from error
    if not 2 <= len(names) <= MAX_CLASSES or len(set(names)) < len(names):
        raise UsageError(
            f"{path} names {len(names)} classes, {len(set(names))} of them different",
            fix=f"write 2 to {MAX_CLASSES} different names, one a line, background first",
        )
    return names


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        id: sorts the data set; a COCO image id, or the name where there is no number.
        name: path relative to the data folder, POSIX style; what lists and reports show.
        path: the file.
    """

    id: int | str
    name: str
    path: Path

    @property
    def file(self) -> Path | None:
        """What may not be written over; None where the image is in memory."""
        return self.path

    def read(self) -> Image.Image:
        """The photograph as stored, in mode RGB. Raises ImageError if it cannot be read."""
        return read_rgb(self.path)

    def digest(self) -> str:
        """Of its content. Raises OSError if it cannot be read."""
        return digest_file(self.path)


def by_name(samples: Iterable[Sample]) -> dict[str, Sample]:
    """Samples by name, in their order. Raises UsageError if two have one name."""
    found: dict[str, Sample] = {}
    for sample in samples:
        if sample.name in found:
            raise UsageError(f"the image {sample.name} is there twice", fix="name each image once")
        found[sample.name] = sample
    return found


def digests(samples: Sequence[Sample], progress: Progress = SILENT) -> tuple[str, ...]:
    """`Sample.digest` of each; `UNREADABLE` where that fails, as whoever uses the image will say why."""
    return digest_each([sample.digest for sample in samples], progress)


class LabelMaps(ABC):
    """What follows of truth that is one label a pixel.

    Attributes:
        classes: names in label order, background first.
    """

    classes: tuple[str, ...]

    @abstractmethod
    def label_map(self, sample: Sample) -> NDArray[np.uint8]:
        """(H, W) uint8; `VOID` where it is not to be scored."""

    def classes_in(self, sample: Sample) -> frozenset[int]:
        """Labels in the map but background and void."""
        return frozenset(np.unique(self.label_map(sample)).tolist()) - {0, VOID}

    def labelled_area(self, sample: Sample) -> float:
        """Pixels that are neither background nor void."""
        labels = self.label_map(sample)
        return float(((labels != 0) & (labels != VOID)).sum())

    def multilabel(self, sample: Sample) -> NDArray[np.bool_]:
        """One mask a class, (C, H, W) bool; void pixels belong to none, background included."""
        return np.asarray(self.label_map(sample)[None] == np.arange(len(self.classes))[:, None, None])

    def require_known(self, labels: NDArray[np.uint8], where: Path | str) -> None:
        """Raise DatasetError where `labels`, of the mask called `where`, holds one that is no class and not `VOID`."""
        unknown = set(np.unique(labels).tolist()) - set(range(len(self.classes))) - {VOID}
        if unknown:
            raise DatasetError(
                f"{where} holds the labels {sorted(unknown)}; {len(self.classes)} classes have 0…"
                f"{len(self.classes) - 1} and {VOID}",
                fix="use the class masks, not the object masks, or name the classes with --classes",
            )


class Dataset(Protocol):
    """A folder of images, with truth where `labelled`.

    Truth comes at the image's own size. Methods that need labels raise `DatasetError` without them.
    """

    @property
    def kind(self) -> str:
        """`coco`, `voc`, `folder` or `memory`."""
        ...

    @property
    def root(self) -> Path:
        """The folder that sample names are relative to."""
        ...

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every image, in the order of ids."""
        ...

    @property
    def labelled(self) -> bool: ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order, background first."""
        ...

    @property
    def description(self) -> str:
        """One line for the user: what was found, and where."""
        ...

    def fingerprint(self) -> str:
        """Digest of what the truth is read from: another digest means other truth."""
        ...

    def classes_in(self, sample: Sample) -> frozenset[int]:
        """Labels other than 0 that the sample's truth holds."""
        ...

    def labelled_area(self, sample: Sample) -> float:
        """Pixels of the sample that are labelled as something but background, as the data set counts them."""
        ...

    def label_map(self, sample: Sample) -> NDArray[np.uint8]:
        """Truth as one label a pixel, (H, W) uint8; `VOID` where it is not to be scored."""
        ...

    def multilabel(self, sample: Sample) -> NDArray[np.bool_]:
        """Truth as one mask a class, (C, H, W) bool; classes may overlap; 0 is where no other is."""
        ...
