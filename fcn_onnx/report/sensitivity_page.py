"""The page of `sensitivity`: layers and activations by rank, and the front of agreement against speed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil
from pathlib import Path

from fcn_onnx.report.markup import table
from fcn_onnx.report.page import page
from fcn_onnx.report.sensitivity import Deviation, Layer, Point, Sensitivity, Tensor
from fcn_onnx.report.svg import LABEL, WIDTH, Bars, bar_chart, svg

BARS = 40
"""Most bars of a figure; the table has all."""

WORST = 10
"""Layers of a summary."""

HEIGHT = 300


def to_page(found: Sensitivity) -> str:
    """A self-contained HTML page."""
    title = title_of(found)
    return page(
        title,
        "\n".join(
            [
                f"<h1>{escape(title)}</h1>",
                f"<p class='verdict'>{verdict_line(found)}</p>",
                "<h2>What going back to fp32 gains and costs</h2>",
                f"<figure>{front_figure(found.front)}<figcaption>{_front_caption(found)}</figcaption></figure>",
                _front_table(found),
                "<h2>Layers, by the labels that flip when nothing else is int8</h2>",
                f"<figure>{layer_bars(found.layers[:BARS])}<figcaption><span class='key int8'></span>in int8 alone"
                "<span class='key fp32'></span>its share of the multiply-accumulates, to the scale of 100 % = the width"
                f"</figcaption></figure>{_layer_table(found.layers)}",
                _tensors(found.tensors),
                f"<p class='soft'>{_how(found)}</p>",
            ]
        ),
    )


def layer_bars(layers: Sequence[Layer]) -> str:
    """A bar for what each layer flips alone, and a thinner one for its share of the work, to the width of all."""
    most = max((layer.alone.flipped for layer in layers), default=0) or 1.0
    rows = [
        Bars(layer.name, (layer.alone.flipped / most, layer.macs_share), _percent(layer.alone.flipped))
        for layer in layers
    ]
    said = "share of the labels that each layer flips alone, and its share of the work"
    return bar_chart(rows, [("int8", 12), ("fp32", 5)], said, most=1, left=2 * LABEL)


def tensor_bars(tensors: Sequence[Tensor]) -> str:
    """A bar for what rounding each activation alone flips."""
    rows = [Bars(tensor.name, (tensor.alone.flipped,), _percent(tensor.alone.flipped)) for tensor in tensors]
    most = max((tensor.alone.flipped for tensor in tensors), default=0)
    said = "share of the labels that rounding each activation alone flips"
    return bar_chart(rows, [("int8", 12)], said, most=most, left=2 * LABEL)


def front_figure(front: Sequence[Point]) -> str:
    """Agreement (up) against speed over fp32's (right), a dot for each model; those that no other beats are joined."""
    lowest = min(point.agreement for point in front)
    floor = lowest - 0.08 * (1 - lowest) if lowest < 1 else 0.99
    fastest = max(1.0, *(point.speedup for point in front))
    slowest = min(1.0, *(point.speedup for point in front))
    span = (fastest - slowest) or 1.0
    left, right, bottom = 70, WIDTH - 60, HEIGHT - 40

    def x(speedup: float) -> float:
        return left + 20 + (speedup - slowest) / span * (right - left - 20)

    def y(agreement: float) -> float:
        return bottom - (agreement - floor) / (1 - floor) * (bottom - 30)

    parts = [
        f'<line class="axis" x1="{left}" x2="{right + 30}" y1="{bottom}" y2="{bottom}"/>',
        f'<line class="axis" x1="{left}" x2="{left}" y1="20" y2="{bottom}"/>',
    ]
    for value in (1.0, lowest):
        parts.append(f'<text class="soft" x="{left - 6}" y="{y(value) + 5:.1f}" text-anchor="end">{value:.4f}</text>')
    for value in dict.fromkeys((slowest, 1.0, fastest)):
        parts.append(
            f'<text class="soft" x="{x(value):.1f}" y="{bottom + 20}" text-anchor="middle">{value:.2f}×</text>'
        )
    best = unbeaten(front)
    path = " ".join(f"{x(point.speedup):.1f},{y(point.agreement):.1f}" for point in best)
    parts.append(f'<polyline points="{path}" fill="none" stroke="var(--soft)"/>')
    for point in front:
        kind = "fp32" if point is front[-1] else "int8"
        at = x(point.speedup), y(point.agreement)
        fill = "" if point in best else ' fill-opacity="0.4"'
        parts.append(
            f'<circle class="{kind}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="5"{fill}><title>{point.kept} in fp32: '
            f"agreement {point.agreement:.4f}, {point.speedup:.2f}× fp32's speed</title></circle>"
        )
        parts.append(f'<text class="soft" x="{at[0] + 8:.1f}" y="{at[1] - 6:.1f}">{point.kept}</text>')
    return svg(HEIGHT, "agreement with fp32 against speed over fp32, by how many layers stay fp32", parts)


