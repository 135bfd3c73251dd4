"""The plan: legal forms by opset, and refusals that name the ways out."""

from __future__ import annotations

import onnx
import pytest
from toys import pixel_classifier, residual_network

from fcn_onnx.cpu import Cpu
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.quantization.plan import logits_nodes, make_plan

OLD = Cpu("old", 2, frozenset({"avx2"}))
NEW = Cpu("new", 2, frozenset({"avx2", "avx512_vnni"}))


@pytest.mark.parametrize(
    ("opset", "quant_format", "expected", "per_channel"),
    [
        (11, "auto", "qoperator", True),
        (12, "auto", "qoperator", True),
        (13, "auto", "qdq", True),
        (17, "auto", "qdq", True),
        (12, "qdq", "qdq", False),
        (13, "qdq", "qdq", True),
        (17, "qoperator", "qoperator", True),
    ],
)
def test_forms_by_opset(opset: int, quant_format: str, expected: str, per_channel: bool) -> None:
    plan = make_plan(residual_network(opset=opset), NEW, quant_format=quant_format)
    assert (plan.opset, plan.quant_format, plan.per_channel) == (opset, expected, per_channel)
    assert ("MaxPool" in plan.op_types) == (opset >= 12)


def test_a_form_that_is_not_legal_is_refused_with_both_ways_out() -> None:
    with pytest.raises(UsageError) as caught:
        make_plan(residual_network(opset=12), NEW, quant_format="qdq", per_channel=True)
    assert "--format qoperator" in str(caught.value)
    assert "--opset 13" in str(caught.value)


def test_auto_target_follows_the_cpu() -> None:
    model = residual_network()
    assert (make_plan(model, OLD).target, make_plan(model, OLD).reduce_range) == ("avx2", True)
    assert (make_plan(model, NEW).target, make_plan(model, NEW).reduce_range) == ("vnni", False)
    assert make_plan(model, NEW, target="avx2").reduce_range


def test_only_the_convs_before_the_outputs_make_logits() -> None:
    assert logits_nodes(residual_network()) == ("/logits",)
    assert logits_nodes(pixel_classifier()) == ("classify",)


@pytest.mark.parametrize("name", ["format", "target"])
def test_unknown_names_list_the_known_ones(name: str) -> None:
    arguments = {"format": {"quant_format": "int4"}, "target": {"target": "tpu"}}[name]
    with pytest.raises(UsageError, match="choose one of: auto"):
        make_plan(residual_network(), NEW, **arguments)


def test_models_that_cannot_be_quantized_are_refused() -> None:
    old = residual_network()
    old.opset_import[0].version = 10
    with pytest.raises(ModelError, match="opset 10"):
        make_plan(old, NEW)
    empty = pixel_classifier()
    del empty.graph.node[:]
    empty.graph.node.append(onnx.helper.make_node("Relu", ["input"], ["out"]))
    with pytest.raises(ModelError, match="no convolution"):
        make_plan(empty, NEW)
    done = pixel_classifier()
    done.graph.node.append(onnx.helper.make_node("DequantizeLinear", ["a", "b"], ["c"]))
    with pytest.raises(ModelError, match="quantized already"):
        make_plan(done, NEW)
