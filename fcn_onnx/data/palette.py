"""Labels as colours: the PASCAL VOC palette and what is drawn with it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fcn_onnx.data.labels import VOID, LabelSpace
from fcn_onnx.jobs.text import one_line

BAND = 256
"""Rows that are blended at once."""

LONGEST = 60
"""Characters of a class name in a legend."""


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


def palette_of(space: LabelSpace) -> NDArray[np.uint8]:
    """A colour for each of 256 labels, (256, 3) uint8: the space's own, else VOC's, of which black is background's.

    Void has VOC's.
    """
    palette = voc_palette()
    classes = len(space.names)
    if space.colours:
        palette[:classes] = space.colours
    elif space.background != 0:
        palette[:classes] = voc_palette()[1 : classes + 1]
    palette[VOID] = voc_palette()[VOID]
    return palette


def label_image(labels: NDArray[np.uint8], space: LabelSpace) -> Image.Image:
    """A palette PNG image (mode P) whose pixel values are the labels (H, W) themselves, as VOC stores them."""
    image = Image.fromarray(labels)
    image.putpalette(palette_of(space).ravel().tolist())
    return image


def overlay(image: Image.Image, labels: NDArray[np.uint8], space: LabelSpace, opacity: float = 0.5) -> Image.Image:
    """The RGB photograph with every class but background blended over it in its colour."""
    pixels, palette = np.asarray(image), palette_of(space).astype(np.float32)
    blended = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(labels), BAND):  # as floats, all of a large photograph is ten times the photograph
        band = np.s_[top : top + BAND]
        alpha = np.full((*labels[band].shape, 1), opacity, np.float32)
        if space.background is not None:
            alpha[labels[band] == space.background] = 0
        blended[band] = np.rint(pixels[band].astype(np.float32) * (1 - alpha) + palette[labels[band]] * alpha)
    return Image.fromarray(blended)


def draw_legend(image: Image.Image, labels: Iterable[int], space: LabelSpace) -> Image.Image:
    """The picture with a box in its upper left corner that names the colours of these labels, background's excepted.

    It is as it was where there is none.
    """
    names = {label: one_line(space.names[label])[:LONGEST] for label in labels if label != space.background}
    if not names:
        return image
    size = max(11, min(image.size) // 24)
    font = ImageFont.load_default(size)
    gap = size // 3
    widest = max(font.getlength(name) for name in names.values())
    row = size + gap
    box = Image.new("RGBA", (round(widest) + size + 3 * gap, len(names) * row + gap), (0, 0, 0, 170))
    pen = ImageDraw.Draw(box)
    palette = palette_of(space)
    for index, (label, name) in enumerate(names.items()):
        top = gap + index * row
        red, green, blue = palette[label].tolist()
        pen.rectangle((gap, top, gap + size, top + size), fill=(red, green, blue, 255), outline=(255, 255, 255, 255))
        pen.text((size + 2 * gap, top + size / 2), name, font=font, fill=(255, 255, 255, 255), anchor="lm")
    drawn = image.convert("RGBA")
    drawn.alpha_composite(box.crop((0, 0, min(box.width, image.width), min(box.height, image.height))))
    return drawn.convert("RGB")