def unbeaten(front: Sequence[Point]) -> list[Point]:
    """The points than which none is both faster and agrees as much, or agrees more and is as fast; slowest first."""
    found: list[Point] = []
    for point in sorted(front, key=lambda point: (-point.speedup, -point.agreement)):
        if not found or point.agreement > found[-1].agreement:
            found.append(point)
    return found[::-1]


def flips_of_half(layers: Sequence[Layer]) -> int:
    """How many of the worst layers flip half of what all flip, each alone, added up."""
    half, so_far = sum(layer.alone.flipped for layer in layers) / 2, 0.0
    for count, layer in enumerate(layers, start=1):
        so_far += layer.alone.flipped
        if so_far >= half:
            return count
    return ceil(len(layers) / 2)


def title_of(found: Sensitivity) -> str:
    """Text, as the file's name is in it."""
    return f"Sensitivity of {Path(found.model).name}"


def verdict_line(found: Sensitivity) -> str:
    """What all in int8 flips, and whether a few layers do."""
    count, layers = flips_of_half(found.layers), len(found.layers)
    return (
        f"All in int8, {_percent(found.whole.flipped)} of the labels flip; "
        f"{count} of {layers} layers make half of what layers flip alone."
    )


def summary(found: Sensitivity) -> str:
    """What a notebook shows: the front, and the layers that flip most."""
    parts = (f"<p><b>{verdict_line(found)}</b></p>", _front_table(found), _layer_table(found.layers[:WORST]))
    return "\n".join(parts)


def _front_caption(found: Sensitivity) -> str:
    of = "other images than those that ranked" if set(found.front_on).isdisjoint(found.ranked_on) else "the same images"
    return (
        f"Up: share of the labels that are fp32's, on {len(found.front_on)} images ({of}). Right: fp32's time over the "
        "model's, in turns. The numbers say how many of the layers are in fp32: those by which the logits' error falls "
        "most for a millisecond, on the images that the layers are ranked on. Of others, 1×1 convolutions, the sums "
        "stay float32. Pale dots are beaten by another in both."
    )


def _front_table(found: Sensitivity) -> str:
    best = unbeaten(found.front)
    rows = [
        (
            f"{point.kept} of {len(found.layers)}{'' if point in best else ' (beaten)'}",
            str(point.unrounded),
            _percent(point.kept_macs_share),
            f"{point.agreement:.4f}",
            f"{point.speedup:.2f}×",
        )
        for point in found.front
    ]
    return table(("In fp32", "sums not rounded", "share of MACs", "agreement", "speed-up over fp32"), rows)


def _layer_table(layers: Sequence[Layer]) -> str:
    rows = [
        (layer.name, layer.op_type, _percent(layer.macs_share), *_shown(layer.alone), *_shown(layer.without))
        for layer in layers
    ]
    heads = ("Layer", "operator", "MACs", "flips alone", "error alone", "flips without", "error without")
    return table(heads, rows)


def _tensors(tensors: Sequence[Tensor]) -> str:
    if not tensors:
        return ""
    rows = [(t.name, f"{t.scale:.4g}", str(t.zero_point), *_shown(t.alone)) for t in tensors]
    heads = ("Activation", "scale", "zero point", "flips alone", "error alone")
    return (
        "<h2>Activations, by the labels that flip when nothing else is rounded</h2>\n"
        f"<figure>{tensor_bars(tensors[:BARS])}</figure>{table(heads, rows)}"
    )


def _how(found: Sensitivity) -> str:
    return escape(
        f"Judged by fp32's labels on {len(found.ranked_on)} images. Alone: nothing else multiplies in int8; without: "
        "it alone is in fp32. A layer's int8 is the rounding of its weights, of what it reads and of what it writes. "
        f"Error: Σ(model − fp32)² / Σ fp32² of the logits. MACs at {found.size[0]}×{found.size[1]}. "
        f"{found.plan.get('quant_format')}, {found.plan.get('target')}, {found.method}; {found.cpu}, "
        f"{found.threads} threads."
    )


def _shown(deviation: Deviation) -> tuple[str, str]:
    error = deviation.logits_error
    return f"{100 * deviation.flipped:.3f} %", "–" if error is None else f"{error:.2g}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"
