"""Pictures of coloured figures, with the truth about every pixel: what foreign networks are fitted to and fed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CLASSES = ("ground", "disc", "box", "kite", "ring")
COLOURS = ((200, 60, 50), (60, 80, 200), (60, 180, 70), (220, 200, 60))
FIGURES = 5


def picture(seed: int, size: tuple[int, int] = (64, 64)) -> tuple[Image.Image, NDArray[np.int64]]:
    """An RGB image of `size` (height, width) and its labels (H, W), of `CLASSES`."""
    rng = np.random.default_rng(seed)
    height, width = size
    ground = Image.fromarray(rng.integers(70, 180, (5, 5, 3), dtype=np.uint8))
    image = ground.resize((width, height), Image.Resampling.BICUBIC)
    labels = Image.new("L", (width, height))
    for _ in range(FIGURES):
        label = int(rng.integers(1, len(CLASSES)))
        reach = int(rng.integers(height // 10, height // 4))
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        colour = tuple(int(c) for c in np.clip(np.array(COLOURS[label - 1]) + rng.integers(-40, 41, 3), 0, 255))
        _draw(ImageDraw.Draw(image), label, x, y, reach, colour)
        _draw(ImageDraw.Draw(labels), label, x, y, reach, label)
    grain = rng.normal(0, 8, (height, width, 3))
    noisy = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(noisy), np.asarray(labels).astype(np.int64)


def _draw(draw: ImageDraw.ImageDraw, label: int, x: int, y: int, reach: int, fill: int | tuple[int, ...]) -> None:
    box = (x - reach, y - reach, x + reach, y + reach)
    if label == 1:
        draw.ellipse(box, fill=fill)
    elif label == 2:
        draw.rectangle(box, fill=fill)
    elif label == 3:
        draw.polygon([(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)], fill=fill)
    else:
        draw.ellipse(box, outline=fill, width=max(2, reach // 2))


def write_pictures(folder: Path, seeds: range, size: tuple[int, int] = (64, 64)) -> Path:
    """A folder of PNG files, one a seed."""
    folder.mkdir(parents=True)
    for seed in seeds:
        picture(seed, size)[0].save(folder / f"{seed:03d}.png")
    return folder
