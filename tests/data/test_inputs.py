"""The table of docs/inputs.md, row by row."""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import photograph, pixel_classifier, save, write_voc

from fcn_onnx.data.images import MAX_PIXELS, read_rgb, upright
from fcn_onnx.data.labels import read_classes
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.data.sample import Sample
from fcn_onnx.data.sets.coco_json import MAX_BYTES as COCO_BYTES
from fcn_onnx.data.sets.coco_masks import MAX_OUTLINE
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import DatasetError, ImageError, UsageError
from fcn_onnx.jobs.reading import TEXT_BYTES
from fcn_onnx.stages.options import PredictOptions
from fcn_onnx.stages.predict import predict

PAGE = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([^|]+?) \| (read|refused) \|", PAGE, re.MULTILINE))

COLOUR = photograph(40, 30, 3)


def written(kind: str, pages: int = 1, **options: object) -> Callable[[Path], None]:
    """Saves a picture, and others behind it; they are copies, as Pillow notes options in what it saves."""

    def write(path: Path) -> None:
        others = {"save_all": True, "append_images": [photograph(40, 30, 4)]} if pages > 1 else {}
        COLOUR.copy().save(path, kind, **others, **options)  # type: ignore[arg-type]

    return write


def png(bits: int, colour: int, size: tuple[int, int] = (2, 2), data: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def another_format(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    COLOUR.save(path, "PNG", exif=exif)


def transparent(path: Path) -> None:
    ghost = COLOUR.convert("RGBA")
    ghost.putalpha(100)
    ghost.save(path, "PNG")


def opaque(path: Path) -> None:
    COLOUR.convert("RGBA").save(path, "PNG")


def damaged(path: Path) -> None:
    COLOUR.copy().save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-200])


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def open_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have 107 characters
        door.bind(path.name)
        os.chdir(here)


def outwards(path: Path) -> None:
    outside = path.parent.parent / "outside.png"
    COLOUR.save(outside)
    path.symlink_to(outside)


FILES: dict[str, Callable[[Path], object]] = {
    "JPEG": written("JPEG"),
    "PNG": written("PNG"),
    "BMP": written("BMP"),
    "TIFF of one page": written("TIFF"),
    "WebP": written("WEBP", lossless=True),
    "PPM or PGM": written("PPM"),
    "GIF of one frame": written("GIF"),
    "of another format": another_format,
    "turned by EXIF": turned,
    "grey": lambda path: COLOUR.convert("L").save(path, "PNG"),
    "black and white": lambda path: COLOUR.convert("1").save(path, "PNG"),
    "palette": lambda path: COLOUR.quantize(16).save(path, "PNG"),
    "opaque alpha": opaque,
    "transparent": transparent,
    "CMYK": lambda path: COLOUR.convert("CMYK").save(path, "JPEG"),
    "16 bits, grey": lambda path: path.write_bytes(png(16, 0, data=b"\0\1\2\3\4" * 2)),
    "16 bits, colour": lambda path: path.write_bytes(png(16, 2, data=(b"\0" + b"\1\2" * 6) * 2)),
    "floating point": lambda path: Image.fromarray(np.ones((4, 4), np.float32)).save(path, "TIFF"),
    "animated": written("WEBP", 2),
    "of several pages": written("TIFF", 2),
    "a camera's pair (MPO)": written("MPO", 2),
    "damaged": damaged,
    "larger than 64,000,000 pixels": lambda path: path.write_bytes(png(8, 2, (8_001, 8_000))),
    "narrower than 1 : 100": lambda path: Image.new("RGB", (1_010, 10)).save(path, "PNG"),
    "a pipe": os.mkfifo,
    "a socket": open_socket,
    "a device": device,
    "a link out of `--data`": outwards,
    "a link to nothing": lambda path: path.symlink_to("nowhere.png"),
}
ELSEWHERE = {"larger than that when resized", "larger than memory"}
"""Rows with tests of their own, as they are not a matter of the file alone."""


def test_every_row_of_the_table_is_tested() -> None:
    assert set(ROWS) == set(FILES) | ELSEWHERE


