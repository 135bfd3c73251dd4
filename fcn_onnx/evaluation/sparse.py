"""Counts of many images without their zeros: an image holds few of the classes, so nearly all of its counts are 0."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGES = 64
"""Images whose counts are made whole at once."""


@dataclass(frozen=True, eq=False)
class SparseCounts:
    """(N, *cells) int64 counts; `np.asarray` makes them whole, `blocks` some images at a time.

    Attributes:
        entries: `place` and `value` of what is not 0, of all images; a place is an index into an image's flat counts.
        starts, ends: (N,) int64, which entries are an image's.
        cells: the shape of an image's counts.
        offset: the place of their first.
    """

    entries: NDArray[Any]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    cells: tuple[int, ...]
    offset: int = 0
    dtype = np.dtype(np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *cells)."""
        return len(self.starts), *self.cells

    def __len__(self) -> int:
        return len(self.starts)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._whole(slice(None)).astype(dtype or self.dtype, copy=False)

    def part(self, index: int) -> SparseCounts:
        """(N, *cells[1:]): what lies at `index` along the first axis of each image; nothing is copied."""
        cells = self.cells[1:]
        return replace(self, cells=cells, offset=self.offset + index * prod(cells))

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """All images' counts in order, `IMAGES` at a time."""
        return (self._whole(slice(start, start + IMAGES)) for start in range(0, len(self), IMAGES))

    def _whole(self, images: slice) -> NDArray[np.int64]:
        starts, lengths = self.starts[images], self.ends[images] - self.starts[images]
        image = np.repeat(np.arange(len(starts)), lengths)
        before = np.cumsum(lengths) - lengths
        found = self.entries[np.arange(len(image)) + (starts - before)[image]]
        place, each = found["place"].astype(np.int64) - self.offset, prod(self.cells)
        own = (place >= 0) & (place < each)
        whole = np.zeros((len(starts), each), np.int64)
        whole[image[own], place[own]] = found["value"][own]
        return whole.reshape(len(starts), *self.cells)


class SparseRows:
    """Counts that are added image by image.

    Args:
        cells: the shape of an image's; that of the first one where it is not known.
    """

    def __init__(self, cells: tuple[int, ...] | None = None) -> None:
        self._cells = cells
        self._value: np.dtype[Any] = np.dtype(np.uint32)
        self._entries = bytearray()
        self._ends = array("q", [0])

    def require(self, counts: NDArray[Any]) -> None:
        """Raises ValueError if these are not an image's counts."""
        if counts.dtype.kind not in "iu" or counts.shape != (self._cells or counts.shape) or (counts < 0).any():
            raise ValueError(f"counts of {self._cells} were expected, not {counts.dtype} {counts.shape}")

    def append(self, counts: NDArray[np.int64]) -> None:
        """Add the next image's, of int64 that are not negative; raises ValueError as `require` does."""
        self.require(counts)
        self._cells = counts.shape
        flat = counts.ravel()
        places = np.flatnonzero(flat)
        if flat.size and flat.max() > np.iinfo(self._value).max:
            self._widen()
        found = np.empty(len(places), self._kind)
        found["place"], found["value"] = places, flat[places]
        self._entries += found.tobytes()
        self._ends.append(self._ends[-1] + len(found))

    def taken(self, order: Sequence[int]) -> SparseCounts:
        """These images, in this order; no more may be added while the result is there."""
        ends, picked = np.array(self._ends, np.int64), np.asarray(order, np.int64)
        return SparseCounts(self._held(), ends[picked], ends[picked + 1], self._cells or ())

    def one(self, index: int) -> NDArray[np.int64]:
        """The counts of one image."""
        start, end = self._ends[index], self._ends[index + 1]
        size = self._kind.itemsize
        own = np.frombuffer(bytes(self._entries[start * size : end * size]), self._kind)
        whole: NDArray[np.int64] = np.zeros(self._cells or (), np.int64)
        whole.ravel()[own["place"]] = own["value"]
        return whole

    @property
    def _kind(self) -> np.dtype[Any]:
        place = np.min_scalar_type(max(1, prod(self._cells or ())) - 1)
        return np.dtype([("place", place), ("value", self._value)])

    def _held(self) -> NDArray[Any]:
        return np.frombuffer(self._entries, self._kind)

    def _widen(self) -> None:
        """From now on values have 64 bits; an image of more than 4 billion cells needs them."""
        held = self._held()
        self._value = np.dtype(np.int64)
        self._entries = bytearray(held.astype(self._kind).tobytes())


Held = NDArray[np.int64] | SparseCounts


def blocks(counts: Held) -> Iterator[NDArray[np.int64]]:
    """All images' counts in order, `IMAGES` at a time."""
    if isinstance(counts, SparseCounts):
        return counts.blocks()
    return (counts[start : start + IMAGES] for start in range(0, len(counts), IMAGES))
