"""Where tiles lie: they cover everything once, and what is kept lies deep in the tile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_onnx.errors import UsageError
from fcn_onnx.model.tiling import Grid, Span, Tiling


@given(
    side=st.integers(1, 5000),
    tile=st.integers(64, 1100),
    overlap=st.integers(0, 1000),
    unit=st.sampled_from([1, 32, 96]),
    fixed=st.booleans(),
)
def test_every_pixel_is_kept_once_and_lies_half_an_overlap_from_what_is_cut_off(
    side: int, tile: int, overlap: int, unit: int, fixed: bool
) -> None:
    if tile - overlap < unit:
        return
    spans = Grid((tile, tile), overlap, unit, fixed=fixed).spans(side, tile)
    assert [pixel for span in spans for pixel in range(span.first, span.last)] == list(range(side))
    for span in spans:
        assert 0 <= span.start <= span.first < span.last <= span.stop <= side
        assert span.stop - span.start <= tile
        assert span.start % unit == 0 or (fixed and span is spans[-1])
        assert span.start == 0 or span.first - span.start >= overlap // 2
        assert span.stop == side or span.stop - span.last >= overlap // 2
    if fixed and side > tile:
        assert {span.stop - span.start for span in spans} == {tile}


def test_tiles_of_a_photograph() -> None:
    grid = Tiling(tile=(64, 96)).fitted(None, 1)
    assert grid == Grid((64, 96), 16, 32, fixed=False)
    assert grid.tiles(64, 100) == [
        (Span(0, 64, 0, 64), Span(0, 96, 0, 80)),
        (Span(0, 64, 0, 64), Span(64, 100, 80, 100)),
    ]
    assert Tiling().fitted(None, 1) is None
    assert Tiling(tile=(48, 48), overlap=8).fitted((48, 48), 1) == Grid((48, 48), 8, 1, fixed=True)
    sevens = Tiling(tile=(512, 512)).fitted(None, 7)
    assert sevens is not None
    assert sevens.unit == 224


@pytest.mark.parametrize(
    ("options", "size", "multiple_of", "said"),
    [
        ({"overlap": 3}, None, 1, "--overlap is of tiles"),
        ({"tile": (64, 64), "overlap": 64}, None, 1, "leaves nothing of --tile 64x64"),
        ({"tile": (0, 64)}, None, 1, "a side of --tile is 0"),
        ({"tile": (64, 64), "overlap": 33}, None, 1, "leaves less than 32 pixels"),
        ({"tile": (128, 128)}, None, 7, "leaves less than 224 pixels"),
        ({"tile": (64, 64)}, (64, 65), 1, "takes images of 64x65 alone"),
    ],
)
def test_tiles_that_would_not_do_are_refused(
    options: dict[str, object], size: tuple[int, int] | None, multiple_of: int, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        Tiling(**options).fitted(size, multiple_of)  # type: ignore[arg-type]
