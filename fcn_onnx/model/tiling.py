"""Large photographs in overlapping tiles: where they lie, and which part of each is kept.

Two neighbours share `overlap` pixels or more, and each keeps its half of them: every pixel has the label that one tile
gave it, the tile in which it lies deepest, and nothing is averaged. Labels are those of the whole photograph where no
label depends on what is further away than half the overlap, that is, where the network's receptive field is no larger
than the overlap, and all sides are multiples of the network's stride.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.bounds import SIDE, Bound
from fcn_onnx.jobs.fields import Checked, Pair, option

STRIDE = 32
"""Tiles of a network of any size begin at multiples of this, as the grid of a network that shrinks by as much does."""


@dataclass(frozen=True)
class Span:
    """One tile along one side of a photograph, in its pixels.

    Attributes:
        start, stop: what the tile shows.
        first, last: what is kept of it, `last` not included.
    """

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Tiling(Checked):
    """How a photograph is cut; not at all where no tile is given.

    Attributes:
        tile: (height, width) of the largest tile, in pixels.
        overlap: pixels that neighbours share, at least; by default a quarter of the tile's shorter side.

    Raises:
        UsageError: an overlap of no tiles, or one that leaves nothing of them.
    """

    tile: Pair | None = option(
        None,
        help="Cut photographs that are larger into overlapping tiles of this size, so that memory is bounded. "
        "Default: predict shows the model all at once, bundle cuts at 1024x1024.",
        metavar="HxW",
        bound=SIDE,
    )
    overlap: int | None = option(
        None,
        help="Pixels that neighbours of --tile share, at least. Default: a quarter of the tile's shorter side.",
        metavar="PIXELS",
        bound=Bound(0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap is not None and self.tile is None:
            raise UsageError("--overlap is of tiles, and there are none", fix="give --tile, or leave it out")
        if self.overlap is not None and self.tile is not None and self.overlap >= min(self.tile):
            raise UsageError(
                f"--overlap {self.overlap} leaves nothing of --tile {_text(self.tile)}", fix="use a smaller overlap"
            )

    @property
    def shared(self) -> int:
        """The overlap, in pixels."""
        if self.overlap is not None:
            return self.overlap
        return min(self.tile) // 4 if self.tile else 0

    def fitted(self, size: Pair | None, multiple_of: int) -> Grid | None:
        """Where tiles lie for a model; None without tiles.

        Args:
            size: the one (height, width) that the model takes, if any.
            multiple_of: pixels that its sides are multiples of.

        Raises:
            UsageError: the model takes another size than the tile's, or tiles would not get on.
        """
        if self.tile is None:
            return None
        if size is not None and size != self.tile:
            raise UsageError(
                f"the model takes images of {_text(size)} alone, and --tile is {_text(self.tile)}",
                fix=f"give --tile {_text(size)}, or leave it out: a photograph is then resized to that",
            )
        unit = 1 if size else lcm(STRIDE, multiple_of)
        if min(self.tile) - self.shared < unit:
            raise UsageError(
                f"--tile {_text(self.tile)} with an overlap of {self.shared} leaves less than {unit} pixels",
                fix="use larger tiles, or a smaller --overlap",
            )
        return Grid(self.tile, self.shared, unit, fixed=size is not None)


@dataclass(frozen=True)
class Grid:
    """Tiles that suit a model.

    Attributes:
        tile: (height, width).
        overlap: pixels that neighbours share, at least.
        unit: tiles begin at multiples of this many pixels.
        fixed: the last tile is as large as the others, begins wherever it then has to, and shares more; else it is
            smaller.
    """

    tile: Pair
    overlap: int
    unit: int
    fixed: bool

    def step(self, tile: int) -> int:
        """From one tile to the next along a side, in pixels."""
        return (tile - self.overlap) // self.unit * self.unit

    def spans(self, side: int, tile: int) -> tuple[Span, ...]:
        """The tiles along a side of so many pixels."""
        if side <= tile:
            return (Span(0, side, 0, side),)
        step = self.step(tile)
        starts = [step * k for k in range(-(-(side - tile) // step) + 1)]
        if self.fixed:
            starts[-1] = side - tile
        stops = [min(start + tile, side) for start in starts]
        cuts = [0, *((start + stop) // 2 for start, stop in zip(starts[1:], stops, strict=False)), side]
        return tuple(map(Span, starts, stops, cuts, cuts[1:]))

    def tiles(self, height: int, width: int) -> list[tuple[Span, Span]]:
        """All tiles of a photograph, (rows, columns) each, a row of them after the other."""
        columns = self.spans(width, self.tile[1])
        return [(row, column) for row in self.spans(height, self.tile[0]) for column in columns]


def _text(size: Pair) -> str:
    return f"{size[0]}x{size[1]}"
