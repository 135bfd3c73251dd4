"""One scene: what stands where, drawn, with the outline of every instance.

Everything about scene `index` follows from (seed, index), so it is the same however many scenes are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fcn_onnx.demo import props
from fcn_onnx.demo.backdrop import empty_street, paint_parts
from fcn_onnx.demo.figures import OTHER_FIGURES, VOC_FIGURES, Figure
from fcn_onnx.demo.geometry import Box, Part, Polygon, behind, clip_to_image, place, shoelace

SPECIAL_EVERY = 8
"""Of 8 scenes in a row, one is grey and one has no VOC class; every second such one is empty altogether."""
NO_VOC_TURN, GREY_TURN = 6, 3
SMALLEST_POLYGON = 2.0  # square pixels: slivers left by clipping are nothing a person would annotate

RIDDEN = ("bicycle", "motorbike", "horse")
PASSED = ("bus", "train", "car")  # people walk before them
FLYING = ("aeroplane",)


@dataclass(frozen=True)
class Instance:
    """An annotated thing.

    Attributes:
        category_id: COCO's.
        polygons: its visible parts, in continuous pixel coordinates inside the image; they may overlap.
        crowd: many things in one, to be annotated by a run-length mask.
    """

    category_id: int
    polygons: tuple[Polygon, ...]
    crowd: bool = False


@dataclass(frozen=True)
class Scene:
    """An image (mode RGB or L) and what is in it."""

    image: Image.Image
    instances: tuple[Instance, ...]


def compose(seed: int, index: int, size: tuple[int, int]) -> Scene:
    """Scene number `index` of `seed`.

    Args:
        seed: names a family of scenes.
        index: 0, 1, 2, …
        size: typical (height, width) in pixels; sides vary by ±15 % and a quarter of the scenes are turned.
    """
    rng = Random(f"{seed}/{index}")  # a string is hashed the same way by every Python
    short, long = (round(side * rng.uniform(0.85, 1.15)) for side in size)
    height, width = (long, short) if rng.random() < 0.25 else (short, long)
    turn = index % SPECIAL_EVERY
    street = _Street(rng, width, height, _cast(rng, index) if turn != NO_VOC_TURN else [])
    if turn != NO_VOC_TURN:
        street.populate()
    elif index % (2 * SPECIAL_EVERY) == NO_VOC_TURN:
        street.stand(rng.sample(sorted(OTHER_FIGURES), 2))
    image = _photograph(street.image, rng)
    return Scene(image.convert("L") if turn == GREY_TURN else image, tuple(street.instances))


def _cast(rng: Random, index: int) -> list[str]:
    """The classes of a scene: two by rota, so that every class comes round, and up to two more."""
    names = list(VOC_FIGURES)
    rota = [names[3 * index % 20], names[(7 * index + index // 20 + 10) % 20]]
    return list(dict.fromkeys([*rota, *rng.sample(names, rng.choice((0, 1, 1, 2)))]))


@dataclass
class _Street:
    """A scene under construction."""

    rng: Random
    width: int
    height: int
    cast: Sequence[str]
    instances: list[Instance] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = self.rng
        self.horizon = round(self.height * rng.uniform(0.34, 0.48))
        water = "boat" in self.cast or rng.random() < 0.08
        self.quay = self.horizon + round(self.height * rng.uniform(0.2, 0.28)) * water
        self.image = empty_street(rng, self.width, self.height, self.horizon, self.quay)
        self.draw = ImageDraw.Draw(self.image)

    def populate(self) -> None:
        """Put the cast on the street, and sometimes a crowd and things that VOC does not know."""
        if self.rng.random() < 0.18:
            self._crowd()
        others = [self.rng.choice(sorted(OTHER_FIGURES))] if self.rng.random() < 0.22 else []
        self.stand([*self.cast, *others])

    def stand(self, names: Sequence[str]) -> None:
        """Share the street's width among `names` and draw them from back to front."""
        figures = {name: VOC_FIGURES.get(name) or OTHER_FIGURES[name] for name in names}
        order = self.rng.sample(list(names), len(names))
        total = sum(figure.breadth for figure in figures.values())
        left, placed = 0.0, []
        for name in order:
            share = self.width * figures[name].breadth / total
            placed.append((name, self._fit(name, figures[name], left, share)))
            left += share
        for name, where in sorted(placed, key=lambda item: item[1].bottom):
            self._add_with_company(name, figures[name], where)

    def _fit(self, name: str, figure: Figure, left: float, share: float) -> Box:
        """A box for `figure` in the strip of the street that begins at `left` and is `share` wide."""
        rng = self.rng
        w = share * rng.uniform(0.82, 1.1)  # a little wider than its share: neighbours touch and overlap
        h = min(w * figure.aspect, figure.tallest * self.height * rng.uniform(0.75, 1.05))
        w = h / figure.aspect
        x = left + rng.random() * max(share - w, 0) + min(share - w, 0) / 2
        if name in FLYING:
            top = rng.uniform(0.01, max(0.02, self.horizon / self.height - 0.2))
            return Box(x, top * self.height, w, h)
        if name == "boat":
            foot = rng.uniform(0.45, 0.95) * (self.quay - self.horizon) + self.horizon
        else:
            foot = rng.uniform(self.quay + 0.1 * self.height, 0.99 * self.height)
        return Box(x, max(foot, h + 2) - h, w, h)

    def _add_with_company(self, name: str, figure: Figure, where: Box) -> None:
        rng = self.rng
        if name == "sheep" and rng.random() < 0.5:
            self._add(figure, where.inner(0.5, -0.12, 0.85, 0.85))
        self._add(figure, where)
        if name in RIDDEN and rng.random() < 0.4:
            self._add_guest(where, "person", x=0.34, foot=0.58, tall=1.0)
        elif name == "diningtable" and rng.random() < 0.5:
            guest = rng.choice(("bottle", "pottedplant"))
            self._add_guest(where, guest, x=rng.uniform(0.25, 0.6), foot=0.15, tall=0.75)
        elif name == "sofa" and rng.random() < 0.5:
            guest = rng.choice(("cat", "dog"))
            self._add_guest(where, guest, x=rng.uniform(0.2, 0.5), foot=0.66, tall=0.6)
        elif name in PASSED and rng.random() < 0.25:
            self._add_guest(where, "person", x=rng.uniform(0.2, 0.7), foot=1.05, tall=0.8)
        if name not in FLYING and where.w > 60 and rng.random() < 0.3:
            self._lamp_post_before(where)

    def _add_guest(self, host: Box, name: str, *, x: float, foot: float, tall: float) -> None:
        """Add a `name` on or before `host`, in whose unit box are its left, its foot and its height."""
        figure = VOC_FIGURES[name]
        guest = host.inner(x, foot - tall, 0, tall)
        self._add(figure, replace(guest, w=guest.h / figure.aspect))

    def _add(self, figure: Figure, where: Box) -> None:
        """Draw a new individual and note its outline."""
        parts = place(figure.draw(self.rng), where, mirrored=self.rng.random() < 0.5)
        self._record(figure, parts)

    def _record(self, figure: Figure, parts: Sequence[Part], *, crowd: bool = False) -> None:
        paint_parts(self.draw, parts)
        outlines = (clip_to_image(part.points, self.width, self.height) for part in parts if part.outline)
        if polygons := _without_slivers(outlines):
            self.instances.append(Instance(figure.category_id, polygons, crowd))

    def _lamp_post_before(self, where: Box) -> None:
        """Draw a post before what stands there; instances lose what it hides and fall into parts."""
        rng = self.rng
        post = Box(where.x + where.w * rng.uniform(0.3, 0.7), 0.1 * self.height, rng.uniform(3, 6), 0)
        post = replace(post, h=where.bottom + 3 - post.y)
        paint_parts(self.draw, place(props.lamp_post(rng), post))
        self.instances = [cut for instance in self.instances if (cut := _cut(instance, post)).polygons]

    def _crowd(self) -> None:
        """Draw people in a dense row far away, as one crowd instance."""
        rng, person = self.rng, VOC_FIGURES["person"]
        tall = self.height * rng.uniform(0.16, 0.24)
        x, foot = rng.uniform(0, 0.5) * self.width, self.quay + 0.06 * self.height
        parts: list[Part] = []
        for _ in range(rng.randint(5, 9)):
            h = tall * rng.uniform(0.9, 1.1)
            parts += place(person.draw(rng), Box(x, foot + rng.uniform(-2, 2) - h, h / person.aspect, h))
            x += 0.24 * tall
        self._record(person, parts, crowd=True)


