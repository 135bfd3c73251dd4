"""Truth in mask files, one beside each image: reading them, and what their values mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.images import has_16_bits, opened, raw_forms, require_one, stored_size
from fcn_onnx.data.labels import VOID, LabelSpace
from fcn_onnx.data.sample import LabelMaps, Sample
from fcn_onnx.errors import DatasetError, ImageError
from fcn_onnx.jobs.artifact import digest_file, digest_json
from fcn_onnx.jobs.reading import refusal

LABEL_MODES = ("P", "L", "1")
COLOUR_MODES = ("RGB", "P", "L")
SCALED = frozenset({"L;2", "L;4"})
"""Greys of fewer than 8 bits, which Pillow spreads over 0…255."""

SHOWN = 8
"""Unknown values that an error lists."""


@dataclass(frozen=True)
class Values:
    """What the values in a data set's masks mean.

    Attributes:
        labels: the label, or `VOID`, of each value; None where values are labels.
        colours: whether values are colours, 65536·R + 256·G + B, and not single numbers.
        said_by: who says so, for errors.
    """

    labels: Mapping[int, int] | None = None
    colours: bool = False
    said_by: str = ""

    def shown(self, value: int) -> str:
        """A value as it is written in a label map."""
        return f"{value >> 16} {value >> 8 & 255} {value & 255}" if self.colours else str(value)

    def to_json(self) -> Any:
        """What a digest is made of."""
        return None if self.labels is None else [self.colours, sorted(self.labels.items())]


LABELS = Values()


@dataclass(frozen=True)
class MaskDataset(LabelMaps):
    """Images with a mask file each.

    Attributes:
        masks: by the sample's name.
        values: what is in them.
    """

    root: Path
    samples: tuple[Sample, ...]
    description: str
    masks: Mapping[str, Path] = field(repr=False)
    label_space: LabelSpace
    values: Values = LABELS
    kind: str = "masks"
    labelled: bool = True

    def fingerprint(self) -> str:
        """Digest of all masks, and of what their values mean."""
        return digest_json([self.values.to_json(), *(digest_file(self.masks[sample.name]) for sample in self.samples)])

    def label_map(self, sample: Sample) -> NDArray[np.uint8]:
        """(H, W) uint8 labels; 255 is void.

        Raises:
            DatasetError: the mask is damaged, no mask, of another size than its image, or holds an unknown value.
        """
        path = self.masks[sample.name]
        found = read_values(path, sample.path, colours=self.values.colours)
        if self.values.labels is None:
            labels = found.astype(np.uint8, copy=False)
            self.require_known(labels, path)
            return labels
        known = sorted(self.values.labels)
        place = np.searchsorted(known, found).clip(max=len(known) - 1)
        unknown = np.unique(found[np.asarray(known)[place] != found])
        if unknown.size:
            values = ", ".join(self.values.shown(int(value)) for value in unknown[:SHOWN])
            more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
            raise DatasetError(
                f"{path} holds {values}{more}, of which {self.values.said_by} says nothing",
                fix="use the class masks as they are published, or say what the value means (void, or a class)",
            )
        meant: NDArray[np.uint8] = np.array([self.values.labels[value] for value in known], np.uint8)[place]
        return meant


def read_values(path: Path, image: Path, *, colours: bool) -> NDArray[Any]:
    """The values of the mask of an image as stored: numbers or palette indices (H, W) uint8, or colours (H, W) int32.

    Raises:
        DatasetError: it is damaged, of several pages, of a mode that holds no such values, or of another size.
    """
    try:
        size = stored_size(image)
        with opened(path) as mask:
            require_one(mask, path)
            if mask.mode not in (COLOUR_MODES if colours else LABEL_MODES) or has_16_bits(mask):
                wanted = "8-bit colours" if colours else "a palette or 8-bit labels"
                raise DatasetError(
                    f"{path} is a {mask.size} image of mode {mask.mode}, not a mask of {wanted}",
                    fix="use the masks as they are published; what colours mean says --label-map",
                )
            if not colours and raw_forms(mask) & SCALED:
                raise DatasetError(f"{path} has greys of fewer than 8 bits", fix="save it as a palette, or with 8 bits")
            if mask.size != size:
                raise DatasetError(
                    f"{path} is {mask.size} and {image} is {size}", fix="use a mask of the image's own size"
                )
            if not colours:
                return np.array(mask, dtype=np.uint8)
            red, green, blue = np.moveaxis(np.asarray(mask.convert("RGB"), np.int32), 2, 0)
            codes: NDArray[np.int32] = red << 16 | green << 8 | blue
            return codes
    except ImageError as error:
        raise DatasetError(error.what, fix=error.fix) from error


def require_inside(path: Path, folder: Path, named_by: object) -> Path:
    """`path`, if it is an ordinary file below `folder`, a real path. Raises DatasetError otherwise."""
    if why := refusal(path, folder):
        raise DatasetError(f"{named_by}: {path} {why}", fix="complete the data, or correct what names it")
    return path


def require_split(wanted: str, known: list[str], where: Path) -> str:
    """`wanted`, if it is one of those that are there. Raises DatasetError otherwise: no name leads elsewhere."""
    if wanted not in known:
        raise DatasetError(
            f"{where} has no split {wanted!r}", fix=f"use --split with one of: {', '.join(sorted(known)) or 'none'}"
        )
    return wanted


def fitted(space: LabelSpace, names: tuple[str, ...], number: int | None, what: str) -> LabelSpace:
    """The labels of a data set of fixed classes, called as the model calls them.

    Raises:
        DatasetError: the model, of `names` or of `number` classes, has another number of them.
    """
    asked = len(names) or number
    if asked not in (None, 0, len(space.names)):
        raise DatasetError(
            f"{what} has {len(space.names)} classes, and the model {asked}",
            fix="use data that is labelled with the model's classes",
        )
    return LabelSpace(names or space.names, space.background, space.colours)


def void_but(labels: Mapping[int, int], values: range) -> dict[int, int]:
    """The label of each of `values`: that of `labels`, else `VOID`."""
    return {value: labels.get(value, VOID) for value in values}
