"""The plan: legal forms by opset, and refusals that name the ways out."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from foreign.encoder_decoders import unet
from toys import pixel_classifier, residual_network

from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.model.graph import Graph
from fcn_onnx.model.intake import take_in
from fcn_onnx.model.logits import logits_nodes
from fcn_onnx.quantization.plan import keep_float, make_plan
from fcn_onnx.runtime.cpu import Cpu

OLD = Cpu("old", 2, frozenset({"avx2"}))
NEW = Cpu("new", 2, frozenset({"avx2", "avx512_vnni"}))


GRAVITON = Cpu("arm", 2, frozenset({"asimd", "asimddp"}))
TILES = Cpu("newer", 2, frozenset({"avx2", "avx512_vnni", "amx_int8"}))


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
    plan = make_plan(Graph(residual_network(opset=opset)), NEW, quant_format=quant_format)
    assert (plan.opset, plan.quant_format, plan.per_channel) == (opset, expected, per_channel)
    assert ("MaxPool" in plan.op_types) == (opset >= 12)


def test_a_form_that_is_not_legal_is_refused_with_both_ways_out() -> None:
    with pytest.raises(UsageError) as caught:
        make_plan(Graph(residual_network(opset=12)), NEW, quant_format="qdq", per_channel=True)
    assert "--format qoperator" in str(caught.value)
    assert "--opset 13" in str(caught.value)


def test_auto_target_follows_the_cpu() -> None:
    model = residual_network()
    assert (make_plan(Graph(model), OLD).target, make_plan(Graph(model), OLD).pair_safe) == ("avx2", True)
    assert (make_plan(Graph(model), NEW).target, make_plan(Graph(model), NEW).pair_safe) == ("vnni", False)
    assert make_plan(Graph(model), TILES).target == "amx"
    assert make_plan(Graph(model), GRAVITON).target == "arm64"
    assert make_plan(Graph(model), replace(OLD, tried=True)).target == "vnni"
    assert make_plan(Graph(model), NEW, target="avx2").pair_safe
    assert make_plan(Graph(model), NEW.saturating()).target == "avx2"
    for cpu in (OLD, NEW, GRAVITON):
        assert make_plan(Graph(model), cpu, runtime="openvino").target == "openvino"
        assert make_plan(Graph(model), cpu, runtime="openvino", target="avx2").target == "avx2"


def test_arm_adds_exactly_what_vnni_does() -> None:
    """Its plan is that of VNNI in all but the name: unsigned activations, signed 8-bit weights, any pair of them."""
    for opset in (12, 13):
        arm, vnni = (make_plan(Graph(residual_network(opset=opset)), NEW, target=name) for name in ("arm64", "vnni"))
        assert replace(arm, target="vnni", reasons=()) == replace(vnni, reasons=())
        assert (arm.pair_safe, arm.activation_type, arm.weight_type) == (False, "uint8", "int8")


def test_only_the_convs_before_the_outputs_make_logits() -> None:
    assert logits_nodes(residual_network()) == ("/logits",)
    assert logits_nodes(pixel_classifier()) == ("classify",)


def test_tensorrt_takes_qdq_with_per_channel_weights_only() -> None:
    plan = make_plan(Graph(residual_network(opset=13)), NEW, target="tensorrt")
    assert (plan.quant_format, plan.activation_type, plan.op_types) == ("qdq", "int8", ("Conv", "MaxPool"))
    for opset, options in ((12, {}), (13, {"per_channel": False})):
        with pytest.raises(UsageError, match="opset 13"):
            make_plan(Graph(residual_network(opset=opset)), NEW, target="tensorrt", **options)
    for target in ("tensorrt", "openvino"):
        with pytest.raises(UsageError, match="does not read the qoperator form"):
            make_plan(Graph(residual_network(opset=13)), NEW, target=target, quant_format="qoperator")


def test_what_reads_only_fp32_stays_fp32() -> None:
    """stem → relu → pool → inner → relu → branch → (branch + pool) → body → logits."""
    model = residual_network()
    plan = make_plan(Graph(model), NEW)
    before = {"/logits", "/sum", "/body"}
    assert set(plan.float_nodes) == before
    assert keep_float(plan, Graph(model), ()) == plan
    assert set(keep_float(plan, Graph(model), ["/stem"]).float_nodes) == before | {"/stem", "/stem_relu", "/pool"}
    assert set(keep_float(plan, Graph(model), ["/branch"]).float_nodes) == before | {"/branch"}
    everything = keep_float(plan, Graph(model), ["/stem", "/inner", "/branch"]).float_nodes
    assert {"/pool", "/inner_relu", "/sum", "/body"} < set(everything)


def test_with_every_convolution_in_fp32_nothing_is_int8() -> None:
    """A Concat of what a ConvTranspose made is no exception."""
    model = take_in(unet(13), "unet")
    plan = make_plan(Graph(model), NEW)
    assert not any(node.op_type == "Concat" and node.name in plan.float_nodes for node in model.graph.node)
    convs = [node.name for node in model.graph.node if node.op_type == "Conv"]
    kept = keep_float(plan, Graph(model), convs).float_nodes
    assert {node.name for node in model.graph.node if node.op_type in plan.op_types} == set(kept)


def test_openvino_takes_qdq_at_any_opset() -> None:
    old, new = (make_plan(Graph(residual_network(opset=opset)), NEW, target="openvino") for opset in (12, 13))
    assert (old.quant_format, old.per_channel, new.quant_format, new.per_channel) == ("qdq", False, "qdq", True)
    assert new.pair_safe


@pytest.mark.parametrize("name", ["format", "target"])
def test_unknown_names_list_the_known_ones(name: str) -> None:
    arguments = {"format": {"quant_format": "int4"}, "target": {"target": "tpu"}}[name]
    with pytest.raises(UsageError, match="choose one of: auto"):
        make_plan(Graph(residual_network()), NEW, **arguments)


def test_models_that_cannot_be_quantized_are_refused() -> None:
    old = residual_network()
    old.opset_import[0].version = 10
    with pytest.raises(ModelError, match="opset 10"):
        make_plan(Graph(old), NEW)
    empty = pixel_classifier()
    del empty.graph.node[:]
    empty.graph.node.append(onnx.helper.make_node("Relu", ["input"], ["out"]))
    with pytest.raises(ModelError, match="no convolution"):
        make_plan(Graph(empty), NEW)
    done = pixel_classifier()
    done.graph.node.append(onnx.helper.make_node("DequantizeLinear", ["a", "b"], ["c"]))
    with pytest.raises(ModelError, match="quantized already"):
        make_plan(Graph(done), NEW)
