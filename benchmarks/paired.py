"""How sure a difference of two models' means over the same images is.

A symmetric bootstrap-t, as in `fcn_onnx.evaluation.comparison`: ± the standard error times the 95th percentile of the
resamples' absolute deviations in their own standard errors (Hall, 1988).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Mean:
    """Of one value an image, with half the width of its 95 % interval; nan below five images."""

    value: float
    half: float

    @property
    def behind(self) -> bool:
        """Whether it is below 0 beyond its interval."""
        return self.value + self.half < 0


def mean_of(values: NDArray[np.float64]) -> Mean:
    """Of (N,) differences, image by image."""
    count = len(values)
    if count < 5:
        return Mean(float(values.mean()), float("nan"))
    error = values.std(ddof=1) / count**0.5
    if error == 0:
        return Mean(float(values.mean()), 0.0)
    drawn = values[np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))]
    errors = drawn.std(axis=1, ddof=1) / count**0.5
    deviations = np.abs(drawn.mean(axis=1) - values.mean())
    off = np.divide(deviations, errors, out=np.full(RESAMPLES, np.inf), where=errors > 0)
    return Mean(float(values.mean()), float(np.quantile(off, 0.95) * error))
