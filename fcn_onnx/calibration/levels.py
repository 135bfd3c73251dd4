"""Levels that activations have in int8, by name: how far apart they are decides where it pays to clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Levels:
    """The 8-bit integers that a range is spread over.

    Attributes:
        name: as `calibrate --levels` takes it.
        description: one line for `--help`.
        symmetric: zero point 0 and −127 … 127, so a tensor that is never negative has half of them; otherwise all 256
            lie between the lowest and the highest value.
    """

    name: str
    description: str
    symmetric: bool = False

    def of_magnitudes(self, one_sided: bool) -> int:
        """How many |x| has: all of them only where x is never negative."""
        return 256 if one_sided and not self.symmetric else 128


UNSIGNED = Levels("u8", "256, any zero point: every target but tensorrt")
SYMMETRIC = Levels("s8", "255 with zero point 0, so 128 where nothing is negative: tensorrt", symmetric=True)

LEVELS: Mapping[str, Levels] = {levels.name: levels for levels in (UNSIGNED, SYMMETRIC)}
