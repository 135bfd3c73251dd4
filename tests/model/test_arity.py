"""Graphs that no runtime takes, found by a fuzzer: each is one message that names the file or the node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from limits import refused
from onnx import helper
from toys import photograph, pixel_classifier, residual_network, save

from fcn_onnx.errors import ModelError
from fcn_onnx.model.files import load_model
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.inference import inferred


def node(model: onnx.ModelProto, op_type: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op_type)


DAMAGES: dict[str, Callable[[onnx.ModelProto], object]] = {
    "no input": lambda m: node(m, "Relu").ClearField("input"),
    "no weight": lambda m: node(m, "Conv").input.__delitem__(slice(1, None)),
    "a weight without a name": lambda m: node(m, "Conv").input.__setitem__(1, ""),
    "an input too many": lambda m: node(m, "Relu").input.append("input"),
    "an opset past 32 bits": lambda m: setattr(m.opset_import[0], "version", 1 << 40),
    "an opset below 1": lambda m: setattr(m.opset_import[0], "version", -1),
    "no output": lambda m: node(m, "Relu").ClearField("output"),
    "an output without a name": lambda m: node(m, "Relu").output.__setitem__(0, ""),
    "an output listed twice": lambda m: m.graph.output.append(m.graph.output[0]),
    "a Shape of nothing": lambda m: m.graph.node.append(helper.make_node("Shape", [], ["shape"])),
    "a contributed convolution without a weight": lambda m: m.graph.node.append(
        helper.make_node("FusedConv", ["input"], ["y"], domain="com.microsoft")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_nodes_that_lack_what_their_operator_needs_are_refused(tmp_path: Path, damage: str) -> None:
    model = residual_network()
    DAMAGES[damage](model)
    path = save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_an_operator_that_the_standard_does_not_know_is_left_to_onnxruntime(tmp_path: Path) -> None:
    model = pixel_classifier()
    model.graph.node[0].op_type = "Dreamed"
    assert load_model(save(model, tmp_path / "model.onnx")).graph.node[0].op_type == "Dreamed"


@pytest.mark.parametrize("kind", [0, 2, 8, 16, 21, 23])
def test_element_types_and_attributes_that_do_not_fit_leave_facts_unknown(kind: int) -> None:
    """A graph of such types is counted as far as it goes, not a traceback."""
    model = pixel_classifier()
    model.graph.input[0].type.tensor_type.elem_type = kind
    model.graph.initializer[0].data_type = kind
    model.graph.node[0].attribute.append(onnx.AttributeProto(name="group", type=kind % 10))
    assert read_facts(model, (32, 32)).op_counts == {"Conv": 1}


def test_a_batch_of_no_image_is_no_division(tmp_path: Path) -> None:
    model = pixel_classifier()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 0
    read_facts(model, (32, 32))


def test_shapes_that_contradict_one_another_are_refused() -> None:
    model = residual_network()
    node(model, "Relu").ClearField("input")
    with pytest.raises(ModelError, match="contradict"):
        inferred(model)


def test_a_batch_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    model = pixel_classifier()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 40
    photograph(20, 16, 0).save(tmp_path / "a.png")
    said = refused("predict", save(model, tmp_path / "m.onnx"), tmp_path / "a.png", "--output", tmp_path / "seen")
    assert "takes" in said
