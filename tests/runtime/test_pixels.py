"""Inputs of pixels, 0 … 255, and of one channel: taken as they are, through the whole chain.

A model that normalises inside is `residual_network` with the normalisation before it, in the same float32 steps, so its
labels are those of `residual_network` to the last pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from toys import compare, photograph, residual_network, save, write_coco

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, Resize
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.evaluation.fidelity import compare_layers
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.networks.testdata import write_test_data
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.runtime.settling import settle
from fcn_onnx.stages.benchmark import benchmark
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import BenchmarkOptions, CalibrateOptions, PredictOptions, QuantizeOptions
from fcn_onnx.stages.predict import predict
from fcn_onnx.stages.quantize import quantize


class Notes(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def with_input(nodes: Sequence[onnx.NodeProto], shape: Sequence[Any], kind: int, **constants: Any) -> onnx.ModelProto:
    """`residual_network`, whose `input` these nodes make of `image`."""
    model = residual_network(0)
    inner = list(model.graph.node)
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend([*nodes, *inner])
    model.graph.input.append(helper.make_tensor_value_info("image", kind, shape))
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    onnx.checker.check_model(model, full_check=True)
    return model


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name=f"/{output}", **attributes)


def of_pixels(kind: int = TensorProto.UINT8, *, channels_last: bool = False) -> onnx.ModelProto:
    """Cast, divide by 255, subtract the mean, divide by std: then the network."""
    first = [node("Transpose", ["image"], "ordered", perm=[0, 3, 1, 2])] if channels_last else []
    source = "ordered" if channels_last else "image"
    return with_input(
        [
            *first,
            node("Cast", [source], "floats", to=TensorProto.FLOAT),
            node("Div", ["floats", "most"], "scaled"),
            node("Sub", ["scaled", "mean"], "centred"),
            node("Div", ["centred", "std"], "input"),
        ],
        ["n", "h", "w", 3] if channels_last else ["n", 3, "h", "w"],
        kind,
        most=np.float32(255),
        mean=np.float32(IMAGENET_MEAN).reshape(1, 3, 1, 1),
        std=np.float32(IMAGENET_STD).reshape(1, 3, 1, 1),
    )


def grey(kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """One channel, copied to three; of pixels, normalised as a grey float32 model is for it."""
    nodes = [node("Concat", ["image"] * 3, "input", axis=1)]
    if kind != TensorProto.FLOAT:
        nodes = [
            node("Cast", ["image"], "floats", to=TensorProto.FLOAT),
            node("Div", ["floats", "most"], "scaled"),
            node("Sub", ["scaled", "mean"], "centred"),
            node("Div", ["centred", "std"], "one"),
            node("Concat", ["one"] * 3, "input", axis=1),
        ]
    constants = {"most": np.float32(255), "mean": np.float32(0.449), "std": np.float32(0.226)}
    return with_input(nodes, ["n", 1, "h", "w"], kind, **(constants if kind != TensorProto.FLOAT else {}))


def chain(folder: Path, model: onnx.ModelProto) -> tuple[Path, Path, Any]:
    """calibrate, quantize from the table, validate, predict, benchmark, inspect: the files, and the validation."""
    images = write_coco(folder / "coco")
    fp32, table, int8 = save(model, folder / "m.onnx"), folder / "table.json", folder / "m-int8.onnx"
    calibrate(CalibrateOptions(model=fp32, choice=ImageChoice(images, limit=2), output=table))
    quantize(QuantizeOptions(model=fp32, ranges=table, output=int8))
    dataset = open_dataset(images)
    result = compare(fp32, int8, dataset, protocol="voc-native", include_calibration_images=True)
    predict(PredictOptions(model=int8, images=[images / "000000000001.jpg"], output=folder / "out"))
    benchmark(BenchmarkOptions(models=(fp32, int8), size=((32, 40),), runs=1))
    assert compare_layers(fp32, int8, dataset.samples[:1]).sqnr_db
    return fp32, int8, result


MODELS = {
    "uint8": of_pixels(),
    "uint8, channels last": of_pixels(channels_last=True),
    "int64": of_pixels(TensorProto.INT64),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_of_pixels_labels_as_the_one_inside_it(tmp_path: Path, name: str) -> None:
    _, int8, result = chain(tmp_path, MODELS[name])
    plain = save(residual_network(0), tmp_path / "plain.onnx")
    images = open_dataset(tmp_path / "coco/val2017")
    expected = compare(plain, plain, images, protocol="voc-native").fp32.counts
    assert np.array_equal(result.fp32.counts, expected)
    assert result.only.difference.label_agreement > 0.8
    card = Model.open(int8).card.preprocessing
    assert card is not None
    assert (card["scale"], card["mean"], card["std"]) == ("1", [0, 0, 0], [1, 1, 1])
    own = Segmenter(int8).preprocessing
    assert Preprocessing.from_json(own.to_json()) == own
    ranges = RangeTable.load(tmp_path / "table.json").ranges
    assert "image" not in ranges  # pixels are not quantized, what is made of them is
    assert "input" in ranges


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
def test_grey_is_pillows(tmp_path: Path, kind: int) -> None:
    fp32, _, result = chain(tmp_path, grey(kind))
    assert result.only.difference.label_agreement > 0.8
    pixels = np.asarray(Image.open(tmp_path / "coco/val2017/000000000003.jpg").convert("L"))
    values = (pixels.astype(np.float32) / np.float32(255) - np.float32(0.449)) / np.float32(0.226)
    own = ort.InferenceSession(str(save(residual_network(0), tmp_path / "plain.onnx")))
    expected = own.run(None, {"input": np.stack([values] * 3)[None]})[0][0].argmax(0)
    segmenter = Segmenter(fp32)
    image = Image.open(tmp_path / "coco/val2017/000000000003.jpg").convert("RGB")
    shown = Preprocessing(Resize(), segmenter.preprocessing.mean, segmenter.preprocessing.std, "grey")
    shown = shown if kind == TensorProto.FLOAT else shown.of_pixels()
    assert shown(image).shape == (1, 1, 50, 50)
    assert np.array_equal(segmenter.labels(segmenter.run(shown(image)), "it"), expected)


def test_it_is_said(tmp_path: Path) -> None:
    model = save(grey(TensorProto.UINT8), tmp_path / "m.onnx")
    notes = Notes()
    settle([Model.open(model)], Interface(), notes)
    assert f"{model} takes pixels 0 … 255 as they are: nothing is normalised before it" in notes.said
    assert f"{model} takes one channel: photographs are made grey, 0.299 R + 0.587 G + 0.114 B" in notes.said
    assert not [note for note in notes.said if "is assumed" in note or "WARNING" in note]


def test_padding_is_of_the_mean_colour(tmp_path: Path) -> None:
    path = save(of_pixels(), tmp_path / "m.onnx")
    fed = Network(path, multiple_of=8).form.fed(np.full((1, 3, 5, 7), 200, np.float32))
    assert fed.dtype == np.uint8
    assert fed.shape == (1, 3, 8, 8)
    assert (fed[..., :5, :7] == 200).all()
    assert (fed[..., 5:, :] == 114).all()
    assert (fed[..., 7:] == 114).all()


def test_what_is_resized_in_floats_is_rounded(tmp_path: Path) -> None:
    form = Network(save(of_pixels(), tmp_path / "m.onnx")).form
    batch = np.float32([[[[-3.0, 0.4, 0.6, 254.7, 255.4, 300.0]]] * 3]).reshape(1, 3, 1, 6)
    assert form.fed(batch)[0, 0, 0].tolist() == [0, 0, 1, 255, 255, 255]


def test_test_data_is_of_the_models_type(tmp_path: Path) -> None:
    write_test_data(save(of_pixels(), tmp_path / "m.onnx"))
    tensor = onnx.load_tensor(str(tmp_path / "m/test_data_set_0/input_0.pb"))
    assert numpy_helper.to_array(tensor).dtype == np.uint8


def test_opencvs_filters_take_grey() -> None:
    image = photograph(40, 30, 1)
    shown = Preprocessing(Resize(size=(17, 19)), (0.5,) * 3, (0.5,) * 3, "grey", resample="opencv-linear")
    assert shown(image).shape == (1, 1, 17, 19)


@pytest.mark.parametrize(
    ("model", "interface", "contradicted"),
    [
        (of_pixels(), Interface(mean=(0.5, 0.5, 0.5)), "normalises them itself, which contradicts --mean"),
        (of_pixels(), Interface(std=(0.5, 0.5, 0.5)), "normalises them itself, which contradicts --std"),
        (grey(), Interface(channels="BGR"), "has one channel, which contradicts --channels"),
    ],
)
def test_options_that_the_input_has_no_room_for(
    tmp_path: Path, model: onnx.ModelProto, interface: Interface, contradicted: str
) -> None:
    path = save(model, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=contradicted):
        settle([Model.open(path)], interface, Notes())


def test_three_means_are_not_of_one_channel(tmp_path: Path) -> None:
    path = save(grey(), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="takes one channel, and is normalised with") as caught:
        settle([Model.open(path)], Interface(mean=(0.4, 0.5, 0.6)), Notes())
    assert "--mean 0.5,0.5,0.5" in caught.value.fix


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.DOUBLE, TensorProto.BOOL])
def test_types_that_hold_no_image_are_refused(tmp_path: Path, kind: int) -> None:
    nodes = [node("Cast", ["image"], "input", to=TensorProto.FLOAT)]
    path = save(with_input(nodes, ["n", 3, "h", "w"], kind), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="takes image ") as caught:
        Network(path)
    assert "pixels 0 … 255" in caught.value.fix


def test_models_of_other_inputs_are_not_compared(tmp_path: Path) -> None:
    images = open_dataset(write_coco(tmp_path / "coco"))
    pixels, floats = save(of_pixels(), tmp_path / "a.onnx"), save(residual_network(0), tmp_path / "b.onnx")
    one = save(grey(), tmp_path / "c.onnx")
    with pytest.raises(ModelError, match=r"takes uint8 pixels in three channels and .* takes normalised images"):
        compare(pixels, floats, images)
    with pytest.raises(ModelError, match="one channel"):
        compare(floats, one, images)


def test_a_protocol_that_pads_normalised_images_refuses_pixels(tmp_path: Path) -> None:
    model = save(of_pixels(), tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="pads normalised images with 0, and the models take pixels"):
        compare(model, model, open_dataset(write_coco(tmp_path / "coco")), protocol="mindspore")
