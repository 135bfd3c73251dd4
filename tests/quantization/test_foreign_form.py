"""Nodes without names, and parameters of several layers: what other people's graphs do to an int8 model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from toys import photograph, pixel_classifier, residual_network, save

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import QuantizationError
from fcn_onnx.model.interface import Interface
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import options_of
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

SIZE = 48
Array = NDArray[np.float32]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(6):
        photograph(SIZE, SIZE, index).save(folder / f"{index}.png")
    return folder


def picture(path: Path) -> Array:
    return Preprocessing(Resize(size=(SIZE, SIZE)))(read_rgb(path))


def run(path: Path, batch: Array) -> Array:
    session = ort.InferenceSession(str(path), options_of(SessionConfig()), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["out"], {"input": batch})[0])


def int8(model: onnx.ModelProto, data: Path, name: str, **options: object) -> Path:
    folder = data.parent
    output = folder / f"{name}-int8.onnx"
    quantize(
        QuantizeOptions(
            model=save(model, folder / f"{name}.onnx"),
            choice=ImageChoice(data, limit=6),
            output=output,
            **{"target": "vnni", **options},
        )
    )
    return output


@pytest.mark.parametrize(("opset", "quant_format"), [(12, "qoperator"), (13, "qdq")])
def test_nodes_without_names_are_quantized_as_those_with(data: Path, opset: int, quant_format: str) -> None:
    model = residual_network(opset=opset)
    named = int8(model, data, "named", format=quant_format)
    for node in model.graph.node:
        node.name = ""
    unnamed = int8(model, data, "unnamed", format=quant_format)
    operators = [[node.op_type for node in onnx.load(path).graph.node] for path in (named, unnamed)]
    assert operators[0] == operators[1]
    batch = picture(data / "0.png")
    assert np.array_equal(run(named, batch), run(unnamed, batch))


def test_a_model_of_which_nothing_becomes_int8_is_refused(data: Path) -> None:
    """Its one convolution makes the logits."""
    with pytest.raises(QuantizationError, match="nothing in it would compute in int8"):
        int8(pixel_classifier(), data, "logits")
    assert not (data.parent / "logits-int8.onnx").exists()


def siblings(*, shared: bool, opset: int = 12, readers: int = 2) -> onnx.ModelProto:
    """Convolutions of equal parameters on inputs of very unlike ranges, shared or a copy for each; `out` sees all."""
    rng = np.random.default_rng(3)

    def value(*shape: int, scale: float = 1.0) -> Array:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    constants = {"first.w": value(8, 3, 3, 3, scale=0.3), "first.b": value(8)}
    weight, bias = value(8, 8, 1, 1, scale=0.35), value(8, scale=2.0)
    nodes = [
        helper.make_node("Conv", ["input", "first.w", "first.b"], ["stem"], name="stem", pads=[1] * 4),
        helper.make_node("Relu", ["stem"], ["x0"], name="relu0"),
    ]
    for index in range(readers):
        names = ["w", "b"] if shared else [f"w{index}", f"b{index}"]
        constants |= dict(zip(names, (weight, bias), strict=True))
        nodes += [
            helper.make_node("Conv", [f"x{index}", *names], [f"y{index}"], name=f"conv{index}"),
            helper.make_node("Relu", [f"y{index}"], [f"x{index + 1}"], name=f"relu{index + 1}"),
        ]
    constants["last.w"] = value(5, 8, 1, 1)
    nodes.append(helper.make_node("Conv", [f"x{readers}", "last.w"], ["out"], name="last"))
    graph = helper.make_graph(
        nodes,
        "siblings",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 5, SIZE, SIZE])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


@pytest.mark.parametrize("readers", [2, 3])
@pytest.mark.parametrize(("opset", "quant_format"), [(12, "qoperator"), (13, "qdq"), (13, "qoperator")])
def test_shared_parameters_are_quantized_as_copies_are(data: Path, opset: int, quant_format: str, readers: int) -> None:
    """Biases get a scale and a correction for each reader, weights a name for each: the logits are equal."""
    found = [
        int8(siblings(shared=shared, opset=opset, readers=readers), data, f"{shared}", format=quant_format)
        for shared in (True, False)
    ]
    batch = picture(data / "0.png")
    logits = [run(path, batch) for path in found]
    assert np.array_equal(*logits)
    expected = run(data.parent / "True.onnx", batch)
    assert ((logits[0] - expected) ** 2).sum() < 2e-3 * (expected**2).sum()


@pytest.mark.parametrize("exact", [False, True])
def test_shared_weights_load_in_every_kernel(data: Path, exact: bool) -> None:
    path = int8(siblings(shared=True), data, "shared", target="avx2")
    options = options_of(SessionConfig(exact_int8=exact))
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert session.run(None, {"input": picture(data / "0.png")})[0].shape == (1, 5, SIZE, SIZE)


@pytest.mark.parametrize("reader", ["logits", "MatMul"])
@pytest.mark.parametrize(("opset", "quant_format"), [(12, "qoperator"), (13, "qdq")])
def test_a_weight_that_fp32_reads_too_stays_exact_for_it(
    data: Path, opset: int, quant_format: str, reader: str
) -> None:
    model = siblings(shared=True, opset=opset)
    last = model.graph.node[-1]
    if reader == "logits":
        last.input[1] = "w"
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 8
    else:
        last.input[0] = "product"
        rows = helper.make_node("Reshape", ["w", "square"], ["rows"], name="rows")
        flat = [
            helper.make_node("Transpose", ["x2"], ["moved"], perm=[0, 2, 3, 1], name="moved"),
            helper.make_node("MatMul", ["moved", "rows"], ["multiplied"], name="multiplied"),
            helper.make_node("Transpose", ["multiplied"], ["product"], perm=[0, 3, 1, 2], name="product"),
        ]
        model.graph.initializer.append(numpy_helper.from_array(np.array([8, 8], np.int64), "square"))
        nodes = [*list(model.graph.node)[:-1], rows, *flat, last]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    original = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "w"))
    written = onnx.load(int8(model, data, "mixed", format=quant_format))
    weights = [tensor for tensor in written.graph.initializer if list(tensor.dims) == [8, 8, 1, 1]]
    floats = [numpy_helper.to_array(tensor) for tensor in weights if tensor.data_type == TensorProto.FLOAT]
    assert [np.array_equal(weight, original) for weight in floats] == [True]
    assert sum(tensor.data_type == TensorProto.INT8 for tensor in weights) == 2


def test_a_bias_behind_identity_is_corrected(data: Path) -> None:
    model = siblings(shared=False)
    plain = int8(model, data, "plain")
    bias = next(node for node in model.graph.node if node.name == "conv0")
    bias.input[2] = "behind"
    model.graph.node.insert(0, helper.make_node("Identity", ["b0"], ["behind"]))
    batch = picture(data / "0.png")
    assert np.array_equal(run(int8(model, data, "identity"), batch), run(plain, batch))


def forked(*, opset: int, returned: bool) -> onnx.ModelProto:
    """A sum `x` that is rectified, and added to what follows; or rectified, and an output too."""
    rng = np.random.default_rng(4)
    shapes = {"w0": (8, 3, 3, 3), "w1": (8, 8, 1, 1), "w2": (8, 8, 1, 1), "w3": (5, 8, 1, 1)}
    weights = {name: rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["input", "w0"], ["stem"], name="stem", pads=[1] * 4),
        helper.make_node("Conv", ["stem", "w1"], ["b"], name="branch"),
        helper.make_node("Add", ["b", "stem"], ["x"], name="first"),
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w2"], ["y"], name="next"),
        helper.make_node("Add", ["y", "y" if returned else "x"], ["sum"], name="sum"),
        helper.make_node("Conv", ["sum", "w3"], ["out"], name="classify"),
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ["out", "x"][: 1 + returned]]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "forked", [image], results, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


@pytest.mark.parametrize("returned", [False, True])
@pytest.mark.parametrize(("opset", "quant_format"), [(12, "qoperator"), (13, "qdq")])
def test_what_is_rectified_and_read_elsewhere_keeps_its_negative_values(
    data: Path, opset: int, quant_format: str, returned: bool
) -> None:
    path = int8(
        forked(opset=opset, returned=returned),
        data,
        "forked",
        format=quant_format,
        interface=Interface(output_name="out"),
    )
    session = ort.InferenceSession(str(path), options_of(SessionConfig()), providers=["CPUExecutionProvider"])
    original = ort.InferenceSession(str(data.parent / "forked.onnx"), options_of(SessionConfig()))
    batch = {"input": picture(data / "0.png")}
    for found, expected in zip(session.run(None, batch), original.run(None, batch), strict=True):
        assert ((found - expected) ** 2).sum() < 1e-2 * (expected**2).sum()
