"""Photographs from untrusted files; what is read and what is refused is a table in `docs/inputs.md`.

The pixels are those that are stored: COCO and VOC annotate the stored grid, and torchvision, pycocotools and
the published protocols ignore EXIF orientation. A person who looks at a result expects it upright: `upright`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from fcn_onnx.errors import FcnOnnxError, ImageError
from fcn_onnx.jobs.reading import open_regular, require_regular

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM", "GIF")
"""What a file may be, whatever its suffix. Pillow knows others, of which some start programs (EPS) and some are little
tested (DDS, BLP)."""

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded; COCO's and VOC's have 0.4 million."""

MAX_ASPECT = 100
"""One side of an image over the other; resized, longer strips would have millions of pixels."""

CONVERTED_MODES = frozenset({"RGB", "L", "1", "P", "PA", "LA", "RGBA"})
"""Modes with 8 bits a channel or fewer, whose RGB form loses nothing (but opaque alpha)."""

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings the stored pixels of each EXIF orientation upright."""


def read_rgb(path: Path | str, *, content: bytes | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a photograph as stored, in mode RGB; greyscale becomes three equal channels.

    Args:
        path: the file; or, with `content`, what to call the image.
        content: the file's bytes, where it is not on disk.

    Raises:
        ImageError: the file is missing, truncated, animated, too large or too narrow, not an image, or in a mode whose
            conversion to RGB would be a guess (CMYK, 16 bits, float, Lab, transparency).
    """
    with opened(path, content=content, max_pixels=max_pixels) as image:
        _require_photograph(image, path)
        image.load()
        return _to_rgb(image, path)


def stored_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image as stored, from its header. Raises ImageError as for `opened`."""
    with opened(path) as image:
        return image.size


def upright(path: Path, image: Image.Image) -> Image.Image:
    """`image`, read from `path`, turned as the file's EXIF orientation says; as stored where that cannot be read."""
    with opened(path) as original:
        try:
            turn = TURNS.get(original.getexif().get(ORIENTATION, 1))
        except Exception:  # a broken EXIF block raises whatever it meets, and says nothing of the pixels
            turn = None
    return image if turn is None else image.transpose(turn)


def require_file(path: Path) -> None:
    """Raise ImageError where `path` leads to no regular file; it is not opened."""
    with _reading(path):
        require_regular(path)


@contextmanager
def opened(path: Path | str, *, content: bytes | None = None, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """An image of one of `FORMATS`, its size checked, nothing decoded yet; what decoding raises becomes an ImageError.

    Raises:
        ImageError: it is missing, no regular file, of another format, broken, or too large.
    """
    with _reading(path):
        stream: BinaryIO = open_regular(Path(path)) if content is None else io.BytesIO(content)
    try:
        with stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, our own limit is stricter; of broken metadata, the pixels tell
            with Image.open(stream, formats=FORMATS) as image:
                _require_size(image.size, path, max_pixels)
                yield image
    except FcnOnnxError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path} has more than the limit of {max_pixels:,} pixels: {error}", fix="scale it down first"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not an image that Pillow knows as {', '.join(FORMATS)} ({_size(path, content)} bytes)",
            fix="remove it from the data, or convert it to JPEG or PNG",
        ) from error
    except Exception as error:  # Pillow's decoders raise whatever they meet: SyntaxError, struct.error, TypeError, …
        raise ImageError(
            f"{path} cannot be decoded: {error}", fix="the file is damaged; fetch it again, or remove it"
        ) from error


def require_one(image: Image.Image, path: Path | str) -> None:
    """Raise ImageError where a file holds more than one picture; of a camera's pair (MPO) the first is the image."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageError(
            f"{path} is animated or has several pages ({frames} frames)",
            fix="save the frame you mean as JPEG or PNG",
        )


@contextmanager
def _reading(path: Path | str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(f"no such image: {path}", fix="check the name and the folder") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ImageError(f"the image {path} cannot be read: {why}", fix="name an ordinary file") from error


def _size(path: Path | str, content: bytes | None) -> int:
    return Path(path).stat().st_size if content is None else len(content)


def _require_size(size: tuple[int, int], path: Path | str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{path} has {width}×{height} pixels, more than the limit of {max_pixels:,}",
            fix="scale it down first",
        )
    if max(size) > MAX_ASPECT * min(size):
        raise ImageError(
            f"{path} has {width}×{height} pixels: one side is more than {MAX_ASPECT} times the other",
            fix="cut it into pieces, or remove it",
        )


def _require_photograph(image: Image.Image, path: Path | str) -> None:
    require_one(image, path)
    deep = has_16_bits(image)
    if image.mode not in CONVERTED_MODES or deep:
        raise ImageError(
            f"{path} is in mode {image.mode}{' with 16 bits a channel' if deep else ''}, not 8-bit RGB or greyscale",
            fix="convert it to 8-bit RGB with the colour profile that you know it has",
        )


def has_16_bits(image: Image.Image) -> bool:
    """Whether more than 8 bits a channel are stored, of which Pillow's RGB would keep the upper ones."""
    for tile in getattr(image, "tile", ()):
        form = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if tile[0].startswith("ppm") and any(part > 255 for part in form if isinstance(part, int)):  # its largest value
            return True
    return any(";16" in form for form in raw_forms(image))


def raw_forms(image: Image.Image) -> frozenset[str]:
    """How Pillow calls the stored form of a pixel (PNG and TIFF): `L;4` is grey of 4 bits, `RGB;16B` colour of 16."""
    tiles = [tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in getattr(image, "tile", ())]
    return frozenset(part for form in tiles for part in form if isinstance(part, str))


def _to_rgb(image: Image.Image, path: Path | str) -> Image.Image:
    if "A" in image.getbands() or "transparency" in image.info:
        lowest = image.convert("RGBA").getchannel("A").getextrema()[0]
        if lowest != 255:
            raise ImageError(f"{path} has transparent pixels, which have no colour", fix="flatten it onto a background")
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
