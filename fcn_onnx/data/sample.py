"""What the rest of the program knows of a data set: samples with names, and truth when there is any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.errors import UsageError
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


def by_name(samples: Iterable[Sample]) -> dict[str, Sample]:
    """Samples by name, in their order. Raises UsageError if two have one name."""
    found: dict[str, Sample] = {}
    for sample in samples:
        if sample.name in found:
            raise UsageError(f"the image {sample.name} is there twice", fix="name each image once")
        found[sample.name] = sample
    return found


class Dataset(Protocol):
    """A folder of images, with truth where `labelled`.

    Truth comes at the image's own size. Methods that need labels raise `DatasetError` without them.
    """

    @property
    def kind(self) -> str:
        """`coco`, `voc` or `folder`."""
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
