"""How the seven VOC vehicles look, each as parts in the unit box."""

from __future__ import annotations

from random import Random

from fcn_onnx.demo.geometry import Colour, Part, bar, box, detail, oval, shade, shape, vary

TYRE: Colour = (28, 28, 30)
GLASS: Colour = (150, 185, 205)
STEEL: Colour = (150, 152, 156)
CAR_PAINTS: tuple[Colour, ...] = (
    (178, 30, 36),
    (36, 70, 160),
    (200, 202, 205),
    (40, 42, 46),
    (220, 180, 50),
)
BUS_PAINTS: tuple[Colour, ...] = ((205, 40, 40), (235, 190, 40), (50, 140, 70), (50, 110, 190))
TRAIN_PAINTS: tuple[Colour, ...] = ((120, 30, 45), (30, 80, 70), (60, 65, 120), (190, 90, 30))


def _wheel(x: float, y: float, rx: float, ry: float, hub: Colour = STEEL) -> list[Part]:
    return [oval(TYRE, x, y, rx, ry), *detail(oval(hub, x, y, rx * 0.5, ry * 0.5, 8))]


def car(rng: Random) -> list[Part]:
    paint = vary(rng.choice(CAR_PAINTS), rng, 30)
    body = shape(
        paint, (0, 0.62), (0.04, 0.48), (0.2, 0.42), (0.33, 0.06), (0.7, 0.06),
        (0.84, 0.42), (0.97, 0.5), (1, 0.64), (1, 0.84), (0, 0.84),
    )  # fmt: skip
    trim = detail(
        shape(GLASS, (0.26, 0.42), (0.36, 0.14), (0.49, 0.14), (0.49, 0.42)),
        shape(GLASS, (0.53, 0.42), (0.53, 0.14), (0.67, 0.14), (0.78, 0.42)),
        box(shade(paint, 0.75), 0.03, 0.66, 0.97, 0.72),
        box((250, 240, 190), 0.94, 0.52, 0.985, 0.62),
        box((190, 20, 20), 0.01, 0.56, 0.04, 0.66),
    )
    return [body, *trim, *_wheel(0.22, 0.82, 0.09, 0.18), *_wheel(0.79, 0.82, 0.09, 0.18)]


def bus(rng: Random) -> list[Part]:
    paint = vary(rng.choice(BUS_PAINTS), rng)
    windows = rng.randint(5, 7)
    step = 0.8 / windows
    body = shape(paint, (0.02, 0), (0.97, 0), (1, 0.08), (1, 0.9), (0, 0.9), (0, 0.05))
    panes = [box(GLASS, 0.04 + k * step, 0.14, 0.04 + (k + 0.8) * step, 0.42) for k in range(windows)]
    trim = detail(
        *panes,
        box((60, 66, 74), 0.86, 0.14, 0.97, 0.82),
        box((240, 240, 235), 0.0, 0.5, 0.84, 0.58),
        box(shade(paint, 0.6), 0.0, 0.82, 1.0, 0.9),
        box((255, 225, 120), 0.6, 0.02, 0.8, 0.1),
    )
    return [body, *trim, *_wheel(0.2, 0.89, 0.06, 0.11), *_wheel(0.74, 0.89, 0.06, 0.11)]


def train(rng: Random) -> list[Part]:
    paint = vary(rng.choice(TRAIN_PAINTS), rng)
    cream = vary((225, 215, 190), rng, 10)
    nose = rng.uniform(0.86, 0.93)
    body = shape(paint, (0, 0.04), (nose, 0.04), (1, 0.5), (1, 0.84), (0, 0.84))
    panes = [box((40, 48, 60), 0.02 + 0.085 * k, 0.26, 0.085 + 0.085 * k, 0.44) for k in range(9)]
    trim = detail(
        box(cream, 0, 0.2, 0.84, 0.5),
        *panes,
        shape((60, 70, 85), (nose - 0.05, 0.16), (nose, 0.16), (0.985, 0.48), (nose - 0.05, 0.48)),
        box(shade(cream, 0.8), 0, 0.64, 0.98, 0.68),
        *(box(shade(paint, 0.5), x, 0.04, x + 0.008, 0.84) for x in (0.28, 0.56)),
    )
    bogies = [oval((55, 52, 50), x, 0.88, 0.035, 0.12, 10) for x in (0.06, 0.14, 0.36, 0.48, 0.7, 0.8, 0.92)]
    return [box((70, 66, 64), 0, 0.82, 0.98, 0.9), *bogies, body, *trim]


