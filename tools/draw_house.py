"""Draw the house: its rooms on their floors, and which room imports which, read from the code as it is.

    python tools/draw_house.py > house.svg

A floor is a layer of the contract in pyproject.toml, the highest at the top; a room is a package; an arrow is at least
one import between modules of two rooms, the wider the more of them (those of `errors`, which every room has, are left
out). docs/architecture.md shows it, drawn when the pages are built.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = "fcn_onnx"
WIDTH, ROOM, HEIGHT, GAP = 760, 150, 54, 44
EVERYBODYS = "errors"


@dataclass(frozen=True)
class House:
    """What is drawn.

    Attributes:
        floors: names of rooms, floor by floor, from the top.
        sizes: (modules, lines) of each room.
        arrows: how many imports go from one room to another.
    """

    floors: tuple[tuple[str, ...], ...]
    sizes: dict[str, tuple[int, int]]
    arrows: Counter[tuple[str, str]]


def read_house(repository: Path = REPOSITORY) -> House:
    """Floors from pyproject.toml, rooms and arrows from the modules."""
    settings = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = tuple(tuple(room.strip() for room in floor.split("|")) for floor in layers if floor != "__main__")
    modules = sorted((repository / PACKAGE).rglob("*.py"))
    sizes: dict[str, tuple[int, int]] = {}
    arrows: Counter[tuple[str, str]] = Counter()
    for path in modules:
        text = path.read_text(encoding="utf-8")
        room = _room(path.relative_to(repository).with_suffix("").parts)
        count, lines = sizes.get(room, (0, 0))
        sizes[room] = count + 1, lines + text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
                other = _room(tuple((node.module or "").split(".")))
                if other not in (room, EVERYBODYS):
                    arrows[room, other] += 1
    return House(floors, sizes, arrows)


def to_svg(house: House) -> str:
    """One picture, readable in light and dark."""
    places = {
        room: (int(WIDTH * (column + 1) / (len(floor) + 1)), GAP + HEIGHT // 2 + row * (HEIGHT + GAP))
        for row, floor in enumerate(house.floors)
        for column, room in enumerate(floor)
    }
    height = len(house.floors) * (HEIGHT + GAP) + GAP
    title = ", ".join(f"{a} imports {b} ({n})" for (a, b), n in sorted(house.arrows.items()))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-family="sans-serif" '
        f'font-size="14" aria-label="{escape(title)}">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" '
        'markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8z" fill="#888"/></marker></defs>',
    ]
    for (source, target), count in sorted(house.arrows.items()):
        if source in places and target in places:
            parts.append(_arrow(places[source], places[target], count))
    for room, (x, y) in places.items():
        modules, lines = house.sizes.get(room, (0, 0))
        parts.append(
            f'<rect x="{x - ROOM // 2}" y="{y - HEIGHT // 2}" width="{ROOM}" height="{HEIGHT}" rx="8" fill="#e8eef7" '
            f'stroke="#456"/><text x="{x}" y="{y - 4}" text-anchor="middle" fill="#123" font-weight="bold">'
            f'{escape(room)}</text><text x="{x}" y="{y + 16}" text-anchor="middle" fill="#345" font-size="12">'
            f"{modules} file{'s' * (modules != 1)}, {lines:,} lines</text>"
        )
    return "\n".join([*parts, "</svg>"])


def _arrow(start: tuple[int, int], end: tuple[int, int], count: int) -> str:
    """A curve from the lower edge of one room to the upper edge of another, passing beside the rooms between."""
    (x1, y1), (x2, y2) = start, end
    y1, y2 = y1 + HEIGHT // 2, y2 - HEIGHT // 2
    bend = 0 if y2 - y1 <= GAP else (ROOM // 2 + 30 + (y2 - y1) // 6) * (1 if (x1 + x2) // 2 >= WIDTH // 2 else -1)
    middle = (x1 + x2) // 2 + bend
    width = min(4.0, 0.6 + count / 8)
    return (
        f'<path d="M{x1} {y1}C{middle} {y1 + 20} {middle} {y2 - 20} {x2} {y2}" fill="none" stroke="#888" '
        f'stroke-opacity=".6" stroke-width="{width:.1f}" marker-end="url(#tip)"><title>{count} imports</title></path>'
    )


def _room(parts: tuple[str, ...]) -> str:
    """The room of a module, given the parts of its name."""
    return parts[1] if len(parts) > 1 else parts[0]


if __name__ == "__main__":
    sys.stdout.write(to_svg(read_house()) + "\n")
