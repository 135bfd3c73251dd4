"""Which values an option may have: one place, for the command line, recipes and the library alike."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.typed import shown


@dataclass(frozen=True)
class Bound:
    """An interval of finite numbers; NaN is in none, as every comparison with it is false.

    Attributes:
        least, most: its ends.
        above: `least` itself is not in it.
    """

    least: float
    most: float = inf
    above: bool = False

    def __str__(self) -> str:
        if self.most == inf:
            return f"above {self.least:g}" if self.above else f"{self.least:g} or more"
        return f"in {'(' if self.above else '['}{self.least:g}, {self.most:g}]"

    def holds(self, value: float) -> bool:
        """Whether `value` lies in it."""
        return self.least <= value <= self.most and value < inf and not (self.above and value == self.least)

    def require(self, name: str, value: float | None) -> None:
        """Raise UsageError where `value`, which the user calls `name`, is not in it; None leaves the choice to us."""
        if value is not None and not self.holds(value):
            raise UsageError(f"{name} is {shown(value)}, not a number {self}", fix="correct the value")


COUNT = Bound(1)
"""Of images, workers, runs."""

THREADS = Bound(0, 1024)
"""0 means all cores."""

DROP = Bound(0)
"""Percent that may be lost."""

MULTIPLE = Bound(1, 4096)
"""Pixels that a network's sides are multiples of."""

PERCENT = Bound(0, 100, above=True)
FRACTION = Bound(0, 1)
POSITIVE = Bound(0, above=True)
"""Of a ratio, milliseconds, or megabytes that may not be exceeded."""

SIDE = Bound(1, 99_999)
"""Pixels of an image."""

WAIT = Bound(0)
"""Seconds."""
