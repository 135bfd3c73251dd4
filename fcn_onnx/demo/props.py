"""Things that are not VOC classes: other COCO categories, annotated, and street furniture, not."""

from __future__ import annotations

from random import Random

from fcn_onnx.demo.geometry import Colour, Part, bar, box, detail, oval, shade, shape, vary

POST: Colour = (70, 72, 76)


def truck(rng: Random) -> list[Part]:
    cargo, cab = vary((200, 200, 196), rng, 24), vary(rng.choice(((60, 90, 150), (170, 60, 50))), rng)
    wheels = [oval((28, 28, 30), x, 0.88, 0.06, 0.12) for x in (0.16, 0.3, 0.84)]
    return [
        box(cargo, 0, 0, 0.68, 0.84),
        *detail(*(box(shade(cargo, 0.85), x, 0.0, x + 0.012, 0.84) for x in (0.14, 0.28, 0.42, 0.56))),
        shape(cab, (0.7, 0.22), (0.88, 0.22), (0.97, 0.5), (1, 0.86), (0.7, 0.86)),
        *detail(shape((150, 185, 205), (0.76, 0.28), (0.86, 0.28), (0.93, 0.5), (0.76, 0.5))),
        *wheels,
    ]


def traffic_light(rng: Random) -> list[Part]:
    lit = rng.randrange(3)
    lamps = ((230, 40, 40), (240, 180, 40), (60, 210, 90))
    return [
        box(POST, 0.42, 0.4, 0.58, 1),
        box((38, 40, 42), 0.15, 0, 0.85, 0.42),
        *detail(*(oval(shade(lamp, 1.0 if k == lit else 0.35), 0.5, 0.07 + 0.14 * k, 0.22, 0.05, 10)
                  for k, lamp in enumerate(lamps))),
    ]  # fmt: skip


def stop_sign(rng: Random) -> list[Part]:
    del rng
    return [
        box(POST, 0.46, 0.4, 0.54, 1),
        oval((196, 30, 38), 0.5, 0.2, 0.5, 0.2, 8),
        *detail(box((240, 236, 230), 0.2, 0.17, 0.8, 0.23)),
    ]


def fire_hydrant(rng: Random) -> list[Part]:
    red = vary((206, 52, 40), rng)
    return [
        box(red, 0.25, 0.2, 0.75, 0.94),
        oval(red, 0.5, 0.2, 0.28, 0.18, 12),
        box(shade(red, 0.8), 0.05, 0.42, 0.95, 0.58),
        box(shade(red, 0.7), 0.12, 0.92, 0.88, 1),
    ]


def bench(rng: Random) -> list[Part]:
    wood = vary((140, 98, 60), rng)
    return [
        *(box(POST, x, 0.1, x + 0.05, 1) for x in (0.1, 0.85)),
        *(box(shade(wood, s), 0, y, 1, y + 0.15) for y, s in ((0.05, 1.0), (0.27, 0.9), (0.5, 1.15))),
    ]


def suitcase(rng: Random) -> list[Part]:
    hide = vary(rng.choice(((60, 80, 120), (150, 50, 90), (70, 70, 74))), rng)
    return [
        box(POST, 0.3, 0, 0.36, 0.26), box(POST, 0.64, 0, 0.7, 0.26), box(POST, 0.3, 0, 0.7, 0.05),
        box(hide, 0.05, 0.24, 0.95, 0.95),
        *detail(*(box(shade(hide, 0.7), x, 0.3, x + 0.04, 0.9) for x in (0.2, 0.48, 0.76))),
        oval((30, 30, 32), 0.2, 0.96, 0.08, 0.04, 8), oval((30, 30, 32), 0.8, 0.96, 0.08, 0.04, 8),
    ]  # fmt: skip


def tree(rng: Random) -> list[Part]:
    leaf = vary((74, 110, 58), rng, 20)
    crown = [
        oval(
            shade(leaf, rng.uniform(0.75, 1.2)),
            rng.uniform(0.25, 0.75),
            rng.uniform(0.15, 0.5),
            0.25,
            0.16,
            9,
        )
        for _ in range(7)
    ]
    return [bar((84, 64, 48), 0.5, 0.4, 0.5, 1, 0.1), *crown]


def bollard(rng: Random) -> list[Part]:
    return [box(vary((90, 90, 92), rng), 0.2, 0.1, 0.8, 1), oval((220, 216, 206), 0.5, 0.12, 0.4, 0.12, 8)]


def lamp_post(rng: Random) -> list[Part]:
    post = vary(POST, rng, 12)
    return [box(post, 0, 0, 1, 1)]
