"""Figures as inline SVG: no script, no font, no network; colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH = 640
LABEL = 110
MARGIN = 40
"""Right of the last slanted column name."""

NUMBERS = 100
"""Right of the longest bar."""

LETTER = 9
"""Width of a letter, about."""


class Bars(NamedTuple):
    """A row of a bar chart.

    Attributes:
        name: left of it.
        lengths: of its bars; nothing is drawn where all are None.
        said: right of the longest.
    """

    name: str
    lengths: Sequence[float | None]
    said: str


def bar_chart(
    rows: Sequence[Bars], kinds: Sequence[tuple[str, int]], description: str, *, most: float, left: int = LABEL
) -> str:
    """Bars below each other, in rows.

    Args:
        kinds: the class and the thickness of a row's bars.
        most: the length that is drawn over the whole width.
        left: room for names.
    """
    height = sum(thickness + 1 for _, thickness in kinds) + 6
    reach = WIDTH - left - NUMBERS
    parts = []
    for index, row in enumerate(rows):
        top = index * height
        middle = top + height / 2 + 4
        parts.append(_name(row.name, left, middle))
        end, y = 0.0, top + 3
        for (kind, thickness), length in zip(kinds, row.lengths, strict=True):
            if length is not None:
                width = max(0.0, length / (most or 1) * reach)
                end = max(end, width)
                box = f'x="{left}" y="{y}" width="{width:.1f}" height="{thickness}"'
                parts.append(f'<rect class="{kind}" {box} rx="1"/>')
            y += thickness + 1
        parts.append(f'<text class="soft" x="{left + end + 6:.1f}" y="{middle:g}">{escape(row.said)}</text>')
    return svg(len(rows) * height, description, parts)


def class_bars(classes: Sequence[str], fp32: Mapping[str, float | None], int8: Mapping[str, float | None]) -> str:
    """IoU by class, two bars each, 0 to 1; a class that is absent says so."""
    rows = []
    for name in classes:
        pair = fp32[name], int8[name]
        said = " / ".join("–" if v is None else f"{100 * v:.1f}" for v in pair)
        rows.append(Bars(name, pair, "absent" if pair == (None, None) else said))
    return bar_chart(rows, [("fp32", 9), ("int8", 9)], "IoU by class in percent, fp32 above int8", most=1)


def interval_figure(value: float, interval: Sequence[float], unit: str) -> str:
    """A point with its interval on a line that holds 0."""
    low, high = interval
    reach = max(abs(low), abs(high), abs(value), 1e-9) * 1.25
    middle = WIDTH / 2

    def x(v: float) -> float:
        return middle + v / reach * (WIDTH / 2 - 20)

    parts = [
        f'<line class="axis" x1="20" x2="{WIDTH - 20}" y1="40" y2="40"/>',
        f'<line class="zero" x1="{middle}" x2="{middle}" y1="28" y2="56"/>',
        f'<text class="soft" x="{middle}" y="72" text-anchor="middle">0</text>',
        f'<line class="bar" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="40" y2="40"/>',
        *(f'<line class="bar" x1="{x(v):.1f}" x2="{x(v):.1f}" y1="33" y2="47"/>' for v in (low, high)),
        f'<circle class="int8" cx="{x(value):.1f}" cy="40" r="6"/>',
        f'<text x="{x(value):.1f}" y="22" text-anchor="middle">{value:+.2f}{escape(unit)}</text>',
        f'<text class="soft" x="20" y="72">{-reach:+.2f}</text>',
        f'<text class="soft" x="{WIDTH - 20}" y="72" text-anchor="end">{reach:+.2f}</text>',
    ]
    return svg(80, f"change {value:+.2f}{unit}, interval {low:+.2f} to {high:+.2f}", parts)


def changes_figure(
    classes: Sequence[str],
    changes: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float] | None],
    *,
    left: int = LABEL,
) -> str:
    """The change of each class's IoU, or each model's mIoU, in percentage points with its interval, around 0."""
    shown = {name: bounds for name, bounds in intervals.items() if bounds is not None and changes[name] is not None}
    widest = sorted(max(map(abs, bounds)) for bounds in shown.values())
    # two thirds of the intervals fit; the others run off the edge, and the table has their numbers
    fits = [*widest[2 * len(widest) // 3 :][:1], *(abs(changes[name] or 0) for name in shown)]
    reach = 110 * max(fits, default=0.0) or 1.0
    row, top = 26, 22
    middle = (left + WIDTH) / 2
    scale = (WIDTH - left) / 2 / reach
    bottom = top + len(classes) * row
    parts = [f'<line class="zero" x1="{middle}" x2="{middle}" y1="{top}" y2="{bottom}"/>']
    for x, anchor, text in (
        (left, "start", f"{-reach:+.1f}"),
        (middle, "middle", "0"),
        (WIDTH, "end", f"{reach:+.1f}"),
    ):
        parts.append(f'<text class="soft" x="{x}" y="14" text-anchor="{anchor}">{text}</text>')
    for index, name in enumerate(classes):
        y = top + index * row + 13
        parts.append(_name(name, left, y + 5))
        if name not in shown:
            continue
        spots = (shown[name][0], changes[name] or 0, shown[name][1])
        low, value, high = (min(max(middle + 100 * v * scale, left), WIDTH) for v in spots)
        parts.append(f'<line class="bar" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="int8" cx="{value:.1f}" cy="{y}" r="5"/>')
    return svg(bottom, "changes in percentage points, with 95 percent intervals", parts)


def latency_strips(series: Mapping[str, Sequence[float]], *, left: int = LABEL) -> str:
    """Every image's latency as a tick, and the median as a bar, for each model on one scale from 0; fp32 first."""
    top = max(max(values) for values in series.values()) * 1.05 or 1.0
    parts, row = [], 54
    for index, (name, values) in enumerate(series.items()):
        y = index * row + 8
        parts.append(_name(name, left, y + 22))
        kind = "int8" if index else "fp32"
        parts.append(f'<line class="axis" x1="{left}" x2="{WIDTH - 10}" y1="{y + 34}" y2="{y + 34}"/>')
        scale = (WIDTH - left - 10) / top
        for value in _thinned(values):
            parts.append(
                f'<rect class="{kind}" x="{left + value * scale:.1f}" y="{y + 4}" width="1.5" height="26" '
                'opacity="0.45"/>'
            )
        median = sorted(values)[len(values) // 2]
        at = left + median * scale
        parts.append(f'<line class="bar" x1="{at:.1f}" x2="{at:.1f}" y1="{y}" y2="{y + 34}"/>')
        parts.append(f'<text class="soft" x="{at:.1f}" y="{y + 48}" text-anchor="middle">{median:.0f} ms</text>')
    return svg(len(series) * row + 8, "latency of each image, fp32 first, median marked", parts)


def confusion_difference(classes: Sequence[str], fp32: Sequence[Sequence[int]], int8: Sequence[Sequence[int]]) -> str:
    """int8 − fp32 of the confusion matrices, each row in percent of its truth; deeper means a larger change."""
    changes = [
        [100 * (b - a) / max(1, sum(row_a)) for a, b in zip(row_a, row_b, strict=True)]
        for row_a, row_b in zip(fp32, int8, strict=True)
    ]
    largest = max(max(abs(v) for v in row) for row in changes) or 1.0
    cell = (WIDTH - LABEL - MARGIN) / len(classes)
    parts = []
    for r, row in enumerate(changes):
        y = LABEL + r * cell
        parts.append(f'<text x="{LABEL - 6}" y="{y + cell * 0.7:.1f}" text-anchor="end">{escape(classes[r])}</text>')
        for c, value in enumerate(row):
            colour = "more" if value > 0 else "less"
            parts.append(
                f'<rect x="{LABEL + c * cell:.1f}" y="{y:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}" '
                f'fill="var(--heat-{colour})" fill-opacity="{abs(value) / largest:.3f}">'
                f"<title>{escape(classes[r])} seen as {escape(classes[c])}: {value:+.2f} % of its pixels</title></rect>"
            )
    for c, name in enumerate(classes):
        x = LABEL + (c + 0.65) * cell
        parts.append(
            f'<text x="{x:.1f}" y="{LABEL - 6}" transform="rotate(-60 {x:.1f} {LABEL - 6})">{escape(name)}</text>'
        )
    return svg(WIDTH, f"change of the confusion matrix, at most {largest:.2f} percent of a class", parts)


def _name(name: str, left: float, y: float) -> str:
    """A name that ends at `left`: a longer one is cut, with the whole of it where one points."""
    letters = int(left) // LETTER
    cut = name if len(name) <= letters else "…" + name[1 - letters :]
    whole = "" if cut == name else f"<title>{escape(name)}</title>"
    return f'<text x="{left - 8:g}" y="{y:g}" text-anchor="end">{escape(cut)}{whole}</text>'


def _thinned(values: Sequence[float], most: int = 400) -> Sequence[float]:
    """At most `most` of the values, evenly over their order, so that a large run stays a small page."""
    ordered = sorted(values)
    if len(ordered) <= most:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most)]


def svg(height: float, description: str, parts: Sequence[str]) -> str:
    """A figure `WIDTH` units wide that scales with the page; `description` is for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(description)}">'
        + "".join(parts)
        + "</svg>"
    )
