"""Label maps as arrays: from scores, and on another grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Labels = NDArray[np.uint8]
"""(h, w): the class of each pixel."""

BAND = 256
"""Rows whose labels are found at once."""


def likeliest(scores: NDArray[np.float32]) -> Labels:
    """The class of the highest score, the lowest of several, (h, w) uint8.

    In bands, as numpy's argmax over planes copies what it gets.
    """
    labels: Labels = np.empty(scores.shape[1:], np.uint8)
    for top in range(0, len(labels), BAND):
        labels[top : top + BAND] = scores[:, top : top + BAND].argmax(0)
    return labels


def on_grid(labels: Labels, grid: tuple[int, int]) -> Labels:
    """Labels (h, w) brought to the (height, width) of `grid` by nearest neighbour, (H, W) uint8."""
    if labels.shape == grid:
        return labels
    resized: Labels = np.asarray(Image.fromarray(labels).resize((grid[1], grid[0]), Image.Resampling.NEAREST))
    return resized
