"""Networks that take or return something unusual: each through the whole chain, against arithmetic done by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from toys import compare, photograph, pixel_classifier, save, write_coco

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.errors import ModelError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import load_model
from fcn_onnx.model.interface import Interface
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.segmenter import Segmenter
from fcn_onnx.stages.calibrate import calibrate
from fcn_onnx.stages.options import CalibrateOptions, PredictOptions, QuantizeOptions
from fcn_onnx.stages.predict import predict
from fcn_onnx.stages.quantize import quantize

BINARY = ("background", "category 1")
value_info = helper.make_tensor_value_info


def network(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    *,
    outputs: dict[str, list[int | str]],
    image: tuple[int | str, ...] = ("n", 3, "h", "w"),
    kind: int = TensorProto.FLOAT,
    opset: int = 13,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "toy",
        [value_info("image", kind, image)],
        [value_info(name, kind, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return model


def weights(seed: int, *shape: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return values.astype(np.float32)


def conv(source: str, name: str, weight: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, weight], [name], name=f"/{name}", **attributes)


def encoder_decoder(seed: int = 0, depth: int = 3, classes: int = 21) -> onnx.ModelProto:
    """Down `depth` times by strided convolutions, up by nearest neighbour, joined: sides are multiples of 2^depth."""
    nodes, constants = [], {"twice": np.array([1, 1, 2, 2], np.float32), "roi": np.array([], np.float32)}
    source, levels = "image", []
    for level in range(depth + 1):
        constants[f"w{level}"] = weights(seed + level, 8, 3 if level == 0 else 8, 3, 3)
        stride = 1 if level == 0 else 2
        nodes.append(conv(source, f"c{level}", f"w{level}", strides=[stride] * 2, pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{level}"], [f"r{level}"], name=f"/r{level}"))
        source = f"r{level}"
        levels.append(source)
    for level in reversed(range(depth)):
        nodes.append(helper.make_node("Resize", [source, "roi", "twice"], [f"u{level}"], name=f"/u{level}"))
        nodes.append(helper.make_node("Add", [f"u{level}", levels[level]], [f"a{level}"], name=f"/a{level}"))
        source = f"a{level}"
    constants["head"] = weights(seed + 99, classes, 8, 1, 1)
    nodes.append(conv(source, "out", "head"))
    return network(nodes, constants, outputs={"out": ["n", classes, "h", "w"]})


def classifier(seed: int = 0, *, classes: int = 21, **options: Any) -> onnx.ModelProto:
    """Two convolutions: 3×3 to eight channels, 1×1 to the classes."""
    constants = {"w": weights(seed, 8, 3, 3, 3), "head": weights(seed + 1, classes, 8, 1, 1)}
    nodes = [
        conv("image", "stem", "w", pads=[1] * 4),
        helper.make_node("Relu", ["stem"], ["relu"], name="/relu"),
        conv("relu", "out", "head"),
    ]
    batch, *_ = options.get("image", ("n",))
    return network(nodes, constants, outputs={"out": [batch, classes, "h", "w"]}, **options)


def ending(model: onnx.ModelProto, *nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """The network with more nodes behind `out`; the last one's result is its only output."""
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.append(value_info(nodes[-1].output[0], kind, None))
    return model


