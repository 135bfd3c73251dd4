"""A bundle labels as `predict` does, whatever kind of model it is of, and needs nothing else."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from toys import coarse_classifier, foreign, photograph, pixel_classifier, residual_network, save, with_failing_head

from fcn_onnx.cli import main
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.errors import BundleError, OutputError
from fcn_onnx.jobs.artifact import digest_bytes
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.tiling import Grid, Tiling
from fcn_onnx.runtime import bundled
from fcn_onnx.stages import bundle as bundling
from fcn_onnx.stages.bundle import bundle
from fcn_onnx.stages.bundle_options import BundleOptions
from fcn_onnx.stages.bundle_trial import tried
from fcn_onnx.stages.options import PredictOptions
from fcn_onnx.stages.predict import predict

SCRIPT = Path(*bundled.__path__) / "segment.py"


def loaded(folder: Path) -> ModuleType:
    """segment.py of a bundle, in this process."""
    spec = importlib.util.spec_from_file_location("segment", folder / "segment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("opencv", None)
    return module


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial in this process, where it takes no second."""

    def try_here(folder: Path, labels: str) -> None:
        with Image.open(folder / "test.png") as image:
            assert digest_bytes(loaded(folder).segment(image).tobytes()) == labels

    monkeypatch.setattr(bundling, "tried", try_here)


def carded(proto: onnx.ModelProto, **said: Any) -> onnx.ModelProto:
    ModelCard(preprocessing=Preprocessing(**said).to_json(), classes=tuple(map(str, range(21)))).write_to(proto)
    return proto


def taking(kind: int, shape: list[Any], *nodes: onnx.NodeProto, classes: int = 21) -> onnx.ModelProto:
    """`pixel_classifier` behind nodes from `image` to `input`."""
    proto = pixel_classifier(classes=classes)
    for index, node in enumerate(nodes):
        proto.graph.node.insert(index, node)
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", kind, shape))
    return proto


def ending(proto: onnx.ModelProto, kind: str, **attributes: Any) -> onnx.ModelProto:
    """With one more node, whose result is the output."""
    proto.graph.node.append(helper.make_node(kind, ["out"], ["last"], **attributes))
    del proto.graph.output[:]
    proto.graph.output.append(onnx.ValueInfoProto(name="last"))
    return onnx.shape_inference.infer_shapes(proto)


def in_half() -> onnx.ModelProto:
    proto = pixel_classifier()
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return proto


CAST = helper.make_node("Cast", ["image"], ["input"], to=TensorProto.FLOAT)
GREY = helper.make_node("Concat", ["image"] * 3, ["input"], axis=1)
TWO = {"interface": Interface(classes=("nothing", "something"))}
SMALL_TILES = {"tiling": Tiling(tile=(96, 64), overlap=32)}
ONE_SIZE = {"size": (24, 32)}
KINDS: dict[str, tuple[Callable[[], onnx.ModelProto], dict[str, Any]]] = {
    "any size": (residual_network, SMALL_TILES),
    "a card of BGR, padded by its protocol": (
        lambda: carded(pixel_classifier(), mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1), channels="BGR", pad=(512, 512)),
        {},
    ),
    "multiples of 16, a quarter of the size": (lambda: carded(coarse_classifier(), multiple_of=16), SMALL_TILES),
    "labels": (lambda: coarse_classifier(labels=True), SMALL_TILES),
    "labels of one size, resized by OpenCV": (
        lambda: carded(coarse_classifier(labels=True, **ONE_SIZE), resample="opencv-linear"),
        {},
    ),
    "one size": (lambda: coarse_classifier(**ONE_SIZE), {}),
    "one size, in tiles": (lambda: coarse_classifier(**ONE_SIZE), {"tiling": Tiling(tile=(24, 32), overlap=7)}),
    "one size, OpenCV's area": (lambda: carded(coarse_classifier(**ONE_SIZE), resample="opencv-area"), {}),
    "one size, floats resized": (
        lambda: carded(
            coarse_classifier(**ONE_SIZE), resample="opencv-area-where-smaller", resizes_floats=True, channels="BGR"
        ),
        {},
    ),
    "channels last": (foreign, {}),
    "channels last, labels, in tiles": (lambda: foreign(labels=True), {"tiling": Tiling(tile=(20, 24))}),
    "uint8": (lambda: taking(TensorProto.UINT8, ["n", 3, "h", "w"], CAST), {}),
    "int64, four at a time, multiples of 7": (
        lambda: taking(TensorProto.INT64, [4, 3, "h", "w"], CAST),
        {"interface": Interface(multiple_of=7)},
    ),
    "grey": (lambda: taking(TensorProto.FLOAT, ["n", 1, "h", "w"], GREY), SMALL_TILES),
    "float16": (in_half, {}),
    "one channel of logits": (lambda: pixel_classifier(classes=1), TWO),
    "one channel of probabilities": (lambda: ending(pixel_classifier(classes=1), "Sigmoid"), TWO),
    "probabilities": (lambda: ending(pixel_classifier(), "Softmax", axis=1), {}),
    "another head, that fails": (lambda: with_failing_head(pixel_classifier()), {}),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_labels_as_predict_does(tmp_path: Path, kind: str) -> None:
    make, said = KINDS[kind]
    model = save(make(), tmp_path / "m.onnx")
    photo = tmp_path / "photo.jpg"
    photograph(101, 67, 3).save(photo)
    made = bundle(BundleOptions(model=model, output=tmp_path / "b", image=photo, **said))
    (seen,) = predict(PredictOptions(model=model, images=(photo,), output=tmp_path / "seen", **said))
    with Image.open(seen.labels) as labels, Image.open(photo) as picture:
        assert len(np.unique(np.asarray(labels))) > 1
        assert (loaded(made.folder).segment(picture) == np.asarray(labels)).all()
        assert made.labels == digest_bytes(np.asarray(labels).tobytes())
    assert ("opencv.py" in made.files) == ("OpenCV" in kind or "floats" in kind)


