"""Photographs from untrusted files.

The pixels are those that are stored: COCO and VOC annotate the stored grid, and torchvision, pycocotools and
the published protocols ignore EXIF orientation. A person who looks at a result expects it upright: `upright`.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from fcn_onnx.errors import ImageError

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded; COCO's and VOC's have 0.4 million."""

CONVERTED_MODES = frozenset({"RGB", "L", "1", "P", "PA", "LA", "RGBA"})
"""Modes with 8 bits a channel or fewer, whose RGB form loses nothing (but opaque alpha)."""


def read_rgb(path: Path | str, *, content: bytes | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a photograph as stored, in mode RGB; greyscale becomes three equal channels.

    Args:
        path: the file; or, with `content`, what to call the image.
        content: the file's bytes, where it is not on disk.

    Raises:
        ImageError: the file is missing, truncated, animated, too large, not an image, or in a mode whose
            conversion to RGB would be a guess (CMYK, 16 bits, float, Lab, transparency).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is stricter
            with Image.open(path if content is None else io.BytesIO(content)) as image:
                _check_header(image, path, max_pixels)
                image.load()
                return _to_rgb(image, path)
    except FileNotFoundError as error:
        raise ImageError(f"no such image: {path}", fix="check the name and the folder") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path} has more than the limit of {max_pixels:,} pixels: {error}", fix="scale it down first"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not an image that Pillow knows ({_size(path, content)} bytes)",
            fix="remove it from the data, or convert it to JPEG or PNG",
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        # Pillow's decoders raise SyntaxError for broken PNG chunks and ValueError for broken headers
        raise ImageError(
            f"{path} cannot be decoded: {error}", fix="the file is damaged; fetch it again, or remove it"
        ) from error


def upright(path: Path, image: Image.Image) -> Image.Image:
    """`image`, read from `path`, turned as the file's EXIF orientation says."""
    with Image.open(path) as original:
        orientation = original.getexif().get(0x0112, 1)
    if orientation == 1:
        return image
    turned = image.copy()
    turned.getexif()[0x0112] = orientation
    return ImageOps.exif_transpose(turned)


def _size(path: Path | str, content: bytes | None) -> int:
    return Path(path).stat().st_size if content is None else len(content)


def _check_header(image: Image.Image, path: Path | str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{path} has {width}×{height} pixels, more than the limit of {max_pixels:,}",
            fix="scale it down first",
        )
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise ImageError(
            f"{path} is animated or has several pages ({getattr(image, 'n_frames', 1)} frames)",
            fix="save the frame you mean as JPEG or PNG",
        )
    if image.mode not in CONVERTED_MODES:
        raise ImageError(
            f"{path} is in mode {image.mode}, not 8-bit RGB or greyscale",
            fix="convert it to 8-bit RGB with the colour profile that you know it has",
        )


def _to_rgb(image: Image.Image, path: Path | str) -> Image.Image:
    if "A" in image.getbands() or "transparency" in image.info:
        lowest = image.convert("RGBA").getchannel("A").getextrema()[0]
        if lowest != 255:
            raise ImageError(f"{path} has transparent pixels, which have no colour", fix="flatten it onto a background")
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
