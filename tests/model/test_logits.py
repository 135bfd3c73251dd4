"""Which nodes make the logits, on small heads of every kind, each node named by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from toys import pixel_classifier, residual_network

from fcn_onnx.model.graph import Graph
from fcn_onnx.model.logits import logits_nodes
from fcn_onnx.quantization.plan import make_plan
from fcn_onnx.runtime.cpu import Cpu

CLASSES = 5


class Head:
    """A graph under construction; every node and its result have one name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.conv("stem", "input", 3, 8)
        self.op("features", "Relu", "stem")

    def op(self, name: str, kind: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def conv(self, name: str, x: str, inputs: int, outputs: int, group: int = 1) -> str:
        weight = self.constant(f"{name}.w", np.ones((outputs, inputs // group, 1, 1), np.float32))
        return self.op(name, "Conv", x, weight, group=group)

    def score(self, name: str, x: str = "features") -> str:
        return self.conv(name, x, 8, CLASSES)

    def twice(self, name: str, x: str, inputs: int = CLASSES, outputs: int = CLASSES) -> str:
        weight = self.constant(f"{name}.w", np.ones((inputs, outputs, 2, 2), np.float32))
        return self.op(name, "ConvTranspose", x, weight, strides=[2, 2])

    def model(self, *outputs: str) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, "h", "w"])
        results = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self.nodes, "head", [image], results, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    def floats(self, *outputs: str) -> set[str]:
        return set(logits_nodes(self.model(*outputs)))


def test_the_convs_before_the_outputs_of_the_toys() -> None:
    assert logits_nodes(residual_network()) == ("/logits",)
    assert logits_nodes(pixel_classifier()) == ("classify",)


def test_fcn_8s_keeps_three_score_maps_their_sums_and_what_upsamples_them() -> None:
    head = Head()
    for index in (0, 1, 2):
        head.conv(f"deep{index}", "features" if index == 0 else f"pool{index - 1}", 8, 8)
        head.op(f"pool{index}", "Relu", f"deep{index}")
    head.score("score_fr", "pool2")
    head.twice("upscore2", "score_fr")
    head.score("score_pool4", "pool1")
    cut = [head.constant(name, np.array([value], np.int64)) for name, value in (("from", 0), ("to", 9), ("axis", 2))]
    head.op("crop", "Slice", "score_pool4", *cut)
    head.op("fuse_pool4", "Add", "upscore2", "crop")
    head.twice("upscore4", "fuse_pool4")
    head.constant("scale", np.float32(0.01))
    head.op("scaled", "Mul", head.score("score_pool3", "pool0"), "scale")
    head.op("fuse_pool3", "Sum", "upscore4", "scaled")
    head.twice("upscore8", "fuse_pool3")
    kept = {"score_fr", "upscore2", "score_pool4", "fuse_pool4", "upscore4", "score_pool3", "scaled", "upscore8"}
    assert head.floats("upscore8") == kept
    plan = make_plan(Graph(head.model("upscore8")), Cpu("any", 2, frozenset({"avx2", "avx512_vnni"})))
    assert set(plan.float_nodes) == kept
    assert plan.op_types == ("Conv", "Relu")  # its only Add sums scores
    assert any("score_fr, upscore2" in reason and "fp32" in reason for reason in plan.reasons)


def test_a_residual_sum_is_none_of_scores() -> None:
    """A classifier stands behind it, or, where the features themselves are an output, a convolution beside it."""
    head = Head()
    head.conv("branch", "features", 8, 8)
    head.op("sum", "Add", "branch", "features")
    head.score("classify", "sum")
    assert head.floats("classify") == {"classify"}
    head.op("active", "Relu", "sum")
    assert head.floats("classify", "active") == {"classify", "active"}
    assert head.floats("classify", "sum") == {"classify"}
    head.conv("next", "sum", 8, 8)
    head.op("second", "Add", "next", "sum")
    assert head.floats("second") == {"second", "next"}


def test_lraspp_adds_two_score_maps_and_gates_features_not_scores() -> None:
    head = Head()
    head.op("gate", "Sigmoid", head.conv("squeeze", "features", 8, 8))
    head.op("gated", "Mul", "features", "gate")
    head.op("sum", "Add", head.score("low"), head.score("high", "gated"))
    assert head.floats("sum") == {"low", "high", "sum"}


def test_a_feature_pyramid_ends_at_its_classifier() -> None:
    head = Head()
    head.conv("lateral", "features", 8, 8)
    head.op("merged", "Add", "lateral", head.twice("up", "features", 8, 8))
    head.score("classify", "merged")
    assert head.floats("classify") == {"classify"}


def test_a_decoder_that_ends_with_a_learned_upsampling_stops_there() -> None:
    head = Head()
    head.twice("last", "features", 8, CLASSES)
    assert head.floats("last") == {"last"}


@pytest.mark.parametrize(
    "shown",
    [
        [("out", "Sigmoid")],
        [("out", "LogSoftmax")],
        [("gone", "Identity"), ("out", "Clip")],
        [("row", "Flatten"), ("back", "Reshape"), ("out", "ArgMax")],
        [("cut", "Slice"), ("wider", "Pad"), ("one", "Squeeze"), ("out", "Unsqueeze")],
        [("deep", "DepthToSpace"), ("out", "BatchNormalization")],
        [("peak", "ReduceMax"), ("sure", "Greater"), ("out", "Cast")],
    ],
)
def test_what_only_shows_is_seen_through(shown: list[tuple[str, str]]) -> None:
    head = Head()
    name = head.score("classify")
    for result, kind in shown:
        head.constant(f"{result}.c", np.float32(0))
        name = head.op(result, kind, name, f"{result}.c")
    assert "classify" in head.floats("out")
    assert "stem" not in head.floats("out")


def test_a_softmax_in_primitive_operators_and_scores_weighed_by_attention() -> None:
    head = Head()
    head.op("weight", "Sigmoid", head.conv("attend", "features", 8, 1))
    head.constant("one", np.float32(1))
    head.op("near", "Mul", "weight", head.score("fine"))
    head.op("far", "Mul", head.op("rest", "Sub", "one", "weight"), head.score("coarse"))
    head.op("logits", "Add", "near", "far")
    head.op("above", "Sub", "logits", head.op("peak", "ReduceMax", "logits"))
    head.op("raised", "Exp", "above")
    head.op("out", "Div", "raised", head.op("total", "ReduceSum", "raised"))
    assert head.floats("out") == {"attend", "weight", "fine", "coarse", "near", "far", "logits"}


def test_auxiliary_scores_that_the_network_reads_again_are_scores() -> None:
    """Object context: the first head's softmax weighs features."""
    head = Head()
    head.score("aux")
    head.op("regions", "Softmax", "aux")
    head.op("context", "MatMul", "regions", "features")
    head.score("out", "context")
    assert head.floats("out", "aux") == {"out", "aux"}


def test_a_matrix_product_over_the_channels_makes_logits() -> None:
    head = Head()
    head.op("last_axis", "Transpose", "features", perm=[0, 2, 3, 1])
    head.op("product", "MatMul", "last_axis", head.constant("w", np.ones((8, CLASSES), np.float32)))
    head.op("biased", "Add", "product", head.constant("b", np.ones(CLASSES, np.float32)))
    head.op("out", "Transpose", "biased", perm=[0, 3, 1, 2])
    assert head.floats("out") == {"product", "biased"}


def test_a_filter_of_each_score_map_is_passed_and_a_mixing_convolution_is_not() -> None:
    head = Head()
    head.conv("smooth", head.score("classify"), CLASSES, CLASSES, group=CLASSES)
    assert head.floats("smooth") == {"smooth", "classify"}
    head.conv("mixed", "smooth", CLASSES, CLASSES)
    assert head.floats("mixed") == {"mixed"}


def test_vgg_fcn_8s_keeps_its_score_maps_and_the_sums_between_what_resizes_them() -> None:
    head = Head()
    head.conv("pool4", "features", 8, 8)
    head.op("size", "Shape", head.score("score_pool4", "pool4"))
    head.op(
        "up2", "Resize", head.op("dropped", "Dropout", head.score("score_fr", head.conv("fc7", "pool4", 8, 8))), "size"
    )
    head.op("fuse_pool4", "Add", "up2", "score_pool4")
    head.op("up4", "Resize", "fuse_pool4", "size")
    head.op("fuse_pool3", "Add", head.score("score_pool3"), "up4")
    head.op("up8", "Resize", "fuse_pool3", "size")
    assert head.floats("up8") == {"score_pool4", "score_fr", "fuse_pool4", "score_pool3", "fuse_pool3"}


def test_ti_fpn_keeps_its_bare_1x1_convolution_and_not_the_grouped_one_before_it() -> None:
    head = Head()
    head.conv("grouped", "features", 8, 8, group=8)
    head.op("out", "Resize", head.score("pred", "grouped"))
    assert head.floats("out") == {"pred"}


def test_mindspore_fcn_8s_keeps_what_mixes_its_score_maps_by_upsampling() -> None:
    """ConvTranspose of 21 to 21 channels, dense and learned, behind each sum."""
    head = Head()
    head.op("add4", "Add", head.twice("up2", head.score("score")), head.score("score4"))
    head.op("add3", "Add", head.score("score3"), head.twice("up4", "add4"))
    head.twice("up8", "add3")
    assert head.floats("up8") == {"score", "up2", "score4", "add4", "up4", "score3", "add3", "up8"}
