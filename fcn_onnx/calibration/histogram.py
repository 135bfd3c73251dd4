"""Histograms that add exactly, whatever the order and the split of the data.

A bin is 2^e wide, and bin k holds k·2^e ≤ x < (k + 1)·2^e, so that doubling the width merges neighbours:
⌊⌊x / w⌋ / 2⌋ = ⌊x / 2w⌋, exactly, and floating-point division by a power of two is exact too. The width is a
function of the largest magnitude alone: the smallest for which it lies below 4096 bins. Hence a histogram is a
function of the multiset of values: merging is commutative and associative, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.calibration.counting import SIDE, Count, by_numpy

SIDE_BITS = 12
MIN_EXPONENT = -100
"""Narrower bins would scale values out of float32's range; whole tensors below 2^-88 are zero to int8."""


@dataclass(frozen=True)
class Histogram:
    """Counts of a tensor's values.

    Attributes:
        exponent: bins are 2^exponent wide.
        counts: (2 · SIDE,) int64; index SIDE + k is bin k.
        minimum, maximum: exact, over all values.
    """

    exponent: int
    counts: NDArray[np.int64]
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: NDArray[np.float32], count: Count = by_numpy) -> Histogram:
        """The histogram of a float32 array of any shape, at least one value, all finite.

        Args:
            count: how; any way gives the same.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        flat = values.ravel()
        minimum, maximum = float(flat.min()), float(flat.max())
        if not (np.isfinite(minimum) and np.isfinite(maximum)):
            raise ValueError("not finite")
        exponent = _exponent(minimum, maximum)
        counts = count(flat, exponent, minimum < 0)
        return cls(exponent, counts, minimum, maximum)

    def __add__(self, other: Histogram) -> Histogram:
        """The histogram of both sets of values."""
        exponent = max(self.exponent, other.exponent)
        return Histogram(
            exponent,
            self._at(exponent) + other._at(exponent),
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Histogram)
            and (self.exponent, self.minimum, self.maximum) == (other.exponent, other.minimum, other.maximum)
            and bool((self.counts == other.counts).all())
        )

    __hash__ = None  # type: ignore[assignment]  # counts are an array

    @property
    def width(self) -> float:
        """Of a bin."""
        return 2.0**self.exponent

    @property
    def lowest_edge(self) -> float:
        """Left edge of the first bin."""
        return -SIDE * self.width

    @property
    def one_sided(self) -> bool:
        """Whether no value is negative, as after a ReLU."""
        return self.minimum >= 0

    @property
    def max_magnitude(self) -> float:
        """max |x|."""
        return max(abs(self.minimum), abs(self.maximum))

    def magnitudes(self) -> NDArray[np.int64]:
        """Counts of |x| by bin, (SIDE,) int64."""
        return self.counts[SIDE:] + self.counts[:SIDE][::-1]

    def _at(self, exponent: int) -> NDArray[np.int64]:
        """The counts with bins widened to 2^exponent."""
        steps = exponent - self.exponent
        if steps == 0:
            return self.counts
        merged = np.zeros_like(self.counts)
        bins = np.flatnonzero(self.counts)
        np.add.at(merged, ((bins - SIDE) >> min(steps, SIDE_BITS + 1)) + SIDE, self.counts[bins])
        return merged


def _exponent(minimum: float, maximum: float) -> int:
    """The smallest exponent for which every magnitude lies below SIDE bins."""
    largest = max(abs(minimum), abs(maximum))
    return max(MIN_EXPONENT, frexp(largest)[1] - SIDE_BITS) if largest else MIN_EXPONENT
