"""Where a session's time goes, as types: what `benchmark --profile` writes and a report's row holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BETWEEN = "between layers"
"""What of a run is in no layer: its start, its end, and what the runtime does from one layer to the next."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Time of a layer, or of all layers of an operator, in one run.

    Attributes:
        name: of the operator, or of the layer: that of the file's node where it is one that multiplies, else the
            runtime's own.
        op_type: the operator, as the runtime calls it.
        layers: how many.
        int8: whether 8-bit integers are multiplied.
        milliseconds: mean of the runs.
        share: of the whole run.
        gmacs: 10⁹ multiply-accumulates in a run; None of what multiplies nothing, or where the graph does not tell.
        gmacs_per_second: at that time.
        share_of_peak: of what this machine does at best in this runtime, in int8 or in fp32 as the layer is.
    """

    name: str
    op_type: str
    layers: int
    int8: bool
    milliseconds: float
    share: float
    gmacs: float | None
    gmacs_per_second: float | None
    share_of_peak: float | None


@dataclass(frozen=True, kw_only=True)
class Speed:
    """10⁹ multiply-accumulates a second."""

    fp32: float
    int8: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where one model's time goes in one runtime. Times of layers and `between_ms` add up to `milliseconds`.

    Attributes:
        size: (height, width) of the images, as they are run.
        runs: that the times are means of.
        milliseconds: of a whole run, by the runtime's clock, which itself takes a little.
        between_ms: of that, what is in no layer.
        peak_gmacs_per_second: of this machine in this runtime, in fp32 and in int8.
        operators: the costliest first.
        layers: in the order in which they run.
    """

    size: tuple[int, int]
    runs: int
    milliseconds: float
    between_ms: float
    peak_gmacs_per_second: Speed
    operators: tuple[Spent, ...]
    layers: tuple[Spent, ...]


HEADER = ("", "layers", "ms", "share", "GMAC/s", "of peak")
LAYERS_HEADER = ("layer", "operator", *HEADER[2:])


def operator_rows(profile: Profile) -> list[tuple[str, ...]]:
    """A row of `HEADER` for each operator, then what is between layers, and the sum."""
    whole = sum(spent.layers for spent in profile.operators)
    between = profile.between_ms / profile.milliseconds if profile.milliseconds else 0.0
    return [
        *((spent.op_type, str(spent.layers), *_cells(spent)) for spent in profile.operators),
        (BETWEEN, "", f"{profile.between_ms:.2f}", _percent(between), "", ""),
        ("all", str(whole), f"{profile.milliseconds:.2f}", _percent(1.0), "", ""),
    ]


def layer_rows(profile: Profile, most: int | None = None) -> list[tuple[str, ...]]:
    """A row of `LAYERS_HEADER` for each layer in order, or for the `most` costliest, those first."""
    layers: Sequence[Spent] = profile.layers
    if most is not None:
        layers = sorted(layers, key=lambda spent: -spent.milliseconds)[:most]
    return [(spent.name, spent.op_type, *_cells(spent)) for spent in layers]


def profile_line(profile: Profile) -> str:
    """What the tables are of."""
    (height, width), peak = profile.size, profile.peak_gmacs_per_second
    return (
        f"{profile.milliseconds:.1f} ms at {height}×{width}, mean of {profile.runs} runs by the runtime's own clock; "
        f"peak {peak.fp32:.0f} GMAC/s in fp32 and {peak.int8:.0f} in int8"
    )


def _cells(spent: Spent) -> tuple[str, ...]:
    return (
        f"{spent.milliseconds:.2f}",
        _percent(spent.share),
        "" if spent.gmacs_per_second is None else f"{spent.gmacs_per_second:.0f}",
        "" if spent.share_of_peak is None else _percent(spent.share_of_peak),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
