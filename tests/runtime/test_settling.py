"""What nobody said of a model is tried or assumed, and the user reads which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from test_forms import classifier, encoder_decoder, ending, op, prepared, raw
from toys import compare, save, write_coco

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import ModelError
from fcn_onnx.evaluation.fidelity import compare_layers
from fcn_onnx.jobs.progress import SilentProgress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import load_model
from fcn_onnx.model.form import own_normalisation
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.runtime.settling import find_multiple, settle
from fcn_onnx.stages.benchmark import benchmark
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import BenchmarkOptions, CalibrateOptions, PredictOptions, QuantizeOptions
from fcn_onnx.stages.predict import predict, predict_frames
from fcn_onnx.stages.quantize import quantize

HALF = Interface(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Said(SilentProgress):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def about(self, words: str) -> list[str]:
        return [note for note in self.notes if words in note]


@pytest.mark.parametrize("depth", [0, 1, 3, 5])
def test_the_multiple_is_found_and_said(tmp_path: Path, depth: int) -> None:
    model = save(encoder_decoder(depth=depth), tmp_path / "m.onnx")
    assert find_multiple(Network(model)) == 2**depth
    said = Said()
    settled = settle([Model.open(model)], Interface(), said)
    assert settled.multiple_of == (2**depth if depth else None)
    assert len(said.about(f"multiples of {2**depth}:")) == bool(depth)
    assert settle([Model.open(model)], Interface(multiple_of=96), said).multiple_of == 96


def test_every_step_runs_without_being_told_the_multiple(tmp_path: Path) -> None:
    images = write_coco(tmp_path / "coco")
    fp32, int8 = save(encoder_decoder(), tmp_path / "m.onnx"), tmp_path / "m-int8.onnx"
    said = Said()
    quantize(QuantizeOptions(model=fp32, choice=ImageChoice(images, limit=2), output=int8), progress=said)
    assert len(said.about("multiples of 8")) == 1
    assert (ModelCard.read_from(load_model(int8), "").preprocessing or {})["multiple_of"] == 8
    silent = Said()
    result = compare(fp32, int8, open_dataset(images), protocol="voc-native", progress=silent)
    assert result.report["preprocessing"]["multiple_of"] == 8
    assert not silent.about("multiples")  # the int8 file's card says so
    assert compare_layers(fp32, int8, open_dataset(images).samples[:2]).label_agreement > 0.8


def test_a_network_that_runs_on_nothing_tried_is_left_to_the_user(tmp_path: Path) -> None:
    said = Said()
    assert settle([Model.open(save(encoder_decoder(depth=8), tmp_path / "m.onnx"))], HALF, said).multiple_of is None
    assert "--multiple-of" in said.about("runs on no size that was tried")[0]


def test_assumed_normalisation_is_said_by_every_command_that_shows_images(tmp_path: Path) -> None:
    images = write_coco(tmp_path / "coco")
    fp32, int8 = save(classifier(), tmp_path / "m.onnx"), save(classifier(), tmp_path / "n.onnx")
    choice, photo = ImageChoice(images, limit=2), images / "000000000001.jpg"
    samples = open_dataset(images).samples[:1]
    for run in (
        lambda hint, said: calibrate(
            CalibrateOptions(model=fp32, choice=choice, output=tmp_path / "t.json", interface=hint), progress=said
        ),
        lambda hint, said: quantize(
            QuantizeOptions(model=fp32, choice=choice, output=tmp_path / "q.onnx", interface=hint), progress=said
        ),
        lambda hint, said: compare(fp32, int8, open_dataset(images), interface=hint, progress=said),
        lambda hint, said: predict(
            PredictOptions(model=fp32, images=[photo], output=tmp_path / "out", interface=hint), progress=said
        ),
        lambda hint, said: list(
            predict_frames(PredictOptions(model=fp32, images=(), interface=hint), [], progress=said)
        ),
    ):
        said, told = Said(), Said()
        run(Interface(), said)
        (note,) = said.about("does not say how its input is normalised")
        assert "mean 0.485,0.456,0.406 and std 0.229,0.224,0.225" in note
        run(HALF, told)
        assert not told.about("normalised")
    said = Said()
    compare_layers(fp32, tmp_path / "q.onnx", samples, progress=said)
    assert not said.about("normalised")  # what was quantized keeps it


def test_a_card_that_says_it_says_it_for_both(tmp_path: Path) -> None:
    """A foreign fp32 model is shown what its int8 file was calibrated with, layer by layer too."""
    images = write_coco(tmp_path / "coco")
    fp32, int8 = save(classifier(), tmp_path / "m.onnx"), tmp_path / "q.onnx"
    quantize(QuantizeOptions(model=fp32, choice=ImageChoice(images, limit=2), output=int8, interface=HALF))
    samples = open_dataset(images).samples[:2]
    assert compare_layers(fp32, int8, samples).flipped == compare_layers(fp32, int8, samples, interface=HALF).flipped
    settled = settle([Model.open(fp32), Model.open(int8)], Interface(), Said())
    assert Segmenter(fp32, interface=settled).preprocessing.mean == (0.5, 0.5, 0.5)


def starting(*nodes: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    """The classifier behind other nodes, the last of which makes `start`."""
    model = classifier()
    model.graph.node[0].input[0] = "start"
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items())
    return model


THREE = np.array([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)
STARTS = {
    "Sub": (starting(op("Sub", "image", "m", "start"), m=THREE), True),
    "Div": (starting(op("Div", "image", "m", "start"), m=np.array(255.0)), True),
    "Mul": (starting(op("Identity", "image", "i"), op("Mul", "m", "i", "start"), m=THREE), True),
    "BatchNormalization": (
        starting(op("BatchNormalization", "image", "a", "a", "a", "a", "start"), a=np.ones(3)),
        True,
    ),
    "Conv": (classifier(), False),
    "a plane a pixel": (starting(op("Add", "image", "m", "start"), m=np.ones((1, 3, 4, 4))), False),
    "itself": (starting(op("Mul", "image", "image", "start")), False),
}


@pytest.mark.parametrize("start", list(STARTS))
def test_a_graph_that_normalises_itself_is_warned_of(tmp_path: Path, start: str) -> None:
    model, normalises = STARTS[start]
    found = own_normalisation(model)
    assert (found is not None) == normalises
    said = Said()
    path = save(model, tmp_path / "m.onnx")
    if start == "a plane a pixel":
        return
    settle([Model.open(path)], Interface(), said)
    assert len(said.about("WARNING")) == normalises
    if normalises:
        assert f"({start} /start)" in said.about("done twice")[0]
    told = Said()
    settle([Model.open(path)], Interface(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), told)
    assert not told.about("WARNING")


def test_constants_in_nodes_count(tmp_path: Path) -> None:
    model = classifier()
    model.graph.node[0].input[0] = "start"
    constant = helper.make_node("Constant", [], ["m"], value=numpy_helper.from_array(THREE.astype(np.float32)))
    model.graph.node.insert(0, op("Sub", "image", "m", "start"))
    model.graph.node.insert(0, constant)
    assert own_normalisation(model) == "Sub /start"


def test_a_batch_of_one_size_and_unnamed_classes_are_said(tmp_path: Path) -> None:
    said = Said()
    settle([Model.open(save(classifier(image=(4, 3, "h", "w"), classes=5), tmp_path / "m.onnx"))], HALF, said)
    assert said.about("takes 4 images at a time")
    assert said.about("5 are called class 0, class 1, …, class 4")
    told = Said()
    settle([Model.open(save(classifier(), tmp_path / "m.onnx"))], HALF, told)
    assert told.about("21 are called background, aeroplane, …, tvmonitor")


def test_the_number_of_classes_is_tried_where_it_is_not_declared(tmp_path: Path) -> None:
    """Five of seven channels are cut out, up to five times the height over itself: only running it tells."""
    model = classifier(classes=7)
    integers = {"two": 2, "zero": 0, "five": 5, "one": 1}
    model.graph.initializer.extend(numpy_helper.from_array(np.array([v], np.int64), k) for k, v in integers.items())
    model = ending(
        model,
        op("Shape", "image", "shape"),
        op("Gather", "shape", "two", "height"),
        op("Div", "height", "height", "unit"),
        op("Mul", "unit", "five", "end"),
        op("Slice", "out", "zero", "end", "one", "cut"),
    )
    names = Interface(classes=("background", "person", "car"))
    with pytest.raises(ModelError, match=r"has shape \(1, 5, 128, 128\)"):
        settle([Model.open(save(model, tmp_path / "m.onnx"))], names, Said())


def test_a_card_leaves_nothing_to_say(tmp_path: Path) -> None:
    model = classifier()
    ModelCard(preprocessing=Preprocessing().to_json(), classes=("x", *map(str, range(20)))).write_to(model)
    said = Said()
    assert settle([Model.open(save(model, tmp_path / "m.onnx"))], Interface(), said) == Interface()
    assert said.notes == []


def test_benchmark_pads_too(tmp_path: Path) -> None:
    model = save(encoder_decoder(), tmp_path / "m.onnx")
    said = Said()
    result = benchmark(BenchmarkOptions(models=[model], size=[(50, 65)], runs=2), progress=said)
    assert result.rows[0].size == (50, 65)
    assert said.about("50×65 is run as 56×72")


def test_the_output_that_was_named_is_remembered(tmp_path: Path) -> None:
    """`quantize --output-name` is enough: the int8 file speaks for both models."""
    images = write_coco(tmp_path / "coco")
    model = classifier()
    model.graph.node.append(op("Neg", "out", "minus"))
    model.graph.node.append(op("Identity", "out", "plain"))
    del model.graph.output[:]
    kind = onnx.TensorProto.FLOAT
    for name in ("minus", "plain"):
        model.graph.output.append(helper.make_tensor_value_info(name, kind, ["n", 21, "h", "w"]))
    fp32, int8 = save(model, tmp_path / "m.onnx"), tmp_path / "q.onnx"
    quantize(
        QuantizeOptions(
            model=fp32, choice=ImageChoice(images, limit=2), output=int8, interface=Interface(output_name="minus")
        )
    )
    assert Segmenter(int8).output == "minus"
    compare(fp32, int8, open_dataset(images), protocol="voc-native")
    photo = prepared(images / "000000000001.jpg")
    plain = raw(save(classifier(), tmp_path / "plain.onnx"), photo)
    models = Model.open(fp32), Model.open(int8)
    assert np.array_equal(Segmenter(fp32, interface=settle(models, Interface(), Said())).run(photo), -plain)
