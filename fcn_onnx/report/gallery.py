"""The images that int8 changed most, drawn small enough to travel with a report."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.labels import LabelSpace
from fcn_onnx.data.palette import label_image, overlay
from fcn_onnx.report.document import FP32, Pictures
from fcn_onnx.report.pictures import PREFIX, encoded

Labels = NDArray[np.uint8]


def most_changed(agreement: NDArray[np.int64], count: int) -> list[int]:
    """Indices of the `count` images with the lowest agreement (N, 2), worst first; unchanged ones never."""
    share = agreement[:, 0] / agreement[:, 1]
    order = np.argsort(share, kind="stable")[:count]
    return [int(i) for i in order if share[i] < 1]


def named(index: int, image: str, candidate: str, *, truth: bool = True) -> Pictures:
    """What the pictures of the index-th image, called `image`, are called in the gallery of a candidate."""
    before = f"{PREFIX}{index}"
    return Pictures(
        name=image,
        image=f"{before}_image",
        truth=f"{before}_truth" if truth else None,
        fp32=f"{before}_labels_{FP32}",
        int8=f"{before}_labels_{candidate}",
        disagreement=f"{before}_differs_{candidate}",
    )


def draw(
    index: int, photograph: Image.Image, truth: Labels | None, labels: Mapping[str, Labels], space: LabelSpace
) -> dict[str, Labels]:
    """The photograph, the truth, what each row predicts and where it differs from fp32, as `named` calls them.

    Args:
        photograph: of any size; it is drawn at that of the labels.
        truth: labels (H, W) uint8; None where it is unknown.
        labels: likewise, of fp32 and of candidates.
        space: what they mean.

    Returns:
        Each picture's file, (n,) uint8.
    """
    height, width = labels[FP32].shape
    image = photograph.resize((width, height), Image.Resampling.BILINEAR)
    shared = named(index, "", FP32)
    drawn = {shared.image: encoded(image, "JPEG")}
    if truth is not None and shared.truth is not None:
        drawn[shared.truth] = encoded(label_image(truth, space), "PNG")
    for name, own in labels.items():
        entry = named(index, "", name)
        drawn[entry.int8] = encoded(overlay(image, own, space), "JPEG")
        if name != FP32:
            differ = np.where(labels[FP32] != own, np.uint8(255), np.uint8(0))
            drawn[entry.disagreement] = encoded(Image.fromarray(differ), "PNG")
    return drawn
