"""Shapes of coloured polygons: made in a unit box, placed in an image, clipped to half-planes.

The unit box has x to the right and y down; a figure stands on y = 1. Pixel coordinates are COCO's:
continuous, the first pixel covers [0, 1) in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

Point = tuple[float, float]
Polygon = tuple[Point, ...]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Part:
    """One filled polygon of a figure.

    Attributes:
        points: the polygon, closed implicitly.
        colour: RGB, 0…255.
        outline: it belongs to the figure's silhouette; a part that is not lies inside one that is.
    """

    points: Polygon
    colour: Colour
    outline: bool = True


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: left, top, width, height."""

    x: float
    y: float
    w: float
    h: float

    @property
    def right(self) -> float:
        return self.x + self.w

    @property
    def bottom(self) -> float:
        return self.y + self.h

    def inner(self, x: float, y: float, w: float, h: float) -> Box:
        """The box that has these unit coordinates within this one."""
        return Box(self.x + x * self.w, self.y + y * self.h, w * self.w, h * self.h)


def shape(colour: Colour, *points: Point) -> Part:
    """A polygon through `points`."""
    return Part(points, colour)


def box(colour: Colour, x0: float, y0: float, x1: float, y1: float) -> Part:
    """An upright rectangle."""
    return Part(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour)


def oval(colour: Colour, x: float, y: float, rx: float, ry: float, corners: int = 14) -> Part:
    """An ellipse about (x, y) as a polygon of `corners` corners."""
    angles = (2 * math.pi * k / corners for k in range(corners))
    return Part(tuple((x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles), colour)


def bar(colour: Colour, x0: float, y0: float, x1: float, y1: float, thickness: float) -> Part:
    """A straight limb or tube from (x0, y0) to (x1, y1)."""
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (y0 - y1) / length * thickness / 2, (x1 - x0) / length * thickness / 2
    return Part(((x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)), colour)


def detail(*parts: Part) -> list[Part]:
    """The same parts, as decoration inside the silhouette."""
    return [replace(part, outline=False) for part in parts]


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` darker (factor < 1) or lighter (> 1)."""
    red, green, blue = (max(0, min(255, round(channel * factor))) for channel in colour)
    return red, green, blue


def vary(colour: Colour, rng: Random, spread: int = 18) -> Colour:
    """A colour near `colour`: each channel moves by at most `spread`."""
    red, green, blue = (max(0, min(255, channel + rng.randint(-spread, spread))) for channel in colour)
    return red, green, blue


def place(parts: Iterable[Part], where: Box, *, mirrored: bool = False) -> list[Part]:
    """Parts from the unit box into `where`, in pixels."""

    def to_pixels(point: Point) -> Point:
        x = 1 - point[0] if mirrored else point[0]
        return where.x + x * where.w, where.y + point[1] * where.h

    return [replace(part, points=tuple(map(to_pixels, part.points))) for part in parts]


def clip(polygon: Sequence[Point], axis: int, limit: float, *, keep_below: bool) -> Polygon:
    """The part of `polygon` on one side of the line x = limit (axis 0) or y = limit (axis 1).

    Sutherland–Hodgman; empty when nothing is left.
    """

    def inside(point: Point) -> bool:
        return point[axis] <= limit if keep_below else point[axis] >= limit

    kept: list[Point] = []
    for before, after in zip([polygon[-1], *polygon[:-1]] if polygon else [], polygon, strict=True):
        if inside(before) != inside(after):
            t = (limit - before[axis]) / (after[axis] - before[axis])
            kept.append((before[0] + t * (after[0] - before[0]), before[1] + t * (after[1] - before[1])))
        if inside(after):
            kept.append(after)
    return tuple(kept)


def clip_to_image(polygon: Sequence[Point], width: int, height: int) -> Polygon:
    """The part of `polygon` that an image of `width` × `height` pixels shows."""
    for axis, limit in ((0, width), (1, height)):
        polygon = clip(polygon, axis, float(limit), keep_below=True)
        polygon = clip(polygon, axis, 0.0, keep_below=False)
    return tuple(polygon)


def behind(polygon: Polygon, post: Box) -> tuple[Polygon, ...]:
    """What is left of `polygon` to the left and to the right of a post that stands before all of it."""
    if max(y for _, y in polygon) <= post.y or min(y for _, y in polygon) >= post.bottom:
        return (polygon,)
    return clip(polygon, 0, post.x, keep_below=True), clip(polygon, 0, post.right, keep_below=False)


def shoelace(polygon: Sequence[Point]) -> float:
    """Area of a simple polygon, in square pixels."""
    return 0.5 * abs(
        sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True))
    )
