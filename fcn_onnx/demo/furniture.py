"""How the six VOC household things look, each as parts in the unit box."""

from __future__ import annotations

from random import Random

from fcn_onnx.demo.geometry import Colour, Part, bar, box, detail, oval, shade, shape, vary

WOODS: tuple[Colour, ...] = ((150, 100, 56), (110, 70, 40), (190, 150, 100))
TV_PICTURES: tuple[tuple[Colour, Colour], ...] = (
    ((70, 130, 230), (60, 180, 90)), ((230, 120, 60), (90, 50, 120)), ((80, 210, 220), (230, 220, 120)),
)  # fmt: skip
"""Colours of what is on: above and below."""


def bottle(rng: Random) -> list[Part]:
    glass = vary(rng.choice(((30, 110, 60), (40, 90, 150), (120, 70, 30), (40, 130, 130))), rng)
    label = vary(rng.choice(((240, 230, 200), (250, 250, 250), (220, 60, 50))), rng, 10)
    silhouette = shape(
        glass, (0.32, 0), (0.68, 0), (0.68, 0.08), (0.64, 0.08), (0.66, 0.28), (0.98, 0.42), (1, 0.97),
        (0.94, 1), (0.06, 1), (0, 0.97), (0.02, 0.42), (0.34, 0.28), (0.36, 0.08), (0.32, 0.08),
    )  # fmt: skip
    return [
        silhouette,
        *detail(
            box(label, 0.01, 0.55, 0.99, 0.82),
            box(shade(label, 0.7), 0.2, 0.62, 0.8, 0.66),
            box(shade(label, 0.7), 0.2, 0.71, 0.8, 0.74),
            bar(shade(glass, 1.7), 0.18, 0.44, 0.18, 0.54, 0.1),
            box(rng.choice(((200, 40, 40), (230, 190, 60), (240, 240, 240))), 0.32, 0, 0.68, 0.08),
        ),
    ]


def chair(rng: Random) -> list[Part]:
    wood = vary(rng.choice((*WOODS, (60, 130, 150), (170, 60, 50))), rng, 14)
    dark = shade(wood, 0.7)
    return [
        bar(dark, 0.3, 0.6, 0.3, 0.92, 0.08),
        bar(dark, 0.9, 0.6, 0.9, 0.92, 0.08),
        bar(wood, 0.08, 0.02, 0.1, 1, 0.1),
        bar(wood, 0.76, 0.56, 0.76, 1, 0.1),
        bar(wood, 0.3, 0.0, 0.32, 0.56, 0.08),
        *(bar(wood, 0.06, y, 0.32, y - 0.03, 0.07) for y in (0.09, 0.22, 0.35)),
        shape(shade(wood, 1.2), (0.04, 0.56), (0.28, 0.48), (1, 0.48), (0.84, 0.58)),
        shape(dark, (0.04, 0.56), (0.84, 0.58), (1, 0.48), (1, 0.54), (0.84, 0.66), (0.04, 0.64)),
    ]


def diningtable(rng: Random) -> list[Part]:
    wood = vary(rng.choice(WOODS), rng, 14)
    cloth = vary(rng.choice(((200, 50, 50), (60, 90, 170), (70, 140, 90))), rng, 14)
    top = shape((240, 236, 228), (0.14, 0.0), (0.86, 0.0), (1, 0.34), (0, 0.34))
    checks = [
        shape(cloth, (0.14 + 0.09 * k, 0.0), (0.23 + 0.09 * k, 0.0), ((k + 1) / 8, 0.34), (k / 8, 0.34))
        for k in range(0, 8, 2)
    ]
    rows = [box(shade(cloth, 1.25), 0.13 - 0.4 * y, y, 0.87 + 0.4 * y, y + 0.04) for y in (0.04, 0.14, 0.24)]
    hem = [shape(cloth, (k / 6, 0.34), ((k + 1) / 6, 0.34), ((k + 0.5) / 6, 0.48)) for k in range(6)]
    return [
        *(bar(wood, x, 0.3, x, 0.9, 0.045) for x in (0.2, 0.8)),
        *(bar(shade(wood, 0.8), x, 0.3, x, 1, 0.06) for x in (0.06, 0.94)),
        top, *detail(*checks, *rows),
        box(shade(cloth, 0.8), 0, 0.33, 1, 0.38), *hem,
    ]  # fmt: skip


