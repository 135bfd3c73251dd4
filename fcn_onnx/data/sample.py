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
from fcn_onnx.data.labels import VOID, LabelSpace
from fcn_onnx.errors import DatasetError, UsageError
from fcn_onnx.jobs.artifact import digest_each, digest_file
from fcn_onnx.jobs.progress import SILENT, Progress


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
        label_space: what the labels mean.
    """

    label_space: LabelSpace

    @abstractmethod
    def label_map(self, sample: Sample) -> NDArray[np.uint8]:
        """(H, W) uint8; `VOID` where it is not to be scored."""

    def classes_in(self, sample: Sample) -> frozenset[int]:
        """Labels in the map but background and void."""
        return frozenset(np.unique(self.label_map(sample)).tolist()) - self.label_space.nothing

    def labelled_area(self, sample: Sample) -> float:
        """Pixels that are neither background nor void."""
        return float(np.isin(self.label_map(sample), list(self.label_space.nothing), invert=True).sum())

    def multilabel(self, sample: Sample) -> NDArray[np.bool_]:
        """One mask a class, (C, H, W) bool; void pixels belong to none, background included."""
        return np.asarray(self.label_map(sample)[None] == np.arange(len(self.label_space.names))[:, None, None])

    def require_known(self, labels: NDArray[np.uint8], where: Path | str) -> None:
        """Raise DatasetError where `labels`, of the mask called `where`, holds one that is no class and not `VOID`."""
        classes = len(self.label_space.names)
        unknown = set(np.unique(labels).tolist()) - set(range(classes)) - {VOID}
        if unknown:
            raise DatasetError(
                f"{where} holds the labels {sorted(unknown)}; {classes} classes have 0…{classes - 1} and {VOID}",
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
    def label_space(self) -> LabelSpace:
        """What the labels mean."""
        ...

    @property
    def description(self) -> str:
        """One line for the user: what was found, and where."""
        ...

    def fingerprint(self) -> str:
        """Digest of what the truth is read from: another digest means other truth."""
        ...

    def classes_in(self, sample: Sample) -> frozenset[int]:
        """Labels that the sample's truth holds, other than background and void."""
        ...

    def labelled_area(self, sample: Sample) -> float:
        """Pixels of the sample that are labelled as something but background, as the data set counts them."""
        ...

    def label_map(self, sample: Sample) -> NDArray[np.uint8]:
        """Truth as one label a pixel, (H, W) uint8; `VOID` where it is not to be scored."""
        ...

    def multilabel(self, sample: Sample) -> NDArray[np.bool_]:
        """Truth as one mask a class, (C, H, W) bool; classes may overlap; background is where no other is."""
        ...