def op(kind: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    """A node whose last name is its output."""
    return helper.make_node(kind, list(names[:-1]), [names[-1]], name=f"/{names[-1]}", **attributes)


def raw(model: Path, batch: np.ndarray) -> np.ndarray:
    """What onnxruntime alone returns."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (value,) = session.run(None, {session.get_inputs()[0].name: batch})
    return np.asarray(value)


def chain(folder: Path, model: onnx.ModelProto, interface: Interface = Interface()) -> tuple[Path, Path, Any]:
    """calibrate, quantize from the table, validate, predict: the files, and the validation."""
    images = write_coco(folder / "coco")
    fp32, table, int8 = save(model, folder / "m.onnx"), folder / "table.json", folder / "m-int8.onnx"
    choice = ImageChoice(images, limit=2)
    calibrate(CalibrateOptions(model=fp32, choice=choice, interface=interface, output=table))
    quantize(QuantizeOptions(model=fp32, ranges=table, interface=interface, output=int8))
    dataset = open_dataset(images, classes=interface.classes) if interface.classes else open_dataset(images)
    result = compare(fp32, int8, dataset, protocol="voc-native", interface=interface)
    predict(
        PredictOptions(model=int8, images=[images / "000000000001.jpg"], interface=interface, output=folder / "out")
    )
    return fp32, int8, result


def prepared(path: Path, interface: Interface = Interface()) -> np.ndarray:
    mean, std = interface.mean or (0.485, 0.456, 0.406), interface.std or (0.229, 0.224, 0.225)
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return ((pixels - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)[None].astype(np.float32)


def test_sides_that_must_be_multiples(tmp_path: Path) -> None:
    """Padded with the mean colour to the right and below, and cropped; the int8 file says so itself."""
    hint = Interface(multiple_of=8)
    fp32, int8, result = chain(tmp_path, encoder_decoder(), hint)
    photo = tmp_path / "coco/val2017/000000000003.jpg"  # 50×50
    padded = np.zeros((1, 3, 56, 56), np.float32)
    padded[..., :50, :50] = prepared(photo)
    with pytest.raises(Exception, match=r"(?i)add|broadcast|dimension"):
        raw(fp32, prepared(photo))
    segmenter = Segmenter(fp32, interface=hint)
    found = segmenter.run(prepared(photo))
    assert found.shape == (1, 21, 50, 50)
    assert np.allclose(found, raw(fp32, padded)[..., :50, :50], atol=1e-4)
    card = ModelCard.read_from(load_model(int8), "int8")
    assert card.preprocessing is not None
    assert card.preprocessing["multiple_of"] == 8
    assert Segmenter(int8).run(prepared(photo)).shape == (1, 21, 50, 50)
    assert result.only.difference.label_agreement > 0.8
    assert np.asarray(Image.open(tmp_path / "out/000000000001-labels.png")).shape == (48, 64)


def test_a_coarse_output_is_cropped_at_the_same_share(tmp_path: Path) -> None:
    model = pixel_classifier(0)
    model.graph.node[0].attribute.append(helper.make_attribute("strides", [4, 4]))
    segmenter = Segmenter(save(model, tmp_path / "m.onnx"), interface=Interface(multiple_of=32))
    assert segmenter.run(np.zeros((1, 3, 50, 65), np.float32)).shape == (1, 21, 13, 17)


def test_a_size_that_does_not_run_is_named(tmp_path: Path) -> None:
    model = Network(save(encoder_decoder(), tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match=r"does not run on an image of 51×64") as caught:
        model.run(np.zeros((1, 3, 51, 64), np.float32))
    assert "--multiple-of 32" in caught.value.fix


def test_a_batch_of_four(tmp_path: Path) -> None:
    fp32, int8, result = chain(tmp_path, classifier(image=(4, 3, "h", "w")))
    photo = tmp_path / "coco/val2017/000000000001.jpg"
    expected = raw(fp32, np.repeat(prepared(photo), 4, axis=0))
    found = Segmenter(fp32).run(prepared(photo))
    assert np.array_equal(found, expected[:1])
    assert result.only.difference.label_agreement > 0.9
    assert Network(int8).form.batch == 4


def test_float16_in_and_out_runs_and_is_not_quantized(tmp_path: Path) -> None:
    images = write_coco(tmp_path / "coco")
    model = classifier()
    half = save(in_half(model), tmp_path / "half.onnx")
    full = save(model, tmp_path / "full.onnx")
    result = compare(full, half, open_dataset(images), protocol="voc-native")
    assert result.only.difference.label_agreement > 0.99
    (seen,) = predict(PredictOptions(model=half, images=[images / "000000000002.jpg"], output=tmp_path / "out"))
    assert seen.confidence is not None
    choice, output = ImageChoice(images, limit=2), tmp_path / "x"
    for work in (
        lambda: calibrate(CalibrateOptions(model=half, choice=choice, output=output)),
        lambda: quantize(QuantizeOptions(model=half, choice=choice, output=output)),
    ):
        with pytest.raises(ModelError, match="computes in float16") as caught:
            work()
        assert "--fp16" in caught.value.fix


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights, input and output as float16."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    for tensor in half.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*half.graph.input, *half.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return half


def test_float16_inside_is_not_quantized_either(tmp_path: Path) -> None:
    half = in_half(classifier())
    half.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    half.graph.node.insert(0, op("Cast", "image", "narrow", to=TensorProto.FLOAT16))
    half.graph.node[1].input[0] = "narrow"
    path = save(ending(half, op("Cast", "out", "wide", to=TensorProto.FLOAT)), tmp_path / "half.onnx")
    with pytest.raises(ModelError, match="computes in float16"):
        quantize(
            QuantizeOptions(
                model=path, choice=ImageChoice(write_coco(tmp_path / "coco"), limit=2), output=tmp_path / "x"
            )
        )


def test_several_outputs_none_called_out(tmp_path: Path) -> None:
    model = classifier()
    model.graph.node.append(op("Neg", "out", "minus"))
    model.graph.node.append(op("Identity", "out", "plain"))
    del model.graph.output[:]
    model.graph.output.extend(value_info(n, TensorProto.FLOAT, ["n", 21, "h", "w"]) for n in ("minus", "plain"))
    _, int8, result = chain(tmp_path, model, Interface(output_name="plain"))
    assert result.only.difference.label_agreement > 0.9
    assert Network(int8).output_names == ("minus", "plain")


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z.astype(np.float64)))


@pytest.mark.parametrize("ends", ["logits", "sigmoid", "squeezed"])
def test_one_channel_of_two_classes(tmp_path: Path, ends: str) -> None:
    """Class 1 where the probability is above 0.5, which is where the logit is above 0."""
    model = classifier(classes=1)
    if ends != "logits":
        model = ending(model, op("Sigmoid", "out", "p"))
    if ends == "squeezed":
        model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
        model = ending(model, op("Squeeze", "p", "axis", "q"))
    fp32, _, result = chain(tmp_path, model, Interface(classes=BINARY))
    assert result.only.difference.label_agreement > 0.9
    photo = tmp_path / "coco/val2017/000000000001.jpg"
    logit = raw(save(classifier(classes=1), tmp_path / "plain.onnx"), prepared(photo))[0, 0]
    (seen,) = predict(
        PredictOptions(model=fp32, images=[photo], interface=Interface(classes=BINARY), output=tmp_path / "fp32")
    )
    labels = np.asarray(Image.open(seen.labels))
    assert (labels == (logit > 0)).all()
    assert 0 < labels.mean() < 1
    assert seen.confidence is not None
    expected = 255 * np.maximum(sigmoid(logit), 1 - sigmoid(logit))
    assert np.abs(np.asarray(Image.open(seen.confidence)) - expected).max() <= 1


def test_one_channel_that_nobody_names_is_background_and_foreground(tmp_path: Path) -> None:
    assert Segmenter(save(classifier(classes=1), tmp_path / "m.onnx")).classes == ("background", "foreground")


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(0))
    return np.asarray(e / e.sum(0))


ENDS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "logits": lambda m: m,
    "softmax": lambda m: ending(m, op("Softmax", "out", "p", axis=1)),
    "log-softmax": lambda m: ending(m, op("LogSoftmax", "out", "p", axis=1)),
    "log of softmax": lambda m: ending(m, op("Softmax", "out", "s", axis=1), op("Log", "s", "p")),
    "transposed": lambda m: ending(
        m, op("Softmax", "out", "s", axis=1), op("Transpose", "s", "t", perm=[0, 2, 3, 1]), op("Identity", "t", "p")
    ),
    "in steps": lambda m: ending(
        m,
        op("Exp", "out", "e"),
        helper.make_node("ReduceSum", ["e", "axes"], ["total"], name="/total"),
        op("Div", "e", "total", "p"),
    ),
}


@pytest.mark.parametrize("ends", list(ENDS))
def test_confidence_is_the_probability_whatever_the_graph_ends_in(tmp_path: Path, ends: str) -> None:
    model = classifier()
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    photo = tmp_path / "photo.png"
    photograph(33, 31, 1).save(photo)
    logits = raw(save(classifier(), tmp_path / "plain.onnx"), prepared(photo))[0]
    (seen,) = predict(
        PredictOptions(model=save(ENDS[ends](model), tmp_path / "m.onnx"), images=[photo], output=tmp_path / "out")
    )
    assert seen.confidence is not None
    expected = 255 * softmax(logits).max(0)
    assert np.abs(np.asarray(Image.open(seen.confidence)) - expected).max() <= 1
    assert (np.asarray(Image.open(seen.labels)) == logits.argmax(0)).all()


def test_probabilities_of_independent_classes_are_taken_as_they_are(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photograph(33, 31, 1).save(photo)
    logits = raw(save(classifier(), tmp_path / "plain.onnx"), prepared(photo))[0]
    model = save(ending(classifier(), op("Sigmoid", "out", "p")), tmp_path / "m.onnx")
    (seen,) = predict(PredictOptions(model=model, images=[photo], output=tmp_path / "out"))
    assert seen.confidence is not None
    assert np.abs(np.asarray(Image.open(seen.confidence)) - 255 * sigmoid(logits).max(0)).max() <= 1


@pytest.mark.parametrize("keepdims", [0, 1])
def test_labels_of_float_type(tmp_path: Path, keepdims: int) -> None:
    model = ending(
        classifier(),
        op("ArgMax", "out", "index", axis=1, keepdims=keepdims),
        op("Cast", "index", "labels", to=TensorProto.FLOAT),
    )
    fp32, _, result = chain(tmp_path, model)
    assert result.only.difference.label_agreement > 0.9
    photo = tmp_path / "coco/val2017/000000000001.jpg"
    logits = raw(save(classifier(), tmp_path / "plain.onnx"), prepared(photo))[0]
    segmenter = Segmenter(fp32)
    value = segmenter.run(prepared(photo))
    assert segmenter.scores(value, "i") is None
    assert (segmenter.labels(value, "i") == logits.argmax(0)).all()


def test_a_convolution_over_channels(tmp_path: Path) -> None:
    """ECA: the mean of each channel, a convolution of one dimension along the channels, a gate."""
    constants = {
        "w": weights(0, 8, 3, 3, 3),
        "eca": weights(1, 1, 1, 3),
        "head": weights(2, 21, 8, 1, 1),
        "three": np.array([3], np.int64),
    }
    nodes = [
        conv("image", "stem", "w", pads=[1] * 4),
        op("Relu", "stem", "relu"),
        op("GlobalAveragePool", "relu", "mean"),
        op("Squeeze", "mean", "three", "flat"),
        op("Transpose", "flat", "row", perm=[0, 2, 1]),
        conv("row", "mixed", "eca", pads=[1, 1]),
        op("Sigmoid", "mixed", "gate"),
        op("Transpose", "gate", "column", perm=[0, 2, 1]),
        op("Unsqueeze", "column", "three", "scale"),
        op("Mul", "relu", "scale", "scaled"),
        conv("scaled", "out", "head"),
    ]
    _, _, result = chain(tmp_path, network(nodes, constants, outputs={"out": ["n", 21, "h", "w"]}))
    assert result.only.difference.label_agreement > 0.9


def test_weights_that_are_listed_as_inputs(tmp_path: Path) -> None:
    """As files of IR 3 do; the first of the inputs is a weight here."""
    model = classifier(opset=11)
    for tensor in model.graph.initializer:
        model.graph.input.insert(0, value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    model.ir_version = 3
    _, _, result = chain(tmp_path, model)
    assert result.only.difference.label_agreement > 0.9
    assert Network(tmp_path / "m.onnx").form.name == "image"


def test_the_number_of_classes_is_checked_before_any_image_is_read(tmp_path: Path) -> None:
    images = write_coco(tmp_path / "coco")
    model = save(classifier(classes=5), tmp_path / "m.onnx")
    for image in images.iterdir():
        image.write_bytes(b"not an image")
    names = Interface(classes=("background", "category 1", "category 3"))
    for work in (
        lambda: quantize(
            QuantizeOptions(model=model, choice=ImageChoice(images, limit=2), interface=names, output=tmp_path / "x")
        ),
        lambda: calibrate(
            CalibrateOptions(model=model, choice=ImageChoice(images, limit=2), interface=names, output=tmp_path / "x")
        ),
        lambda: compare(model, model, open_dataset(images, classes=names.classes or ()), interface=names),
        lambda: predict(
            PredictOptions(model=model, images=list(images.iterdir()), interface=names, output=tmp_path / "out")
        ),
    ):
        with pytest.raises(ModelError, match=r"declared as \(\?, 5, \?, \?\)") as caught:
            work()
        assert "of 3 classes" in caught.value.fix
        assert "--classes" in caught.value.fix


def test_classes_that_nobody_names_are_numbered(tmp_path: Path) -> None:
    model = save(classifier(classes=5), tmp_path / "m.onnx")
    assert Segmenter(model).classes == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert Preprocessing().multiple_of is None
