"""Bounds that a user sets, checked once for the command line and the library alike."""

from __future__ import annotations

from math import isfinite

from fcn_onnx.errors import UsageError


def require_bound(option: str, value: float | None) -> None:
    """A bound is a finite number that is not negative; every comparison with NaN is false, so NaN bounds nothing.

    Raises:
        UsageError: it is not; `option` says which.
    """
    if value is not None and not (isfinite(value) and value >= 0):
        raise UsageError(f"{option} {value:g} bounds nothing", fix="give it a number, 0 or more")
