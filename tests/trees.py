"""Small data sets in trees like the published ones, beside those of `toys`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from toys import photograph

WIDTH, HEIGHT = 40, 24


def values(seed: int, allowed: list[int]) -> NDArray[np.uint8]:
    """A mask that holds every value that is allowed."""
    rng = np.random.default_rng(seed)
    mask = rng.choice(allowed, (HEIGHT, WIDTH)).astype(np.uint8)
    mask.ravel()[: len(allowed)] = allowed
    return mask


def put(image: Path, mask: Path, content: NDArray[Any], seed: int = 0) -> None:
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    photograph(WIDTH, HEIGHT, seed).save(image)
    Image.fromarray(content).save(mask)


def write_cityscapes(root: Path, form: str = "labelIds") -> Path:
    """Two cities of val, one of train."""
    allowed = [*range(34), 255] if form == "labelIds" else [*range(19), 255]
    for seed, (split, city) in enumerate([("val", "ulm"), ("val", "bonn"), ("train", "jena")]):
        name = f"{city}_000000_00001{seed}"
        mask = root / "gtFine" / split / city / f"{name}_gtFine_{form}.png"
        put(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", mask, values(seed, allowed), seed)
    return root


def write_ade20k(root: Path) -> Path:
    for seed, split in enumerate(["training", "validation", "validation"]):
        name = f"ADE_{split[:5]}_{seed:08d}"
        image = root / "images" / split / f"{name}.jpg"
        put(image, root / "annotations" / split / f"{name}.png", values(seed, list(range(151))), seed)
    return root
