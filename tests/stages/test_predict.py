"""Folders, streams of frames, legends, and going on after an interruption."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import coarse_classifier, photograph, pixel_classifier, save

from fcn_onnx.data.frames import read_frames
from fcn_onnx.data.labels import VOC
from fcn_onnx.data.palette import draw_legend, voc_palette
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import ImageError, UsageError
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import SilentProgress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.stages.options import PredictOptions
from fcn_onnx.stages.predict import predict, predict_frames


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(pixel_classifier(), tmp_path / "m.onnx")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


class Trickle(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(random.Random(self.tell()).randint(1, 700))


def thumbnailed(image: Image.Image) -> bytes:
    """A JPEG whose EXIF holds a whole other JPEG, end marker and all."""
    inner = encoded(image.resize((8, 8)), "JPEG")
    segment = b"Exif\0\0" + inner
    whole = encoded(image, "JPEG")
    return whole[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + whole[2:]


FRAMES = {
    "jpeg": lambda image: encoded(image, "JPEG", quality=95),
    "progressive jpeg": lambda image: encoded(image, "JPEG", progressive=True),
    "jpeg with restarts": lambda image: encoded(image, "JPEG", restart_marker_blocks=1),
    "jpeg with a thumbnail": thumbnailed,
    "png": lambda image: encoded(image, "PNG"),
    "ppm": lambda image: encoded(image, "PPM"),
    "pgm": lambda image: encoded(image.convert("L"), "PPM"),
    "ppm with a comment": lambda image: encoded(image, "PPM").replace(b"P6\n", b"P6 # a comment 7\n", 1),
}


@pytest.mark.parametrize("stream_type", [io.BytesIO, Trickle])
def test_frames_are_told_apart(stream_type: type[io.BytesIO]) -> None:
    images = [encode(photograph(30 + 7 * i, 40, i)) for i, encode in enumerate(FRAMES.values())]
    frames = list(read_frames(stream_type(b"".join(images))))
    assert [name for name, _ in frames] == [f"frame-{i:06d}" for i in range(1, len(images) + 1)]
    for (_, frame), content in zip(frames, images, strict=True):
        with Image.open(io.BytesIO(content)) as expected:
            assert (np.asarray(frame) == np.asarray(expected.convert("RGB"))).all()


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_is_there_with_its_last_byte(kind: str) -> None:
    """The reader must not wait for a byte that a live camera has not sent yet."""
    content = FRAMES[kind](photograph(20, 16, 0))

    class Camera(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            if self.tell() == len(content):
                raise AssertionError("read past the frame")
            return super().read1(size)

    name, _ = next(read_frames(Camera(content)))
    assert name == "frame-000001"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no image"),
        (b"GIF89a", "starts with b'GI'"),
        (encoded(photograph(20, 16, 0), "JPEG")[:-2], "in the middle"),
        (encoded(photograph(20, 16, 0), "PNG")[:-20], "in the middle"),
        (b"\x89PNX", "ends after 4 bytes"),
        (b"\x89PNGGGGG" + bytes(20), "not a whole PNG"),
        (b"P6\n20 16\n255\n\0\0", "in the middle"),
        (b"P6\ntwenty 16\n255\n", "where a number should be"),
        (b"P6\n9999999 9999999\n255\n", "more than the limit"),
        (encoded(photograph(20, 16, 0), "PNG") + b"junk", "frame-000002 of the stream starts with b'ju'"),
    ],
)
def test_broken_streams_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        list(read_frames(io.BytesIO(content)))


def test_a_pipe_from_end_to_end(model: Path) -> None:
    images = [photograph(40, 30, i) for i in range(3)]
    command = [sys.executable, "-m", "fcn_onnx", "predict", str(model), "-", "--write", "labels"]
    result = subprocess.run(
        command, input=b"".join(encoded(i, "PNG") for i in images), capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr
    found = [np.asarray(Image.open(io.BytesIO(part))) for part in split_png(result.stdout)]
    expected = [
        np.asarray(p.labels)
        for _, p in predict_frames(
            PredictOptions(model=model, images=()), ((str(i), im) for i, im in enumerate(images))
        )
    ]
    assert [labels.tolist() for labels in found] == [labels.tolist() for labels in expected]
    refused = subprocess.run([*command, "--json", "x.json"], input=b"", capture_output=True, check=False)
    assert refused.returncode == 2


def split_png(content: bytes) -> list[bytes]:
    return [b"\x89PNG\r\n\x1a\n" + part for part in content.split(b"\x89PNG\r\n\x1a\n")[1:]]


def test_folders_keep_their_shape_and_leave_results_out(model: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    (album / "sea").mkdir(parents=True)
    photograph(20, 16, 1).save(album / "a.png")
    photograph(20, 16, 2).save(album / "sea" / "a.jpg")
    (album / "notes.txt").write_text("no image")
    for _ in range(2):  # the second time, the results of the first lie in the folder
        results = predict(PredictOptions(model=model, images=[album], output=album / "seen"))
        assert [r.labels for r in results] == [album / "seen/a-labels.png", album / "seen/sea/a-labels.png"]
    assert all(r.overlay.is_file() and r.confidence and r.confidence.is_file() for r in results)
    photograph(20, 16, 3).save(album / "a.jpg")
    with pytest.raises(UsageError, match=r"a\.jpg and .*a\.png would both be called a"):
        predict(PredictOptions(model=model, images=[album], output=tmp_path / "other"))
    with pytest.raises(UsageError, match="no image"):
        predict(PredictOptions(model=model, images=[tmp_path / "album" / "seen"], output=album / "seen"))


def test_an_interrupted_run_continues(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    album = tmp_path / "album"
    album.mkdir()
    for index in range(4):
        photograph(20, 16, index).save(album / f"{index}.png")
    whole = predict(PredictOptions(model=model, images=[album], output=tmp_path / "whole"))
    interrupted(model, album, tmp_path / "seen")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "seen").glob("[01]-*.*")}
    assert len(before) == 6
    results = predict(PredictOptions(model=model, images=[album], output=tmp_path / "seen"))
    assert [r.shares for r in results] == [r.shares for r in whole]
    assert {p: p.stat().st_mtime_ns for p in before} == before  # not done again
    assert contents(tmp_path / "seen") == contents(tmp_path / "whole")
    assert not list(tmp_path.rglob(".*.journal"))


def interrupted(model: Path, album: Path, output: Path) -> None:
    """A run that comes to its third of four images."""

    class Interrupting(SilentProgress):
        def track(self, items, *, total, label, done=0):  # type: ignore[no-untyped-def]
            for index, item in enumerate(items):
                if index == 2:
                    raise KeyboardInterrupt
                yield item

    with pytest.raises(KeyboardInterrupt):
        predict(PredictOptions(model=model, images=[album], output=output), progress=Interrupting())


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


DAMAGE = {
    "a picture of a finished image is deleted": lambda album, seen: (seen / "0-labels.png").unlink(),
    "its confidence is deleted": lambda album, seen: (seen / "0-confidence.png").unlink(),
    "a picture is changed": lambda album, seen: (seen / "1-labels.png").write_bytes(b"junk"),
    "an image is replaced by one of the same size": lambda album, seen: replace_with_as_many_bytes(album / "0.png"),
}


def replace_with_as_many_bytes(path: Path) -> None:
    before = path.stat().st_size
    photograph(20, 16, 9).save(path)
    path.write_bytes(path.read_bytes().ljust(before, b"\0"))
    assert path.stat().st_size == before


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_resumed_run_trusts_nothing_that_has_changed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "interval_s", 0.0)
    album = tmp_path / "album"
    album.mkdir()
    Image.effect_noise((20, 16), 90).convert("RGB").save(album / "0.png")  # large, so that another can be as long
    for index in range(1, 4):
        photograph(20, 16, index).save(album / f"{index}.png")
    interrupted(model, album, tmp_path / "seen")
    DAMAGE[damage](album, tmp_path / "seen")
    results = predict(PredictOptions(model=model, images=[album], output=tmp_path / "seen"))
    whole = predict(PredictOptions(model=model, images=[album], output=tmp_path / "whole"))
    assert [r.shares for r in results] == [r.shares for r in whole]
    assert contents(tmp_path / "seen") == contents(tmp_path / "whole")


def test_the_legend_names_what_is_there(model: Path) -> None:
    picture = photograph(200, 150, 1)
    assert draw_legend(picture, [0], VOC) is picture
    drawn = draw_legend(picture, [0, 3, 15], VOC)
    colours = {tuple(pixel) for pixel in np.asarray(drawn).reshape(-1, 3).tolist()}
    assert {tuple(voc_palette()[label].tolist()) for label in (3, 15)} <= colours
    assert tuple(voc_palette()[7].tolist()) not in colours
    assert (np.asarray(drawn)[-20:] == np.asarray(picture)[-20:]).all()
    assert draw_legend(photograph(12, 9, 0), [3], VOC).size == (12, 9)


def test_labels_have_no_confidence(tmp_path: Path) -> None:
    model = save(coarse_classifier(labels=True), tmp_path / "labels.onnx")
    photograph(20, 16, 1).save(tmp_path / "a.png")
    (result,) = predict(PredictOptions(model=model, images=[tmp_path / "a.png"], output=tmp_path / "seen"))
    assert result.confidence is None
    assert sorted(p.name for p in (tmp_path / "seen").iterdir()) == ["a-labels.png", "a-overlay.jpg"]


def test_a_photograph_is_shown_at_its_own_size_whatever_it_is_padded_to_elsewhere(tmp_path: Path) -> None:
    proto = coarse_classifier(0)
    padded = Preprocessing(Resize(long_side=32), pad=(32, 32))
    ModelCard(preprocessing=padded.to_json()).write_to(proto)
    photo = tmp_path / "photo.png"
    photograph(60, 40, 1).save(photo)
    model = save(proto, tmp_path / "m.onnx")
    (seen,) = predict(PredictOptions(model=model, images=(photo,), output=tmp_path / "out"))
    with Image.open(seen.labels) as labels:
        assert labels.size == (60, 40)