def _cut(instance: Instance, post: Box) -> Instance:
    """What of `instance` is beside the post; a crowd is annotated roughly, with the post in it."""
    if instance.crowd:
        return instance
    pieces = (piece for polygon in instance.polygons for piece in behind(polygon, post))
    return replace(instance, polygons=_without_slivers(pieces))


def _without_slivers(polygons: Iterable[Polygon]) -> tuple[Polygon, ...]:
    return tuple(p for p in polygons if len(p) > 2 and shoelace(p) >= SMALLEST_POLYGON)


def _photograph(image: Image.Image, rng: Random) -> Image.Image:
    """The drawing as a camera would have it: soft, in uneven coloured light, with noise."""
    soft = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    light = np.linspace(rng.uniform(0.85, 1.1), rng.uniform(0.85, 1.1), image.width, dtype=np.float32)
    exposure = rng.uniform(0.75, 1.12)
    tint = np.array([exposure * rng.uniform(0.93, 1.07) for _ in range(3)], np.float32)
    grain = np.random.default_rng(rng.getrandbits(64)).standard_normal((image.height, image.width, 3), np.float32)
    grain *= np.float32(rng.uniform(3, 11))
    grain += np.asarray(soft, np.float32) * (light[:, None] * tint)
    return Image.fromarray(np.clip(grain + 0.5, 0, 255).astype(np.uint8))
