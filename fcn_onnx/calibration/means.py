"""The mean of each channel of an activation over images, exact to add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNIT = 2.0**-30
"""Means are kept as integers of this size, so that their sums do not depend on the order."""

LARGEST = 2.0**20
"""Of a mean's magnitude; 2¹³ images of it fit an int64."""


@dataclass(frozen=True)
class ChannelMeans:
    """Sums over images of each channel's mean.

    Attributes:
        images: how many.
        total: (C,) int64, in units of 2⁻³⁰.
    """

    images: int
    total: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> ChannelMeans:
        """Of one image's activation (1, C, …) float32."""
        rows = values[0].reshape(values.shape[1], -1)
        means = rows.sum(1).astype(np.float64) / rows.shape[1]
        return cls(1, np.rint(np.clip(means, -LARGEST, LARGEST) / UNIT).astype(np.int64))

    def __add__(self, other: ChannelMeans) -> ChannelMeans:
        """Of both sets of images."""
        return ChannelMeans(self.images + other.images, self.total + other.total)

    def mean(self) -> NDArray[np.float64]:
        """(C,) float64, each image having the same weight."""
        mean: NDArray[np.float64] = self.total * UNIT / self.images
        return mean