def pottedplant(rng: Random) -> list[Part]:
    leaf = vary(rng.choice(((50, 130, 50), (80, 150, 60), (40, 110, 70))), rng, 12)
    clay = vary((190, 96, 56), rng, 14)
    leaves = []
    for k in range(9):
        x = 0.06 + 0.11 * k + rng.uniform(-0.03, 0.03)
        y = 0.06 + 0.055 * abs(k - 4) + rng.uniform(-0.04, 0.06)
        tip = ((0.4 * x + 0.25, y + 0.16), (x, y), (0.4 * x + 0.4, y + 0.2))
        leaves.append(shape(shade(leaf, rng.uniform(0.7, 1.25)), (0.44, 0.68), *tip, (0.56, 0.68)))
    return [
        *leaves,
        shape(clay, (0.24, 0.66), (0.76, 0.66), (0.68, 1), (0.32, 1)),
        box(shade(clay, 1.15), 0.2, 0.62, 0.8, 0.72),
        *detail(box(shade(clay, 0.7), 0.25, 0.72, 0.75, 0.745)),
    ]


def sofa(rng: Random) -> list[Part]:
    fabric = vary(rng.choice(((150, 60, 70), (80, 100, 130), (120, 130, 80), (170, 140, 110))), rng, 16)
    light, dark = shade(fabric, 1.2), shade(fabric, 0.7)
    silhouette = shape(
        fabric, (0.08, 0.08), (0.14, 0), (0.86, 0), (0.92, 0.08), (0.92, 0.3), (0.97, 0.3), (1, 0.36),
        (1, 0.92), (0.92, 0.92), (0.92, 1), (0.87, 1), (0.87, 0.92), (0.13, 0.92), (0.13, 1), (0.08, 1),
        (0.08, 0.92), (0, 0.92), (0, 0.36), (0.03, 0.3), (0.08, 0.3),
    )  # fmt: skip
    return [
        silhouette,
        *detail(
            *(box((50, 36, 26), x, 0.92, x + 0.05, 1.0) for x in (0.08, 0.87)),
            *(box(dark, x, 0.06, x + 0.012, 0.5) for x in (0.36, 0.63)),
            *(oval(dark, x, y, 0.012, 0.025, 6) for x in (0.22, 0.5, 0.77) for y in (0.16, 0.34)),
            box(light, 0.15, 0.5, 0.85, 0.7),
            box(dark, 0.49, 0.5, 0.505, 0.7),
            box(dark, 0.15, 0.7, 0.85, 0.92),
            *(box(shade(fabric, 0.85), x, 0.34, x + 0.012, 0.92) for x in (0.142, 0.846)),
        ),
    ]


def tvmonitor(rng: Random) -> list[Part]:
    frame = vary((34, 34, 38), rng, 8)
    sky, land = rng.choice(TV_PICTURES)
    ridge = [(x, rng.uniform(0.36, 0.52)) for x in (0.06, 0.28, 0.5, 0.72, 0.94)]
    silhouette = shape(
        frame, (0, 0), (1, 0), (1, 0.82), (0.56, 0.82), (0.56, 0.93), (0.74, 0.93), (0.74, 1),
        (0.26, 1), (0.26, 0.93), (0.44, 0.93), (0.44, 0.82), (0, 0.82),
    )  # fmt: skip
    return [
        silhouette,
        *detail(
            box(shade(frame, 1.6), 0.44, 0.83, 0.56, 0.93),
            box(sky, 0.05, 0.06, 0.95, 0.74),
            shape(land, (0.05, 0.74), *ridge, (0.95, 0.74)),
            oval((255, 245, 200), rng.uniform(0.2, 0.8), 0.2, 0.06, 0.08, 10),
            shape((255, 255, 255), (0.08, 0.08), (0.2, 0.08), (0.1, 0.3)),
        ),
    ]
