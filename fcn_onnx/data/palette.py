"""Labels as colours: the PASCAL VOC palette and what is drawn with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def voc_palette() -> NDArray[np.uint8]:
    """The VOC colour map, (256, 3) uint8: label i's bits, three at a time, become the high bits of R, G, B.

    Source: `VOClabelcolormap` of the VOC 2012 development kit.
    """
    labels = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((labels >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette


def label_image(labels: NDArray[np.uint8]) -> Image.Image:
    """A palette PNG image (mode P) whose pixel values are the labels (H, W) themselves, as VOC stores them."""
    image = Image.fromarray(labels)
    image.putpalette(voc_palette().ravel().tolist())
    return image


def overlay(image: Image.Image, labels: NDArray[np.uint8], opacity: float = 0.5) -> Image.Image:
    """The RGB photograph with every class but background blended over it in its colour."""
    pixels = np.asarray(image, np.float32)
    colours = voc_palette()[labels].astype(np.float32)
    alpha = np.where(labels == 0, 0.0, opacity).astype(np.float32)[..., None]
    return Image.fromarray(np.rint(pixels * (1 - alpha) + colours * alpha).astype(np.uint8))
