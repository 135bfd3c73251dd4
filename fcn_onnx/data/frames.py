"""Images one after another in a stream, as `ffmpeg -f image2pipe` writes a video and `cat` a few files."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image

from fcn_onnx.data.images import MAX_PIXELS, read_rgb
from fcn_onnx.errors import ImageError

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"
MAX_BYTES = 16 * MAX_PIXELS
"""Of one frame; more is refused before it is read."""

BLOCK = 1 << 16


def read_frames(stream: io.BufferedIOBase) -> Iterator[tuple[str, Image.Image]]:
    """Split a stream of JPEG, PNG or binary PPM/PGM images, mixed at will; yields `frame-000001`, … and RGB images.

    Boundaries are found from each format's own structure (JPEG segments, PNG chunks, the PNM header), so thumbnails
    inside of images do no harm, and a frame is handed out as soon as its last byte has come.

    Raises:
        ImageError: another format, a broken or truncated frame, or one that is too large.
    """
    source = _Source(stream)
    while source.begin():
        first = source.upto(2)
        if first == JPEG:
            end = _jpeg_end(source)
        elif first == PNG[:2]:
            end = _png_end(source)
        elif first in (b"P5", b"P6"):
            end = _pnm_end(source, 3 if first == b"P6" else 1)
        else:
            raise source.bad(f"starts with {first!r}, which no JPEG, PNG or binary PPM does")
        yield source.name, read_rgb(source.name, content=source.upto(end))
        source.drop(end)
    if not source.number:
        raise ImageError("the stream holds no image", fix="pipe JPEG, PNG or PPM images into standard input")


class _Source:
    """What has come of the stream since the present frame began; positions count from there."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self._held = bytearray()
        self.number = 0

    @property
    def name(self) -> str:
        return f"frame-{self.number:06d}"

    def bad(self, why: str) -> ImageError:
        return ImageError(
            f"{self.name} of the stream {why}",
            fix="pipe whole images, such as those of `ffmpeg -i … -f image2pipe -c:v mjpeg -`",
        )

    def begin(self) -> bool:
        """Start the next frame; False at the end of the stream."""
        if not self._held:
            self._held += self._stream.read1(BLOCK)
        self.number += bool(self._held)
        return bool(self._held)

    def upto(self, end: int) -> bytes:
        """The frame's first `end` bytes."""
        if end > MAX_BYTES:
            raise self.bad(f"has more than the limit of {MAX_BYTES:,} bytes")
        while len(self._held) < end:
            block = self._stream.read1(max(BLOCK, end - len(self._held)))
            if not block:
                raise self.bad(f"ends after {len(self._held)} bytes, in the middle")
            self._held += block
        return bytes(self._held[:end])

    def part(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of the frame."""
        self.need(end)
        return bytes(self._held[start:end])

    def need(self, end: int) -> None:
        """Wait for the frame's first `end` bytes."""
        if len(self._held) < end:
            self.upto(end)

    def find(self, byte: bytes, start: int) -> int:
        """Position of the next such byte, from `start` on."""
        while (at := self._held.find(byte, start)) < 0:
            start = len(self._held)
            self.need(start + 1)
        return at

    def drop(self, end: int) -> None:
        """The frame was `end` bytes long."""
        del self._held[:end]


def _png_end(source: _Source) -> int:
    """Chunks: length, type, data, checksum; the last is IEND."""
    at, kind = len(PNG), b""
    if source.upto(at) != PNG:
        raise source.bad("is not a whole PNG")
    while kind != b"IEND":
        kind = source.part(at + 4, at + 8)
        at += 12 + int.from_bytes(source.part(at, at + 4))
        source.need(at)
    return at


def _jpeg_end(source: _Source) -> int:
    """Segments: 0xFF, type, length and data; after a scan's header, coded bytes until the next marker."""
    at = 2
    while True:
        at = source.find(b"\xff", at) + 1
        marker = source.part(at, at + 1)[0]
        if marker == 0xFF:  # a fill byte
            continue
        at += 1
        if marker == 0xD9:  # end of image
            return at
        if marker not in (0x00, 0x01, *range(0xD0, 0xD8)):  # a coded 0xFF, and markers without a length
            at += int.from_bytes(source.part(at, at + 2))
            source.need(at)


def _pnm_end(source: _Source, channels: int) -> int:
    """Width, height and largest value in decimal, comments allowed, one white space, then the pixels."""
    at = 2
    fields: list[int] = []
    while len(fields) < 3:
        byte = source.part(at, at + 1)
        if byte == b"#":
            at = source.find(b"\n", at) + 1
        elif byte.isspace():
            at += 1
        else:
            start = at
            while not source.part(at, at + 1).isspace() and at - start < 8:
                at += 1
            text = source.part(start, at)
            if not text.isdigit():
                raise source.bad(f"has {text!r} in its header, where a number should be")
            fields.append(int(text))
    width, height, largest = fields
    return at + 1 + width * height * channels * (1 if largest < 256 else 2)
