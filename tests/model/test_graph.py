"""Facts against numbers counted by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from toys import pixel_classifier, residual_network

from fcn_onnx.model.graph import is_quantized, read_facts


def test_costs_of_a_residual_network_at_two_sizes() -> None:
    # stem 3→8 3×3 stride 2; inner 8→8 3×3 and branch 8→8 1×1 and logits 8→21 1×1 at a quarter of the size
    per_pixel_half, per_pixel_quarter = 3 * 8 * 9, 8 * 8 * 9 + 8 * 8 + 8 * 21
    for height, width in ((64, 96), (128, 64)):
        facts = read_facts(residual_network(), (height, width))
        half, quarter = height * width // 4, height * width // 16
        assert facts.macs == per_pixel_half * half + per_pixel_quarter * quarter
    weights = 3 * 8 * 9 + 8 * 8 * 9 + 8 * 8 + 8 * 21
    assert facts.parameters == weights + 8 + 8 + 8 + 21
    assert facts.op_counts["Conv"] == 4
    assert (facts.quant_format, facts.per_channel, facts.int8_macs_share) == ("none", None, 0.0)


def test_shapes_and_opset() -> None:
    facts = read_facts(pixel_classifier(opset=13), (10, 20))
    assert facts.opsets == {"": 13}
    assert facts.inputs == {"input": ("n", 3, "h", "w")}
    assert facts.macs == 3 * 21 * 200


def test_a_fixed_size_model_keeps_its_size() -> None:
    model = pixel_classifier()
    for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 7, 9), strict=True):
        dim.dim_value = value
    facts = read_facts(model, (520, 520))
    assert (facts.size, facts.macs) == ((7, 9), 3 * 21 * 63)


def test_contributed_operators_do_not_hide_what_follows() -> None:
    """QLinearAdd is onnxruntime's own: onnx infers no shape behind it."""
    scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(0), "z")
    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.int8), "w")
    weight_scale = numpy_helper.from_array(np.full(4, 0.1, np.float32), "ws")
    weight_zero = numpy_helper.from_array(np.zeros(4, np.int8), "wz")
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "s", "z"], ["q"]),
        helper.make_node("QLinearAdd", ["q", "s", "z", "q", "s", "z", "s", "z"], ["sum"], domain="com.microsoft"),
        helper.make_node("QLinearConv", ["sum", "s", "z", "w", "ws", "wz", "s", "z"], ["c"], name="conv"),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4, "h", "w"])],
        [scale, zero, weight, weight_scale, weight_zero],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 12), helper.make_opsetid("com.microsoft", 1)]
    )
    facts = read_facts(model, (5, 6))
    assert facts.macs == 12 * 30
    assert (facts.quant_format, facts.per_channel, facts.int8_macs_share) == ("qoperator", True, 1.0)
    assert is_quantized(model)
    assert not is_quantized(pixel_classifier())


@pytest.mark.parametrize("damage", ["nodes", "opset"])
def test_what_is_no_model_is_refused(tmp_path, damage: str) -> None:  # type: ignore[no-untyped-def]
    from fcn_onnx.errors import ModelError
    from fcn_onnx.model.files import load_model

    model = pixel_classifier()
    if damage == "nodes":
        del model.graph.node[:]
    else:
        del model.opset_import[:]
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError):
        load_model(tmp_path / "m.onnx")
