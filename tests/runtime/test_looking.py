"""Tiles: the same labels as at once where the receptive field is no larger than the overlap, and bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image
from toys import coarse_classifier, foreign, photograph, pixel_classifier, residual_network, save

from fcn_onnx.data.labels import VOC
from fcn_onnx.data.palette import overlay, palette_of
from fcn_onnx.errors import UsageError
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.tiling import Tiling
from fcn_onnx.runtime.looking import Eye
from fcn_onnx.runtime.memory import Room
from fcn_onnx.runtime.segmenter import Segmenter


def eye(path: Path, tiling: Tiling, **said: object) -> Eye:
    return Eye(Segmenter(path, interface=Interface(**said)), Room(path), tiling)  # type: ignore[arg-type]


def busy(width: int, height: int) -> Image.Image:
    """Of noise, so that labels change from pixel to pixel."""
    rng = np.random.default_rng(width)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BILINEAR)


def test_labels_are_those_of_the_whole_where_the_receptive_field_fits_into_the_overlap(tmp_path: Path) -> None:
    """The network sees 23 pixels around each of its grid of 4, whose logits are interpolated: 31 in all."""
    path = save(residual_network(), tmp_path / "m.onnx")
    image = busy(404, 332)
    whole = eye(path, Tiling()).look(image, "a")
    tiled = eye(path, Tiling(tile=(160, 128), overlap=32)).look(image, "a")
    assert len(np.unique(whole.labels)) > 3
    assert (tiled.labels == whole.labels).all()
    assert whole.confidence is not None
    assert tiled.confidence is not None
    assert np.abs(tiled.confidence.astype(int) - whole.confidence).max() <= 1
    seams = eye(path, Tiling(tile=(160, 128), overlap=0)).look(image, "a")
    assert (seams.labels != whole.labels).any()


def test_a_network_of_one_size_sees_a_photograph_in_tiles_of_that_size(tmp_path: Path) -> None:
    """Each pixel is classified by itself, so the labels are those of a network of any size."""
    image, small = busy(101, 67), busy(19, 40)
    free = eye(save(pixel_classifier(), tmp_path / "free.onnx"), Tiling())
    path = save(foreign(size=(20, 24)), tmp_path / "one.onnx")
    fixed = eye(path, Tiling(tile=(20, 24), overlap=3))
    for picture in (image, small):
        assert (fixed.look(picture, "a").labels == free.look(picture, "a").labels).all()
    with pytest.raises(UsageError, match="takes images of 20x24 alone"):
        eye(path, Tiling(tile=(24, 20)))


def test_what_tiles_are_filled_up_with_is_cut_off_again(tmp_path: Path) -> None:
    path = save(coarse_classifier(size=(64, 64)), tmp_path / "m.onnx")
    image = busy(64, 40)
    seen = eye(path, Tiling(tile=(64, 64))).look(image, "a").labels
    free = eye(save(coarse_classifier(), tmp_path / "free.onnx"), Tiling()).look(image, "a").labels
    assert seen.shape == (40, 64)
    assert (seen[:36] == free[:36]).all()  # below, its 4×4 fields reach beyond the picture
    many = eye(save(coarse_classifier(), tmp_path / "f.onnx"), Tiling(tile=(64, 64)), multiple_of=16)
    assert (
        many.look(busy(200, 100), "a").labels == eye(tmp_path / "f.onnx", Tiling()).look(busy(200, 100), "a").labels
    ).all()


def test_tiles_of_a_model_that_takes_pixels(tmp_path: Path) -> None:
    proto = pixel_classifier()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    proto.graph.node.insert(0, onnx.helper.make_node("Cast", ["input"], ["floats"], to=TensorProto.FLOAT))
    proto.graph.node[1].input[0] = "floats"
    path = save(proto, tmp_path / "m.onnx")
    image = busy(150, 90)
    assert (
        eye(path, Tiling(tile=(64, 64))).look(image, "a").labels == eye(path, Tiling()).look(image, "a").labels
    ).all()


def test_an_overlay_is_blended_pixel_by_pixel() -> None:
    image = photograph(30, 700, 1)
    labels = np.random.default_rng(0).integers(0, 21, (700, 30)).astype(np.uint8)
    literal = np.asarray(image).astype(np.float64)
    shown = labels != 0
    literal[shown] = literal[shown] / 2 + palette_of(VOC)[labels][shown] / 2
    assert (np.asarray(overlay(image, labels, VOC)) == np.rint(literal)).all()


MEASURED = """
import json, re, sys
from pathlib import Path
from fcn_onnx.cli import main
main(sys.argv[1:], standalone_mode=False)
# not ru_maxrss, which begins with what the process that started this one had
print(json.dumps({"kib": int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])}))
"""


def test_memory_is_bounded_on_a_photograph_of_12_megapixels(tmp_path: Path) -> None:
    """At once it takes 1.4 GB, with four classes; the program alone 0.15, and the pictures that are written 0.1."""
    path = save(pixel_classifier(classes=4), tmp_path / "m.onnx")
    busy(4000, 3000).save(tmp_path / "large.jpg", quality=80)
    words = [
        "predict",
        path,
        tmp_path / "large.jpg",
        "--tile",
        "512x512",
        "--threads",
        "1",
        "--output",
        tmp_path / "seen",
    ]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, words)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1])["kib"] < 450 << 10
    with Image.open(tmp_path / "seen" / "large-labels.png") as labels:
        assert labels.size == (4000, 3000)