@pytest.mark.parametrize("row", FILES)
def test_an_image_is_read_or_refused_as_the_table_says(tmp_path: Path, row: str) -> None:
    path = tmp_path / "data" / "image.png"
    path.parent.mkdir()
    FILES[row](path)
    if ROWS[row] == "read":
        dataset = open_dataset(path.parent)
        assert read_rgb(dataset.samples[0].path).mode == "RGB"
        return
    with pytest.raises((ImageError, DatasetError)) as caught:
        dataset = open_dataset(path.parent)
        read_rgb(dataset.samples[0].path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("row", [row for row in FILES if "link" not in row])
def test_predict_reads_and_refuses_the_same(tmp_path: Path, row: str) -> None:
    path = tmp_path / "data" / "image.png"
    path.parent.mkdir()
    FILES[row](path)
    model = save(pixel_classifier(), tmp_path / "model.onnx")
    if ROWS[row] == "read":
        assert len(predict(PredictOptions(model=model, images=[path.parent], output=tmp_path / "seen"))) == 1
        return
    with pytest.raises(ImageError) as caught:
        predict(PredictOptions(model=model, images=[path], output=tmp_path / "seen"))
    assert str(path) in str(caught.value)


def test_pixels_are_as_stored_and_upright_where_a_person_looks(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    turned(path)
    assert np.array_equal(read_rgb(path), COLOUR)
    assert np.array_equal(upright(path, read_rgb(path)), np.rot90(np.asarray(COLOUR), -1))


def test_the_first_of_a_cameras_pair_is_the_image(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    written("MPO", 2)(path)
    single = io.BytesIO()
    COLOUR.copy().save(single, "JPEG")
    assert np.array_equal(read_rgb(path), Image.open(single))


@pytest.mark.parametrize("value", [b"\0\0", (6,), "six", 0, 9, 10**6])
def test_an_orientation_that_is_none_turns_nothing(
    tmp_path: Path, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.png"
    turned(path)
    monkeypatch.setattr(Image.Image, "getexif", lambda self: {0x0112: value})
    assert np.array_equal(upright(path, read_rgb(path)), COLOUR)


def test_what_would_be_too_large_when_resized_is_refused(tmp_path: Path) -> None:
    """99 × 1 pixels with a short side of 1000 are 99 million."""
    path = tmp_path / "strip.png"
    Image.new("RGB", (990, 10)).save(path)
    sample = Sample(1, path.name, path)
    with pytest.raises(ImageError, match=r"strip\.png.*99000×1000") as caught:
        Preprocessing(Resize(short_side=1_000)).read(sample)
    assert f"{MAX_PIXELS:,}" in str(caught.value)
    assert Preprocessing(Resize(short_side=20)).read(sample).shape == (1, 3, 20, 1980)


def test_what_is_larger_than_memory_is_refused_with_the_size_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 100000 kB\n")
    monkeypatch.setattr("fcn_onnx.jobs.limits.ROOT", tmp_path)
    model = save(pixel_classifier(), tmp_path / "model.onnx")
    path = tmp_path / "large.png"
    Image.new("RGB", (2_000, 1_000)).save(path)
    with pytest.raises(ImageError, match=r"large\.png at 2000×1000") as caught:
        predict(PredictOptions(model=model, images=[path], output=tmp_path / "seen"))
    width, height = map(int, re.findall(r"scale it to (\d+)×(\d+)", str(caught.value))[0])
    Image.new("RGB", (width, height)).save(path)
    assert predict(PredictOptions(model=model, images=[path], output=tmp_path / "seen"))


@pytest.mark.parametrize("what", ["mask of 3600 million pixels", "mask of two pages", "link out", "pipe", "list"])
def test_voc_is_no_way_around(tmp_path: Path, what: str) -> None:
    root = write_voc(tmp_path / "devkit")
    mask = root / "SegmentationClass" / "2007_000000.png"
    listing = root / "ImageSets" / "Segmentation" / "val.txt"
    match what:
        case "mask of 3600 million pixels":
            mask.write_bytes(png(8, 3, (60_000, 60_000)))
        case "mask of two pages":
            page = Image.open(mask).convert("P")
            page.save(mask, "TIFF", save_all=True, append_images=[page.copy()])
        case "link out":
            mask.rename(tmp_path / "mask.png")
            mask.symlink_to(tmp_path / "mask.png")
        case "pipe":
            mask.unlink()
            os.mkfifo(mask)
        case "list":
            listing.write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError) as caught:
        dataset = open_dataset(root)
        for sample in dataset.samples:
            dataset.label_map(sample)
    assert str(listing if what == "list" else mask) in str(caught.value)


def test_the_data_folder_may_be_a_link(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "devkit")
    link = tmp_path / "link"
    link.symlink_to(root)
    assert len(open_dataset(link).samples) == 2


def test_the_other_limits_are_those_of_the_page() -> None:
    assert f"| image names or class names | {TEXT_BYTES >> 20} MiB |" in PAGE
    assert f"| COCO annotations | {COCO_BYTES >> 30} GiB |" in PAGE
    assert f"{MAX_OUTLINE:,} pixels" in PAGE.replace("\n", " ")


@pytest.mark.parametrize("kind", ["/dev/zero", "not UTF-8"])
def test_class_files_that_are_none(tmp_path: Path, kind: str) -> None:
    path = Path(kind)
    if kind == "not UTF-8":
        path = tmp_path / "classes.txt"
        path.write_bytes(b"background\ncaf\xe9\n")
    with pytest.raises(UsageError, match="cannot be read"):
        read_classes(path)
