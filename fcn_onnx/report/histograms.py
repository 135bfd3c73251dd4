"""Histograms of activations as a page: each tensor's counts with every method's threshold marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.report.page import page
from fcn_onnx.report.svg import WIDTH, svg

COLUMNS = 320
HEIGHT = 150
TOP = 64
MARKS = ("--int8", "--good", "--bad", "--ink", "--soft")


@dataclass(frozen=True)
class TensorPlot:
    """One tensor's histogram.

    Attributes:
        name: of the tensor.
        counts: (N,) int64, values in each of N bins.
        lowest: left edge of the first bin.
        width: of a bin.
        thresholds: T ≥ 0 by method.
        errors: expected squared error by method, as a multiple of min/max's.
    """

    name: str
    counts: NDArray[np.int64]
    lowest: float
    width: float
    thresholds: Mapping[str, float]
    errors: Mapping[str, float]


def to_histogram_page(title: str, plots: Sequence[TensorPlot]) -> str:
    """A self-contained HTML page with a figure for each tensor; counts are on a logarithmic scale."""
    figures = "\n".join(
        f"<figure><p class='name'>{escape(plot.name)}</p>{histogram_figure(plot)}<figcaption>{_caption(plot)}"
        "</figcaption></figure>"
        for plot in plots
    )
    return page(title, f"<h1>{escape(title)}</h1>\n{figures}")


def histogram_figure(plot: TensorPlot) -> str:
    """Counts as columns, and a line at ±T for each method where the tensor has values there."""
    used = np.flatnonzero(plot.counts)
    first, last = int(used[0]), int(used[-1]) + 1
    edges = np.unique(np.linspace(first, last, COLUMNS + 1).astype(int))
    columns = np.add.reduceat(plot.counts[: edges[-1]], edges[:-1])
    low, high = plot.lowest + first * plot.width, plot.lowest + last * plot.width
    scale = (WIDTH - 20) / (high - low)
    tallest = log10(1 + int(columns.max()))
    parts = []
    for left, right, count in zip(edges[:-1], edges[1:], columns, strict=True):
        if count:
            height = HEIGHT * log10(1 + int(count)) / tallest
            x = 10 + (left - first) * plot.width * scale
            parts.append(
                f'<rect class="fp32" x="{x:.1f}" y="{TOP + HEIGHT - height:.1f}" '
                f'width="{max((right - left) * plot.width * scale, 0.5):.1f}" height="{height:.1f}"/>'
            )
    base = TOP + HEIGHT
    parts.append(f'<line class="axis" x1="10" x2="{WIDTH - 10}" y1="{base}" y2="{base}"/>')
    parts.append(f'<text class="soft" x="10" y="{base + 18}">{low:.4g}</text>')
    parts.append(f'<text class="soft" x="{WIDTH - 10}" y="{base + 18}" text-anchor="end">{high:.4g}</text>')
    for row, (method, threshold) in enumerate(plot.thresholds.items()):
        colour = MARKS[row % len(MARKS)]
        y = 14 * (row + 1)
        for at in (threshold, -threshold):
            if low <= at <= high and at:
                x = 10 + (at - low) * scale
                parts.append(
                    f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{base}" stroke="var({colour})" stroke-width="1.5"/>'
                )
        x = 10 + (min(max(threshold, low), high) - low) * scale
        anchor = "end" if x > WIDTH / 2 else "start"
        shift = -4 if anchor == "end" else 4
        parts.append(
            f'<text x="{x + shift:.1f}" y="{y}" text-anchor="{anchor}">{escape(method)} {threshold:.4g}</text>'
        )
    return svg(base + 24, f"histogram of {plot.name}", parts)


def _caption(plot: TensorPlot) -> str:
    found = ", ".join(f"{escape(m)} {t:.4g}" for m, t in plot.thresholds.items())
    return f"{int(plot.counts.sum()):,} values; logarithmic counts; thresholds: {found}"
