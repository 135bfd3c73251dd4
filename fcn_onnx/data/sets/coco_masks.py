"""One COCO annotation as a mask. pycocotools reads and writes past its buffers where its input does not fit, and takes
memory for every pixel of an outline, so everything is checked first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from fcn_onnx.errors import DatasetError
from fcn_onnx.jobs.typed import shown

MAX_OUTLINE = 4_000_000
"""Pixels along all polygons of one annotation; pycocotools takes 100 bytes for each. COCO's longest has some 20,000."""


def decode_mask(annotation: Mapping[str, Any], height: int, width: int, source: Path) -> NDArray[np.bool_]:
    """(H, W) bool of one annotation: polygons, or run lengths, compressed or not.

    Polygons may reach beyond the image, by no more than one of its sides; pycocotools clips them to the pixel.

    Raises:
        DatasetError: the segmentation is malformed.
    """
    segmentation = annotation.get("segmentation")
    try:
        if isinstance(segmentation, list):
            _check_polygons(segmentation, height, width)
            encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation, dict):
            lengths = _checked_lengths(segmentation, height, width)
            encoded = coco_mask.frPyObjects({"counts": lengths, "size": [height, width]}, height, width)
        else:
            raise ValueError(f"it is {type(segmentation).__name__}, neither polygons nor run lengths")
    except ValueError as error:
        _refuse(annotation, source, error)
    return np.asarray(coco_mask.decode(encoded), dtype=bool)


def _refuse(annotation: Mapping[str, Any], source: Path, why: ValueError) -> NoReturn:
    raise DatasetError(
        f"annotation {shown(annotation.get('id', '?'))} of {source} has a bad segmentation: {why}",
        fix="correct or remove the annotation",
    ) from why


def _check_polygons(polygons: Sequence[Any], height: int, width: int) -> None:
    """Raise ValueError unless pycocotools can draw them."""
    if not polygons:
        raise ValueError("it is empty")
    outline = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon needs three points or more, as x, y, x, y, …")
        if not all(map(_is_finite, polygon)):
            raise ValueError("a polygon's coordinates must be finite numbers")
        for values, side in ((polygon[0::2], width), (polygon[1::2], height)):
            if min(values) < -side or max(values) > 2 * side:
                raise ValueError(
                    f"a polygon reaches from {min(values):g} to {max(values):g}, more than one side outside of the "
                    f"image's {side} pixels"
                )
            outline += sum(abs(b - a) + 1 for a, b in pairwise([*values, values[0]]))
    if outline > MAX_OUTLINE:
        raise ValueError(f"its outline is {outline:.3g} pixels long, more than {MAX_OUTLINE:,}")


def _is_finite(value: object) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is int and abs(value) < 1 << 53


def _checked_lengths(segmentation: Mapping[str, Any], height: int, width: int) -> list[int]:
    """Run lengths that cover the image exactly. Raises ValueError where they do not."""
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"its size is {shown(segmentation.get('size'))}, the image's is {[height, width]}")
    lengths = _run_lengths(segmentation.get("counts"))
    if lengths is None or sum(lengths) != height * width:
        raise ValueError("its run lengths do not add up to the image")
    return lengths


def _run_lengths(counts: Any) -> list[int] | None:
    """Run lengths from a list, or from COCO's compressed text; None where they are neither.

    The text holds 5 bits a character from ASCII 48 up, low bits first, bit 5 meaning "more follows", sign
    extended; from the third on, each is the difference to the one two before (cocoapi `maskApi.c`, rleFrString).
    """
    if isinstance(counts, list):
        return counts if all(type(n) is int and n >= 0 for n in counts) else None
    if not isinstance(counts, str | bytes):
        return None
    codes = counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts
    lengths: list[int] = []
    value = shift = 0
    for code in codes:
        bits = code - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            value += lengths[-2] if len(lengths) > 2 else 0
            if value < 0:
                return None
            lengths.append(value)
            value = shift = 0
    return lengths if shift == 0 else None
