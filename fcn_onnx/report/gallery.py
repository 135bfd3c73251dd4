"""The images that int8 changed most, drawn small enough to travel inside a report."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.palette import label_image, overlay

WIDTH = 320


def most_changed(agreement: NDArray[np.int64], count: int) -> list[int]:
    """Indices of the `count` images with the lowest agreement (N, 2), worst first; unchanged ones never."""
    share = agreement[:, 0] / agreement[:, 1]
    order = np.argsort(share, kind="stable")[:count]
    return [int(i) for i in order if share[i] < 1]


def draw_entry(
    name: str, photograph: Image.Image, truth: NDArray[np.uint8], fp32: NDArray[np.uint8], int8: NDArray[np.uint8]
) -> dict[str, Any]:
    """Data URIs of the photograph called `name`, the truth, both predictions and where they differ.

    Args:
        photograph: of any size; it is drawn at that of the labels.
        truth, fp32, int8: labels (H, W).
    """
    image = photograph.resize((truth.shape[1], truth.shape[0]), Image.Resampling.BILINEAR)
    differ = np.where(fp32 != int8, np.uint8(255), np.uint8(0))
    return {
        "name": name,
        "image": _uri(image, "JPEG"),
        "truth": _uri(label_image(truth), "PNG"),
        "fp32": _uri(overlay(image, fp32), "JPEG"),
        "int8": _uri(overlay(image, int8), "JPEG"),
        "disagreement": _uri(Image.fromarray(differ), "PNG"),
    }


def _uri(image: Image.Image, kind: str) -> str:
    """A data URI of the image, `WIDTH` pixels wide at most; masks keep their labels (nearest neighbour)."""
    if image.width > WIDTH:
        method = Image.Resampling.BILINEAR if kind == "JPEG" else Image.Resampling.NEAREST
        image = image.resize((WIDTH, max(1, round(image.height * WIDTH / image.width))), method)
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 80} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
