"""Models whose tensors hold less, or more, than their dimensions say: shape inference reads past their ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from limits import refused
from onnx import TensorProto, helper, numpy_helper
from toys import pixel_classifier, residual_network

from fcn_onnx.errors import ModelError
from fcn_onnx.model.files import load_model


def reshaping(shape: TensorProto) -> onnx.ModelProto:
    """A network that reads its image through a Reshape, whose target shape inference looks at."""
    model = pixel_classifier(opset=13)
    model.graph.node[0].input[0] = "reshaped"
    model.graph.node.insert(0, helper.make_node("Reshape", ["input", "shape"], ["reshaped"]))
    shape.name = "shape"
    model.graph.initializer.append(shape)
    return model


def short_raw() -> TensorProto:
    return TensorProto(data_type=TensorProto.INT64, dims=[1 << 24], raw_data=b"\1" * 8)


@pytest.mark.parametrize("command", ["inspect", "calibrate"])
def test_a_tensor_shorter_than_its_dimensions_is_refused_before_shapes_are_inferred(
    tmp_path: Path, command: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(reshaping(short_raw()).SerializeToString())
    others: tuple[str | Path, ...] = ()
    if command == "calibrate":
        from toys import photograph

        photograph(20, 16, 0).save(tmp_path / "a.png")
        others = ("--data", tmp_path, "--output", tmp_path / "table.json")
    said = refused(command, *(("--model",) if others else ()), path, *others)
    assert "'shape'" in said
    assert "holds 8 bytes" in said


def attribute(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="inner", data_type=TensorProto.FLOAT, dims=[4], raw_data=b"\0" * 12)
    model.graph.node.append(helper.make_node("Constant", [], ["k"], value=tensor))


def subgraph(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="inner", data_type=TensorProto.FLOAT, dims=[4], float_data=[1, 2, 3])
    inner = helper.make_graph([], "g", [], [], [tensor])
    model.graph.node.append(helper.make_node("If", ["c"], ["k"], then_branch=inner, else_branch=inner))


def sparse(values: int, indices: list[int], dims: list[int]) -> Callable[[onnx.ModelProto], None]:
    def add(model: onnx.ModelProto) -> None:
        model.graph.sparse_initializer.append(
            helper.make_sparse_tensor(
                numpy_helper.from_array(np.ones(values, np.float32), "inner"),
                numpy_helper.from_array(np.array(indices, np.int64)),
                dims,
            )
        )

    return add


def tensor(**fields: object) -> Callable[[onnx.ModelProto], None]:
    def add(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(TensorProto(name="inner", **fields))  # type: ignore[arg-type]

    return add


DAMAGES: dict[str, Callable[[onnx.ModelProto], None]] = {
    "raw too short": tensor(data_type=1, dims=[2, 2], raw_data=b"\0" * 15),
    "raw too long": tensor(data_type=1, dims=[2, 2], raw_data=b"\0" * 17),
    "raw empty": tensor(data_type=1, dims=[2, 2], raw_data=b""),
    "floats missing": tensor(data_type=1, dims=[2, 2], float_data=[1, 2, 3]),
    "nothing at all": tensor(data_type=1, dims=[2, 2]),
    "another type's field": tensor(data_type=1, dims=[2], int64_data=[1, 2]),
    "halves of complex numbers": tensor(data_type=TensorProto.COMPLEX64, dims=[2], float_data=[1, 2]),
    "texts missing": tensor(data_type=TensorProto.STRING, dims=[2], string_data=[b"a"]),
    "four bits missing": tensor(data_type=TensorProto.INT4, dims=[5], int32_data=[1, 2]),
    "raw four bits missing": tensor(data_type=TensorProto.INT4, dims=[5], raw_data=b"12"),
    "negative": tensor(data_type=1, dims=[-1], float_data=[1]),
    "twice negative": tensor(data_type=1, dims=[-2, -2], float_data=[1, 2, 3, 4]),
    "overflowing": tensor(data_type=1, dims=[1 << 32, 1 << 32], raw_data=b""),
    "unknown type": tensor(data_type=99, dims=[1], raw_data=b"\0"),
    "no type": tensor(dims=[1], raw_data=b"\0"),
    "in an attribute": attribute,
    "in a subgraph": subgraph,
    "sparse index too large": sparse(2, [0, 4], [2, 2]),
    "sparse index below 0": sparse(2, [-1, 1], [2, 2]),
    "sparse indices missing": sparse(3, [0, 1], [2, 2]),
    "sparse of no size": sparse(1, [0], [0, 2]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_values_that_are_not_as_many_as_the_dimensions_say_are_refused(tmp_path: Path, damage: str) -> None:
    model = pixel_classifier(opset=13)
    DAMAGES[damage](model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "inner" in str(caught.value)
    assert str(path) in str(caught.value)


def test_whole_tensors_of_every_kind_are_read(tmp_path: Path) -> None:
    model = residual_network()
    for kind, value in {
        "float": np.float32(1.5),
        "empty": np.zeros((0, 3), np.float32),
        "bool": np.array([True, False]),
        "half": np.ones(3, np.float16),
        "text": np.array(["a", "b"], object),
        "unsigned": np.array([1, 2], np.uint32),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), kind))
    model.graph.initializer.append(helper.make_tensor("packed", TensorProto.INT4, [5], [1, 2, 3, 4, 5]))
    model.graph.initializer.append(helper.make_tensor("typed", TensorProto.FLOAT16, [2], [1.0, 2.0]))
    model.graph.initializer.append(helper.make_tensor("pairs", TensorProto.COMPLEX64, [2], [1j, 2j]))
    sparse(2, [0, 3], [2, 2])(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert load_model(path) == model


@pytest.mark.parametrize(
    ("offset", "length"), [("0", "99999999999999"), ("-4", "16"), ("0", "-1"), ("1e3", "16"), ("9" * 30, "16")]
)
def test_external_data_that_is_not_where_it_should_be_is_refused(tmp_path: Path, offset: str, length: str) -> None:
    model = pixel_classifier(opset=13)
    outside = TensorProto(name="inner", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "weights.data", "offset": offset, "length": length}.items():
        outside.external_data.add(key=key, value=value)
    model.graph.initializer.append(outside)
    (tmp_path / "weights.data").write_bytes(b"\0" * 12)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="inner"):
        load_model(path)