def test_a_folder_that_needs_three_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(residual_network(), tmp_path / "m.onnx")
    done = CliRunner().invoke(main, ["bundle", "m.onnx", "--json", "made.json"])
    assert done.exit_code == 0, done.output
    made = json.loads(Path("made.json").read_text())
    files = ["Dockerfile", "README.md", "bundle.json", "check.py", "model.onnx", "requirements.txt", "segment.py"]
    assert made["files"] == [*files, "test-labels.png", "test.png"]
    assert [line.split("==")[0] for line in Path("bundle/requirements.txt").read_text().split()] == [
        *("onnxruntime", "numpy", "pillow")
    ]
    assert len(Path("bundle/segment.py").read_text().splitlines()) <= 60
    with Image.open("bundle/test.png") as image:
        assert image.width > 1024  # it takes more than one tile
    words = [sys.executable, "bundle/segment.py", "bundle/test.png", "labels.png"]
    subprocess.run(words, check=True)
    with Image.open("labels.png") as found, Image.open("bundle/test-labels.png") as expected:
        assert (np.asarray(found) == np.asarray(expected)).all()
        assert found.getpalette()[:63] == expected.getpalette()[:63]  # type: ignore[index]
    again = CliRunner().invoke(main, ["bundle", "m.onnx"])
    assert again.exit_code == 0
    assert CliRunner().invoke(main, ["bundle", "bundle/model.onnx"]).exit_code == 2  # it would go over itself


def test_what_a_bundle_has_no_need_of_it_cannot_import(tmp_path: Path) -> None:
    script = (
        "import numpy, onnxruntime, PIL.Image\ntry:\n    import onnx\nexcept ImportError as error:\n    print(error)\n"
    )
    (tmp_path / "check.py").write_text(script)
    with pytest.raises(BundleError, match="onnx is in none of the packages that a bundle needs"):
        tried(tmp_path, "sha256:0")


def test_a_bundle_that_labels_otherwise_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = bundling._config
    monkeypatch.setattr(bundling, "_config", lambda *given: config(*given) | {"channels": [2, 1, 0]})
    model = save(pixel_classifier(), tmp_path / "m.onnx")
    photograph(60, 40, 1).save(tmp_path / "photo.png")
    with pytest.raises(BundleError, match=r"does not label as predict does: test\.png: .* % as expected"):
        bundle(BundleOptions(model=model, output=tmp_path / "b", image=tmp_path / "photo.png"))
    assert not (tmp_path / "b").exists() or not list((tmp_path / "b").iterdir())


@pytest.mark.usefixtures("here")
def test_a_model_in_two_files(tmp_path: Path) -> None:
    proto = pixel_classifier()
    (tmp_path / "m" / "weights").mkdir(parents=True)
    path, photo = tmp_path / "m" / "m.onnx", tmp_path / "photo.png"
    photograph(30, 20, 1).save(photo)
    for name, refused in {"weights/w.bin": False, "bundle.json": True}.items():
        onnx.save(proto, path, save_as_external_data=True, location=name, size_threshold=0)
        options = BundleOptions(model=path, output=tmp_path / "b", image=photo)
        if refused:
            with pytest.raises(OutputError, match=r"keeps weights in bundle\.json"):
                bundle(options)
        else:
            assert name in bundle(options).files
        proto = onnx.load(path)


@pytest.mark.usefixtures("here")
def test_the_test_image_is_upright_and_holds_nothing_of_its_camera(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    photograph(40, 30, 1).save(tmp_path / "a.jpg", exif=exif)
    model = save(pixel_classifier(), tmp_path / "m.onnx")
    bundle(BundleOptions(model=model, output=tmp_path / "b", image=tmp_path / "a.jpg"))
    with Image.open(tmp_path / "b" / "test.png") as image:
        assert image.size == (30, 40)
        assert not image.getexif()


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("bundle")
    save(pixel_classifier(), folder / "model.onnx")
    (folder / "bundle.json").write_text(json.dumps({"model": "model.onnx", "opencv": False}))
    (folder / "segment.py").write_text(SCRIPT.read_text())
    return loaded(folder)


@given(
    side=st.integers(1, 3000),
    tile=st.integers(40, 1100),
    overlap=st.integers(0, 1000),
    unit=st.sampled_from([1, 32]),
    fixed=st.booleans(),
)
def test_tiles_of_the_script_are_those_of_predict(
    script: ModuleType, side: int, tile: int, overlap: int, unit: int, fixed: bool
) -> None:
    if tile - overlap < unit:
        return
    grid = Grid((tile, tile), overlap, unit, fixed=fixed)
    script.HOW |= {"tile": [tile, tile], "step": [grid.step(tile)] * 2, "fixed": fixed}
    expected = [
        (s.start, s.stop, slice(s.first, s.last), slice(s.first - s.start, s.last - s.start))
        for s in grid.spans(side, tile)
    ]
    assert script.spans(side, 0) == expected


def test_a_size_that_is_no_tiles_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    save(coarse_classifier(size=(24, 32)), tmp_path / "m.onnx")
    words = ["bundle", str(tmp_path / "m.onnx"), "--tile", "64x64", "--output", str(tmp_path / "b")]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 2
    assert "takes images of 24x32 alone" in refused.stderr
    assert not list((tmp_path / "b").glob("*"))
