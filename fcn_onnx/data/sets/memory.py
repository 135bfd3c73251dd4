"""Images that are arrays, from Python: a data set like those in folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.choice import ImageChoice, ImageSource
from fcn_onnx.data.labels import VOC, VOC_CLASSES, LabelSpace
from fcn_onnx.data.sample import Dataset, LabelMaps, Sample, by_name
from fcn_onnx.errors import DatasetError
from fcn_onnx.jobs.artifact import digest_bytes, digest_json

MEMORY = Path("(memory)")
"""Where such images lie, in words."""

Labelled = tuple[str, NDArray[Any], NDArray[Any] | None]
"""An image's name, its pixels (H, W, 3) uint8 in RGB, and its labels (H, W), or None without truth."""


@dataclass(frozen=True, eq=False)
class MemorySample(Sample):
    """An image that is an array, (H, W, 3) uint8; `path` is a name and no file."""

    pixels: NDArray[np.uint8] = field(repr=False)

    @property
    def file(self) -> None:
        return None

    def read(self) -> Image.Image:
        return Image.fromarray(self.pixels)

    def digest(self) -> str:
        return digest_array(self.pixels)


@dataclass(frozen=True, eq=False)
class MemoryDataset(LabelMaps):
    """Images, and truth where all have it, in the order in which they came."""

    samples: tuple[MemorySample, ...]
    labels: Mapping[str, NDArray[np.uint8]] = field(repr=False)
    label_space: LabelSpace = VOC
    root: Path = MEMORY
    kind: str = "memory"

    @classmethod
    def of(cls, images: Iterable[Labelled], classes: LabelSpace | tuple[str, ...] = VOC_CLASSES) -> Self:
        """Take the images, which may come from an iterator; the arrays are kept, not copied, and not to be changed.

        Args:
            images: each with its name, which says which one it is when an int8 model records what it was made on.
            classes: what labels mean; of names alone, see `LabelSpace.of`.

        Raises:
            DatasetError: there is none, an array is no image or no labels of it, or some have labels and others not.
            UsageError: two have one name.
        """
        samples, labels = [], {}
        for index, (name, pixels, truth) in enumerate(images):
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
                raise _wrong(f"the image {name} is {pixels.dtype} {pixels.shape}", "give (H, W, 3) uint8 in RGB")
            samples.append(MemorySample(index, name, MEMORY / name, pixels))
            if truth is None:
                continue
            if truth.shape != pixels.shape[:2] or truth.dtype.kind not in "ui" or truth.min() < 0 or truth.max() > 255:
                raise _wrong(f"the labels of {name} are {truth.dtype} {truth.shape}", "give (H, W) labels in 0…255")
            labels[name] = truth.astype(np.uint8, copy=False)
        if not samples:
            raise _wrong("no image was given", "give at least one")
        by_name(samples)
        if 0 < len(labels) < len(samples):
            raise _wrong(f"{len(labels)} of {len(samples)} images have labels", "give labels for all, or for none")
        space = classes if isinstance(classes, LabelSpace) else LabelSpace.of(classes)
        dataset = cls(tuple(samples), labels, space)
        for name, truth in labels.items():
            dataset.require_known(truth, f"the truth of {name}")
        return dataset

    @property
    def labelled(self) -> bool:
        """Whether there is truth."""
        return bool(self.labels)

    @property
    def description(self) -> str:
        """One line for the user."""
        return f"{len(self.samples)} images in memory, with{'' if self.labelled else 'out'} labels"

    def fingerprint(self) -> str:
        """Digest of all labels."""
        return digest_json([[name, digest_array(truth)] for name, truth in self.labels.items()])

    def label_map(self, sample: Sample) -> NDArray[np.uint8]:
        """(H, W) uint8. Raises DatasetError without labels."""
        if not self.labelled:
            raise _wrong(self.description, "give labels with the images")
        return self.labels[sample.name]


@dataclass(frozen=True)
class OpenSource(ImageSource):
    """A data set that is open, in memory or not: what `validate` takes in place of a folder."""

    dataset: Dataset = field(kw_only=True)

    @classmethod
    def of(cls, dataset: Dataset, **others: Any) -> Self:
        """The other arguments are those of `ImageSource`, or of `ImageChoice`."""
        return cls(dataset.root, dataset=dataset, **others)

    def open(self, classes: tuple[str, ...] = (), number: int | None = None) -> Dataset:
        return self.dataset

    def inputs(self) -> dict[str, Path | None]:
        return {"the list of images": self.images}


@dataclass(frozen=True)
class OpenChoice(OpenSource, ImageChoice):
    """Images of one: what `calibrate` and `quantize` take."""


def digest_array(array: NDArray[Any]) -> str:
    """Of its type, shape and values."""
    return digest_bytes(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())


def _wrong(what: str, fix: str) -> DatasetError:
    return DatasetError(what, fix=fix)