def aeroplane(rng: Random) -> list[Part]:
    hull = vary((222, 226, 232), rng, 12)
    livery = rng.choice(((200, 40, 50), (30, 70, 170), (240, 140, 30), (20, 130, 110)))
    fuselage = shape(
        hull,
        (0.02, 0.42),
        (0.12, 0.4),
        (0.8, 0.4),
        (0.93, 0.45),
        (1, 0.55),
        (0.94, 0.64),
        (0.8, 0.68),
        (0.2, 0.62),
    )
    tail = shape(livery, (0.02, 0.42), (0, 0.02), (0.08, 0.02), (0.2, 0.42))
    wing = shape(shade(hull, 0.72), (0.42, 0.55), (0.58, 0.55), (0.4, 0.98), (0.3, 0.98))
    far_wing = shape(shade(hull, 0.85), (0.46, 0.42), (0.58, 0.42), (0.48, 0.12), (0.42, 0.12))
    tail_wing = shape(shade(hull, 0.7), (0.04, 0.46), (0.16, 0.46), (0.04, 0.62), (-0.0, 0.62))
    panes = [box((50, 70, 100), 0.22 + k * 0.06, 0.45, 0.25 + k * 0.06, 0.5) for k in range(9)]
    trim = detail(
        *panes,
        box(livery, 0.2, 0.54, 0.8, 0.57),
        shape((60, 80, 110), (0.88, 0.45), (0.93, 0.47), (0.9, 0.52)),
    )
    engine = oval((90, 94, 100), 0.5, 0.74, 0.05, 0.08, 10)
    return [far_wing, fuselage, *trim, tail, tail_wing, wing, engine]


def boat(rng: Random) -> list[Part]:
    paint = vary(rng.choice(((240, 240, 238), (150, 40, 40), (40, 70, 120), (120, 80, 50))), rng, 12)
    hull = shape(paint, (0, 0.72), (1, 0.68), (0.86, 1), (0.1, 1))
    band = detail(shape(shade(paint, 0.55), (0.045, 0.84), (0.935, 0.82), (0.9, 0.9), (0.07, 0.91)))
    if rng.random() < 0.6:
        sail = vary((245, 240, 225), rng, 10)
        stripe = rng.choice(((220, 60, 50), (40, 90, 180), (240, 170, 40)))
        return [
            hull, *band,
            bar((110, 80, 50), 0.46, 0.02, 0.46, 0.72, 0.03),
            shape(sail, (0.5, 0.04), (0.92, 0.62), (0.5, 0.62)),
            *detail(shape(stripe, (0.5, 0.34), (0.71, 0.34), (0.79, 0.45), (0.5, 0.45))),
            shape(shade(sail, 0.88), (0.43, 0.1), (0.43, 0.62), (0.12, 0.62)),
        ]  # fmt: skip
    cabin = vary((235, 235, 230), rng, 12)
    return [
        box(cabin, 0.25, 0.4, 0.68, 0.72),
        *detail(*(box((60, 90, 120), x, 0.47, x + 0.09, 0.58) for x in (0.29, 0.42, 0.55))),
        box((210, 70, 40), 0.36, 0.16, 0.48, 0.42),
        *detail(box((30, 30, 34), 0.36, 0.16, 0.48, 0.22)),
        hull, *band,
    ]  # fmt: skip


def bicycle(rng: Random) -> list[Part]:
    frame = vary(rng.choice(((200, 40, 40), (40, 120, 190), (60, 160, 80), (230, 150, 30))), rng)
    parts: list[Part] = []
    for x in (0.21, 0.79):
        parts += [oval(TYRE, x, 0.68, 0.205, 0.32, 18)]
        parts += detail(oval((176, 180, 178), x, 0.68, 0.165, 0.26, 16), oval(STEEL, x, 0.68, 0.03, 0.05, 8))
        parts += detail(
            bar((120, 122, 124), x - 0.15, 0.58, x + 0.15, 0.78, 0.012),
            bar((120, 122, 124), x - 0.15, 0.78, x + 0.15, 0.58, 0.012),
        )
    tubes = (
        (0.21, 0.68, 0.4, 0.32), (0.21, 0.68, 0.47, 0.7), (0.47, 0.7, 0.38, 0.26),
        (0.47, 0.7, 0.72, 0.3), (0.39, 0.32, 0.71, 0.28), (0.7, 0.16, 0.79, 0.68),
    )  # fmt: skip
    parts += [bar(frame, *tube, 0.045) for tube in tubes]
    handlebar = bar((40, 40, 44), 0.62, 0.12, 0.78, 0.17, 0.05)
    return [*parts, handlebar, oval((40, 36, 34), 0.37, 0.22, 0.09, 0.06, 10)]


def motorbike(rng: Random) -> list[Part]:
    paint = vary(rng.choice(((30, 32, 38), (190, 30, 30), (30, 90, 60), (220, 120, 20))), rng)
    chrome: Colour = (196, 198, 204)
    return [
        *_wheel(0.19, 0.74, 0.18, 0.26, chrome),
        *_wheel(0.82, 0.74, 0.17, 0.25, chrome),
        bar(chrome, 0.66, 0.18, 0.83, 0.74, 0.05),
        shape((86, 86, 90), (0.3, 0.5), (0.68, 0.5), (0.62, 0.88), (0.34, 0.88)),
        *detail(*(box(chrome, 0.38, y, 0.6, y + 0.04) for y in (0.58, 0.66, 0.74))),
        bar(chrome, 0.04, 0.86, 0.5, 0.84, 0.07),
        shape(paint, (0.4, 0.34), (0.62, 0.24), (0.74, 0.36), (0.66, 0.54), (0.36, 0.54)),
        shape((24, 22, 24), (0.06, 0.32), (0.2, 0.36), (0.44, 0.4), (0.4, 0.54), (0.12, 0.48)),
        bar((30, 30, 32), 0.54, 0.12, 0.72, 0.16, 0.05),
        oval((250, 245, 200), 0.78, 0.34, 0.05, 0.08, 10),
    ]
