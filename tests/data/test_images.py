"""Photographs: which files are read, and which are refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from toys import photograph

from fcn_onnx.data.images import read_rgb, upright
from fcn_onnx.errors import ImageError


def test_rgb_and_grey_are_read_as_pillow_converts_them(tmp_path: Path) -> None:
    colour = photograph(30, 20, 1)
    colour.save(tmp_path / "c.png")
    colour.convert("L").save(tmp_path / "g.jpg")
    assert np.array_equal(read_rgb(tmp_path / "c.png"), colour)
    grey = np.asarray(read_rgb(tmp_path / "g.jpg"))
    assert grey.shape == (20, 30, 3)
    assert np.array_equal(grey[..., 0], np.asarray(Image.open(tmp_path / "g.jpg")))


def test_palette_and_opaque_alpha_keep_their_colours(tmp_path: Path) -> None:
    colour = photograph(16, 16, 2)
    colour.quantize(64).save(tmp_path / "p.png")
    assert np.array_equal(read_rgb(tmp_path / "p.png"), colour.quantize(64).convert("RGB"))
    colour.convert("RGBA").save(tmp_path / "a.png")
    assert np.array_equal(read_rgb(tmp_path / "a.png"), colour)


def _write(kind: str, path: Path) -> Path:
    image = photograph(40, 30, 3)
    match kind:
        case "missing":
            pass
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("hello")
        case "truncated jpeg":
            image.save(path, "JPEG")
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "truncated png":
            image.save(path, "PNG")
            path.write_bytes(path.read_bytes()[:-40])
        case "cmyk":
            image.convert("CMYK").save(path, "JPEG")
        case "16 bit":
            Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(path, "PNG")
        case "float":
            Image.fromarray(np.ones((4, 4), np.float32)).save(path, "TIFF")
        case "animated":
            image.save(path, "GIF", save_all=True, append_images=[photograph(40, 30, 4)])
        case "transparent":
            ghost = image.convert("RGBA")
            ghost.putalpha(100)
            ghost.save(path, "PNG")
        case "transparent palette":
            image.quantize(8).save(path, "PNG", transparency=0)
        case "huge" | "enormous":
            header = PngImagePlugin.putchunk
            with path.open("wb") as stream:
                stream.write(b"\x89PNG\r\n\x1a\n")
                size = (9_000 if kind == "huge" else 100_000).to_bytes(4, "big")
                header(stream, b"IHDR", size + size + bytes([8, 2, 0, 0, 0]))
                header(stream, b"IDAT", b"")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such image"),
        ("empty", "not an image that Pillow knows"),
        ("text", "not an image that Pillow knows"),
        ("truncated jpeg", "cannot be decoded"),
        ("truncated png", "cannot be decoded"),
        ("cmyk", "mode CMYK"),
        ("16 bit", "mode I;16"),
        ("float", "mode F"),
        ("animated", "2 frames"),
        ("transparent", "transparent pixels"),
        ("transparent palette", "transparent pixels"),
        ("huge", "more than the limit"),
        ("enormous", "more than the limit"),
    ],
)
def test_what_is_no_plain_photograph_is_refused(tmp_path: Path, kind: str, words: str) -> None:
    path = _write(kind, tmp_path / "image.bin")
    with pytest.raises(ImageError) as caught:
        read_rgb(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_stay_as_stored_unless_turned_upright(tmp_path: Path, orientation: int) -> None:
    image = photograph(40, 24, 5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    image.save(path, exif=exif)
    stored = read_rgb(path)
    assert np.array_equal(stored, image)
    pixels = np.asarray(image)
    # EXIF 2.32, orientation tag: where row 0 and column 0 of the stored grid are in the scene
    expected = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: pixels[::-1].transpose(1, 0, 2),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: pixels[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    assert np.array_equal(upright(path, stored), expected)
