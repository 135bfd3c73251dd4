"""Small pictures as files in memory, kept as arrays of their bytes beside the report, and shown inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Encoded = Mapping[str, NDArray[Any]]
"""By name: the bytes of a JPEG or PNG file, (n,) uint8."""

NO_PICTURES: Encoded = MappingProxyType({})
WIDTH = 320
PREFIX = "picture_"
"""Of their names in `images.npz`."""

KINDS = {b"\xff\xd8\xff": "jpeg", b"\x89PN": "png"}
"""By a file's first bytes."""


def encoded(image: Image.Image, kind: str) -> NDArray[np.uint8]:
    """The image as a file, `WIDTH` pixels wide at most; masks (PNG) keep their labels, by nearest neighbour."""
    if image.width > WIDTH:
        method = Image.Resampling.BILINEAR if kind == "JPEG" else Image.Resampling.NEAREST
        image = image.resize((WIDTH, max(1, round(image.height * WIDTH / image.width))), method)
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 80} if kind == "JPEG" else {"optimize": True}))
    return np.frombuffer(stream.getvalue(), np.uint8)


def data_uri(reference: str | None, pictures: Encoded) -> str | None:
    """What a page shows for a picture that the report names; None where it is not there, or no picture."""
    if reference is None:
        return None
    if reference.startswith("data:image/"):  # schema 1 holds the picture itself
        return reference
    found = pictures.get(reference)
    content = b"" if found is None or found.dtype != np.uint8 else found.tobytes()
    kind = KINDS.get(content[:3])
    return None if kind is None else f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
