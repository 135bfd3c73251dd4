"""Label maps cut up: pixels near a border between classes, and the connected pieces of one label with their areas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.labelmaps import Labels

Mask = NDArray[np.bool_]
Pick = Callable[[Labels, Labels], Labels]


def near_border(labels: Labels, reach: int) -> Mask:
    """Pixels that are at most `reach` pixels from one of another label: (H, W) bool.

    The distance is the larger of those along rows and columns, so that `reach` pixels on either side of a straight
    border are near it. Nothing is known beyond the picture's edge, which is no border.

    Args:
        labels: (H, W) uint8; every value is a label.
    """
    highest, lowest = (_windows(_windows(labels, reach, pick, 0), reach, pick, 1) for pick in (np.maximum, np.minimum))
    near: Mask = highest != lowest
    return near


def _windows(labels: Labels, reach: int, pick: Pick, axis: int) -> Labels:
    """`pick` of each window of 2 · reach + 1 pixels along an axis, cut off at the edge; windows are made of halves."""
    pad = [(0, 0), (0, 0)]
    pad[axis] = (reach, reach)
    found = np.moveaxis(np.pad(labels, pad, mode="edge"), axis, 0)
    width, wanted = 1, 2 * reach + 1
    while width < wanted:
        step = min(width, wanted - width)
        found = pick(found[:-step], found[step:])
        width += step
    return np.moveaxis(found, 0, axis)


def piece_areas(labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The area of the piece that each pixel is of, run by run.

    A piece is a set of pixels of one label that hang together, over corners too. Rows are cut into runs of one label,
    and runs that touch are joined until every one of a piece has the number of its first: each round hooks the later
    root under the earlier and halves the paths, so few are needed (Shiloach and Vishkin, An O(log n) parallel
    connectivity algorithm, 1982).

    Args:
        labels: (H, W) uint8.

    Returns:
        For R runs in reading order, the place of each one's first pixel in `labels.ravel()`, and its piece's area in
        pixels, each (R,) int64.
    """
    height, width = labels.shape
    starts = np.ones((height, width), bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=starts[:, 1:])
    first = np.flatnonzero(starts)
    lengths = np.diff(first, append=labels.size)
    above, below = _touching(labels, starts)
    root = np.arange(len(first))
    while True:
        a, b = root[above], root[below]
        apart = a != b
        if not apart.any():
            break
        above, below, a, b = above[apart], below[apart], a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while (root[root] != root).any():
            root = root[root]
    return first, np.bincount(root, lengths, len(first)).astype(np.int64)[root]


def _touching(labels: Labels, starts: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of runs of one label, the second in the row below the first, which touch along an edge or at a corner.

    Which two runs lie above each other, or corner to corner, changes only in columns where one of the two begins.
    """
    width = labels.shape[1]
    below = np.flatnonzero(starts[:-1] | starts[1:]) + width
    above, inner = below - width, below % width > 0
    upper = np.concatenate([above, above[inner] - 1, above[inner]])
    lower = np.concatenate([below, below[inner], below[inner] - 1])
    flat, run = labels.ravel(), np.cumsum(starts.ravel(), dtype=np.int64) - 1
    same = flat[upper] == flat[lower]
    return run[upper[same]], run[lower[same]]
