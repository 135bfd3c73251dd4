"""Counting compiled by numba when it is first asked for (half a second a process; nothing is cached on disk)."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np

from fcn_onnx.calibration.counting import SIDE, Counts, Values

TABLES = 4
"""Values take turns at them: equal neighbours, such as a ReLU's zeros, do not wait for one another's count."""

LARGEST = 2**31 - 1
"""Values that a table of int32 can count, whatever they are."""

_LOCK = Lock()
_KERNELS: list[Any] = []


def by_numba(values: Values, exponent: int, negative: bool) -> Counts:
    """Count, see `fcn_onnx.calibration.counting.Count`. Other threads go on meanwhile."""
    signed, unsigned = _kernels()
    counts = np.zeros(2 * SIDE, np.int64)
    for start in range(0, values.size, LARGEST):
        tables = np.zeros((TABLES, 2 * SIDE if negative else SIDE), np.int32)
        (signed if negative else unsigned)(values[start : start + LARGEST], np.float32(2.0**-exponent), tables)
        counts[-tables.shape[1] :] += tables.sum(0, dtype=np.int64)
    return counts


def _kernels() -> tuple[Any, Any]:
    with _LOCK:
        if not _KERNELS:
            _KERNELS.extend(_compile())
    return _KERNELS[0], _KERNELS[1]


def _compile() -> tuple[Any, Any]:
    """Kernels for values of both signs, and for values that are never negative."""
    import numba

    given = numba.types.Array(numba.float32, 1, "C", readonly=True)
    compiled = numba.njit(numba.void(given, numba.float32, numba.int32[:, ::1]), nogil=True)

    def unsigned(values: Any, scale: Any, tables: Any) -> None:
        whole = values.size // TABLES * TABLES
        for start in range(0, whole, TABLES):
            for table in range(TABLES):
                tables[table, int(values[start + table] * scale)] += 1
        for index in range(whole, values.size):
            tables[0, int(values[index] * scale)] += 1

    def signed(values: Any, scale: Any, tables: Any) -> None:
        whole = values.size // TABLES * TABLES
        for start in range(0, whole, TABLES):
            for table in range(TABLES):
                value = values[start + table]
                bin_ = int(np.floor(value * scale))
                if value < 0:  # scaled down, the smallest become 0
                    bin_ = min(bin_, -1)
                tables[table, bin_ + SIDE] += 1
        for index in range(whole, values.size):
            value = values[index]
            bin_ = int(np.floor(value * scale))
            if value < 0:
                bin_ = min(bin_, -1)
            tables[0, bin_ + SIDE] += 1

    return compiled(signed), compiled(unsigned)
