"""OpenCV's `resize` in numpy, for what was trained and scored with it; to the last bit where pixels are uint8.

Pillow's bilinear filter widens where an image shrinks, and OpenCV's reads two pixels a side whatever the scale; its
INTER_AREA is a mean over cells where no side grows, and another interpolation where one does; its INTER_NEAREST rounds
positions down. Positions and coefficients are those of `modules/imgproc/src/resize.cpp` (4.x); the order of float32's
sums may differ, which is the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Pixel = TypeVar("Pixel", bound=np.generic)
"""uint8 or float32."""

ONE = 2048
"""1 as a coefficient of uint8."""

SLIVER = 1e-3
"""Share of a pixel that is not worth a coefficient."""


class Taps(NamedTuple):
    """What each place along a side is made of: K source positions, (K, places) int64, and their weights, float32."""

    positions: NDArray[np.int64]
    weights: NDArray[np.float32]


def resize_linear(pixels: NDArray[Pixel], size: tuple[int, int]) -> NDArray[Pixel]:
    """INTER_LINEAR of (H, W, C) to `size`, (width, height): half-pixel centres, no antialiasing."""
    if _whole_cell(pixels, size) == (2, 2):  # OpenCV's own exception
        return _mean_of_cells(pixels, (2, 2))
    return _interpolated(pixels, size, _between_centres)


def resize_area(pixels: NDArray[Pixel], size: tuple[int, int]) -> NDArray[Pixel]:
    """INTER_AREA of (H, W, C) to `size`, (width, height): the mean of what a pixel covers, where no side grows."""
    height, width = pixels.shape[:2]
    if size[0] > width or size[1] > height:
        return _interpolated(pixels, size, _between_edges)
    if cell := _whole_cell(pixels, size):
        return _mean_of_cells(pixels, cell)
    rows = _weighed(pixels, _covered(width, size[0]), axis=1)
    return _rounded(_weighed(rows, _covered(height, size[1]), axis=0), pixels)


def resize_nearest(labels: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """INTER_NEAREST of (H, W) to `grid`, (height, width): position floor(place · side / the grid's side)."""
    rows, columns = (
        np.minimum(np.floor(np.arange(n) * _scale(side, n)).astype(np.int64), side - 1)
        for side, n in zip(labels.shape, grid, strict=True)
    )
    resized: NDArray[np.uint8] = labels[rows[:, None], columns]
    return resized


def _scale(side: int, places: int) -> float:
    """Source pixels a place, rounded as OpenCV does."""
    return 1.0 / (places / side)


def _between_centres(side: int, places: int) -> Taps:
    at = ((np.arange(places) + 0.5) * _scale(side, places) - 0.5).astype(np.float32)
    return _two(np.floor(at), at - np.floor(at))


def _between_edges(side: int, places: int) -> Taps:
    """A place is of the pixel that its left edge lies in, and of the next one as far as it reaches into that."""
    place = np.arange(places)
    first = np.floor(place * _scale(side, places))
    share = ((place + 1) - (first + 1) * (places / side)).astype(np.float32)
    return _two(first, np.where(share <= 0, 0, share - np.floor(share)).astype(np.float32))


def _two(first: NDArray[np.floating[Any]], share: NDArray[np.float32]) -> Taps:
    """Two neighbours, the second of which has this share."""
    positions = first.astype(np.int64)
    return Taps(np.stack([positions, positions + 1]), np.stack([np.float32(1) - share, share]))


def _interpolated(pixels: NDArray[Pixel], size: tuple[int, int], taps: Callable[[int, int], Taps]) -> NDArray[Pixel]:
    height, width = pixels.shape[:2]
    across, down = taps(width, size[0]), taps(height, size[1])
    beyond = (across.positions[0] < 0) | (across.positions[0] >= width - 1)  # all of it is of the pixel at the border
    weights = np.where(beyond, np.array([[1], [0]], np.float32), across.weights)
    across = Taps(np.clip(across.positions, 0, width - 1), weights)
    down = Taps(np.clip(down.positions, 0, height - 1), down.weights)
    if pixels.dtype == np.uint8:
        return _in_fixed_point(pixels, across, down)
    return _weighed(_weighed(pixels, across, axis=1), down, axis=0).astype(pixels.dtype, copy=False)


def _in_fixed_point(pixels: NDArray[Pixel], across: Taps, down: Taps) -> NDArray[Pixel]:
    """uint8's interpolation: 11 bits of coefficients, of which the second pass drops some of the sums' digits."""
    (left, right), (above, below) = (np.rint(taps.weights * ONE).astype(np.int32) for taps in (across, down))
    rows = pixels[:, across.positions[0]] * left[:, None] + pixels[:, across.positions[1]] * right[:, None]
    rows >>= 4
    upper = rows[down.positions[0]] * above[:, None, None] >> 16
    lower = rows[down.positions[1]] * below[:, None, None] >> 16
    resized: NDArray[Pixel] = (upper + lower + 2 >> 2).astype(pixels.dtype)
    return resized


def _covered(side: int, places: int) -> Taps:
    """Every pixel that a place covers, weighed by how much of the place it is."""
    scale = _scale(side, places)
    left = np.arange(places) * scale
    right = left + scale
    cell = np.minimum(scale, side - left)
    last = np.minimum(np.floor(right).astype(np.int64), side - 1)
    first = np.minimum(np.ceil(left).astype(np.int64), last)
    positions = first - 1 + np.arange(int((last - first).max()) + 2)[:, None]
    before, after = first - left, right - last
    weights = np.where(positions < last, 1 / cell, 0)
    weights[0] = np.where(before > SLIVER, before / cell, 0)
    ends = np.where(after > SLIVER, np.minimum(np.minimum(after, 1), cell) / cell, 0)
    weights = np.where(positions == last, ends, weights)
    return Taps(np.clip(positions, 0, side - 1), weights.astype(np.float32))


def _weighed(values: NDArray[Any], taps: Taps, axis: int) -> NDArray[np.float32]:
    """The sums along an axis, tap by tap."""
    shape = (-1, 1) if axis else (-1, 1, 1)
    total: NDArray[np.float32] | None = None
    for positions, weights in zip(*taps, strict=True):
        term = np.take(values, positions, axis).astype(np.float32, copy=False) * weights.reshape(shape)
        total = term if total is None else np.add(total, term, out=total)
    assert total is not None
    return total


def _whole_cell(pixels: NDArray[Any], size: tuple[int, int]) -> tuple[int, int] | None:
    """(rows, columns) of source pixels a place, where both are whole."""
    sides = [(pixels.shape[0], size[1]), (pixels.shape[1], size[0])]
    if any(side % places for side, places in sides):
        return None
    rows, columns = (side // places for side, places in sides)
    return rows, columns


def _mean_of_cells(pixels: NDArray[Pixel], cell: tuple[int, int]) -> NDArray[Pixel]:
    (height, width, channels), (rows, columns) = pixels.shape, cell
    cells = pixels.reshape(height // rows, rows, width // columns, columns, channels)
    if pixels.dtype != np.uint8:
        return _rounded(cells.mean((1, 3), dtype=np.float32), pixels)
    sums = cells.sum((1, 3), dtype=np.int32)
    if cell == (2, 2):  # a half is rounded up here alone
        sums += 2
        sums -= sums % 4
    return _rounded(sums.astype(np.float32) * np.float32(1 / (rows * columns)), pixels)


def _rounded(values: NDArray[np.float32], like: NDArray[Pixel]) -> NDArray[Pixel]:
    """As pixels of the same type: uint8 are the nearest, the even one of two."""
    return (np.rint(values).clip(0, 255) if like.dtype == np.uint8 else values).astype(like.dtype)


Resize = Callable[[NDArray[Any], tuple[int, int]], NDArray[Any]]


def _area_where_smaller(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """OpenCV's INTER_AREA where a side shrinks, else INTER_LINEAR: TI's."""
    shrinks = size[0] < pixels.shape[1] or size[1] < pixels.shape[0]
    return (resize_area if shrinks else resize_linear)(pixels, size)


OPENCV: Mapping[str, Resize] = {
    "opencv-linear": resize_linear,
    "opencv-area": resize_area,
    "opencv-area-where-smaller": _area_where_smaller,
}
"""OpenCV's ways of resizing (H, W, C) to (width, height), uint8 or float32, by name."""
