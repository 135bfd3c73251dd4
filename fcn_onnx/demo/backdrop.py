"""The empty street: sky, houses, pavement or a canal, trees."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from PIL import Image, ImageDraw

from fcn_onnx.demo.geometry import Box, Colour, Part, place, shade, vary
from fcn_onnx.demo.props import bollard, tree

SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((90, 140, 205), (200, 220, 236)),
    ((150, 158, 168), (214, 214, 212)),
    ((70, 80, 130), (236, 176, 140)),
    ((120, 170, 220), (240, 236, 220)),
)
"""Pairs of colours, at the zenith and at the horizon."""
WALLS: tuple[Colour, ...] = (
    (176, 120, 92),
    (196, 182, 156),
    (150, 146, 140),
    (206, 170, 120),
    (130, 104, 96),
)


def gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    """An RGB image of `size` (width, height) that runs from `top` down to `bottom`."""
    ramp = Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), ramp)


def paint_parts(draw: ImageDraw.ImageDraw, parts: Iterable[Part]) -> None:
    """Fill `parts` in order; their points are continuous pixel coordinates, PIL's are of pixel centres."""
    for part in parts:
        draw.polygon([(x - 0.5, y - 0.5) for x, y in part.points], fill=part.colour)


def empty_street(rng: Random, width: int, height: int, horizon: int, quay: int) -> Image.Image:
    """A street with nothing in it to annotate.

    Args:
        rng: where variation comes from.
        width, height: of the image, pixels.
        horizon: row where the houses stand.
        quay: row where the pavement begins; there is water between it and the horizon.
    """
    image = Image.new("RGB", (width, height))
    image.paste(gradient((width, horizon), *rng.choice(SKIES)), (0, 0))
    if quay > horizon:
        image.paste(gradient((width, quay - horizon), (96, 130, 150), (60, 96, 120)), (0, horizon))
    ground = vary(rng.choice(((112, 110, 108), (132, 126, 118), (98, 100, 106))), rng, 10)
    image.paste(gradient((width, height - quay), shade(ground, 1.15), shade(ground, 0.85)), (0, quay))
    draw = ImageDraw.Draw(image)
    _houses(draw, rng, width, horizon)
    _ripples(draw, rng, width, horizon, quay)
    _paving(draw, rng, width, height, quay)
    for figure, chance, share in ((tree, 0.6, 0.4), (tree, 0.5, 0.32), (bollard, 0.3, 0.08)):
        if rng.random() < chance:
            h = height * share * rng.uniform(0.8, 1.2)
            foot = quay if figure is bollard else horizon + 0.01 * height
            where = Box(rng.uniform(0, width), foot - h, h * 0.6, h)
            paint_parts(draw, place(figure(rng), where))
    return image


def _houses(draw: ImageDraw.ImageDraw, rng: Random, width: int, horizon: int) -> None:
    x = -rng.uniform(0, 30)
    while x < width:
        across = rng.uniform(0.16, 0.34) * width
        if rng.random() < 0.8:
            _house(draw, rng, Box(x, horizon * rng.uniform(0.25, 0.75), across, 0), horizon)
        x += across


def _house(draw: ImageDraw.ImageDraw, rng: Random, roof: Box, foot: int) -> None:
    wall = vary(rng.choice(WALLS), rng)
    draw.rectangle((roof.x, roof.y, roof.right, foot), fill=wall)
    if rng.random() < 0.5:
        peak = (roof.x + roof.w / 2, roof.y - 0.25 * roof.w)
        draw.polygon([(roof.x, roof.y), peak, (roof.right, roof.y)], fill=shade(wall, 0.6))
    pane = rng.choice(((60, 70, 84), (190, 196, 180), (90, 100, 116)))
    step_x, step_y = roof.w / rng.randint(3, 5), rng.uniform(13, 20)
    y = roof.y + 5
    while y + step_y * 0.6 < foot:
        for k in range(round(roof.w / step_x)):
            left = roof.x + (k + 0.25) * step_x
            draw.rectangle((left, y, left + 0.5 * step_x, y + 0.55 * step_y), fill=pane)
        y += step_y


def _ripples(draw: ImageDraw.ImageDraw, rng: Random, width: int, horizon: int, quay: int) -> None:
    for _ in range(3 * max(0, quay - horizon) // 4):
        x, y, length = rng.uniform(-20, width), rng.uniform(horizon, quay - 1), rng.uniform(8, 40)
        draw.line((x, y, x + length, y), fill=rng.choice(((120, 156, 172), (50, 84, 108))))
    if quay > horizon:
        draw.rectangle((0, quay - 3, width, quay), fill=(120, 116, 108))


def _paving(draw: ImageDraw.ImageDraw, rng: Random, width: int, height: int, quay: int) -> None:
    vanish = (width * rng.uniform(0.3, 0.7), quay - 0.2 * height)
    style = rng.choice(("slabs", "lane", "plain"))
    if style == "slabs":
        near = (quay - vanish[1]) / (height - vanish[1])  # where a joint leaves the kerb, from vanishing point to foot
        for k in range(-4, 9):
            foot = k * width / 4
            draw.line((vanish[0] + near * (foot - vanish[0]), quay, foot, height), fill=(92, 90, 88))
        y = float(quay)
        while y < height:
            draw.line((0, y, width, y), fill=(92, 90, 88))
            y += 4 + 0.25 * (y - quay)
    elif style == "lane":
        for k in range(6):
            y = quay + (height - quay) * (k / 6) ** 1.5
            half, tall = 1 + 0.03 * (y - quay), 3 + 0.06 * (y - quay)
            draw.polygon(
                [(vanish[0] - half, y), (vanish[0] + half, y), (vanish[0] + 1.3 * half, y + tall),
                 (vanish[0] - 1.3 * half, y + tall)], fill=(222, 220, 210),
            )  # fmt: skip
    draw.rectangle((0, quay, width, quay + 2), fill=(150, 146, 140))
