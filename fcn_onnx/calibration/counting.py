"""How many values of a tensor fall into each bin: counted by numpy, or in half the time or less by numba.

Both give the same counts, bit for bit. Bin k holds k·2^e ≤ x < (k + 1)·2^e; the product with a power of two is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

SIDE = 4096
"""Bins on either side of 0; the largest magnitude falls into the upper half, so at least 2048 are in use."""

CHUNK = 1 << 16
"""Values that are binned at once: their indices stay in the cache, which is three times faster."""

TURNS = np.tile(np.array([0, SIDE], np.intp), CHUNK // 2)
"""Offsets for values that are never negative: every other one is counted in the unused half, so that the many zeros
of a ReLU do not wait for one another in one bin."""

WORTH = 1 << 29
"""Values that numpy counts in about the second that numba takes to load and compile."""

Values = NDArray[np.float32]
Counts = NDArray[np.int64]
Count = Callable[[Values, int, bool], Counts]
"""From finite values (n,), the exponent of the bins' width, for which all lie below `SIDE` bins, and whether one is
negative, to counts (2 · SIDE,), of which index SIDE + k is bin k."""


def best_after(counted: int) -> Count:
    """How to count on, when so many values have been counted by this process.

    By numba from `WORTH` on, where it is installed: at worst it is compiled just before the last image, and little more
    time is lost than numpy took until then.
    """
    if counted < WORTH or why_slow():
        return by_numpy
    from fcn_onnx.calibration.compiled import by_numba

    return by_numba


@cache
def why_slow() -> str | None:
    """What stands in the way of counting by numba, and what to do; None where nothing does."""
    if find_spec("numba") is None:
        return "activations are counted by numpy; numba would take half the time or less: pip install 'fcn-onnx[fast]'"
    try:
        import_module("numba")
    except ImportError as error:  # it is strict about numpy's version
        return f"activations are counted by numpy, as numba does not import: {error}"
    return None


def by_numpy(values: Values, exponent: int, negative: bool) -> Counts:
    """Count, see `Count`."""
    scale = np.float32(2.0**-exponent)
    counts = np.zeros(2 * SIDE, np.int64)
    scaled = np.empty(CHUNK, np.float32)
    indices = np.empty(CHUNK, np.intp)
    for start in range(0, values.size, CHUNK):
        part = values[start : start + CHUNK]
        a, b = scaled[: part.size], indices[: part.size]
        np.multiply(part, scale, out=a)
        if negative:
            np.floor(a, out=a)
            if exponent > 0:  # scaled down, the smallest negative values become 0; their bin is -1
                np.minimum(a, -1, out=a, where=part < 0)
        np.copyto(b, a, casting="unsafe")  # truncates, which is floor for what is left
        b += SIDE if negative else TURNS[: part.size]
        counts += np.bincount(b, minlength=2 * SIDE)
    if not negative:
        counts[SIDE:] += counts[:SIDE]
        counts[:SIDE] = 0
    return counts
