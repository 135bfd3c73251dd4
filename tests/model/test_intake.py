"""The graph after intake: the same function, in the form that it promises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from toys import residual_network

from fcn_onnx.errors import ModelError
from fcn_onnx.model.intake import take_in
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import options_of

RNG = np.random.default_rng(0)


def values(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, NDArray[np.generic]],
    *,
    outputs: Sequence[str] = ("out",),
    opset: int = 12,
    shape: Sequence[int | str] = ("n", 3, "h", "w"),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "foreign",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def run(model: onnx.ModelProto, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What onnxruntime computes without rewriting the graph."""
    options = options_of(SessionConfig(threads=1, optimise=False))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[NDArray[np.float32]] = session.run([value.name for value in model.graph.output], {"input": batch})
    return found


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, **attributes)


def constant(name: str, value: NDArray[np.generic]) -> onnx.NodeProto:
    return node("Constant", [], [name], value=numpy_helper.from_array(value))


def stored(model: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_a_model_in_form_comes_out_equal() -> None:
    model = residual_network()
    taken = take_in(model, "m")
    assert taken.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
    assert taken is not model


def untidy() -> onnx.ModelProto:
    """Unnamed nodes and namesakes, a weight in a node, a bias behind Identity, dead nodes, an Identity at the end."""
    return model_of(
        [
            constant("w", values(8, 3, 3, 3)),
            node("Identity", ["stored"], ["b"]),
            node("Conv", ["input", "w", "b"], ["x"], pads=[1] * 4, name="conv"),
            node("Relu", ["x"], ["r"]),
            node("Dropout", ["r"], ["d"]),
            node("Conv", ["d", "w2"], ["y"], name="conv"),
            node("Sigmoid", ["y"], ["dead"]),
            node("Identity", ["y"], ["out"]),
        ],
        {"stored": values(8), "w2": values(5, 8, 1, 1), "unused": values(7)},
    )


def test_an_untidy_graph_is_tidied() -> None:
    model = untidy()
    taken = take_in(model, "m")
    assert [n.op_type for n in taken.graph.node] == ["Conv", "Relu", "Conv"]
    assert [n.name for n in taken.graph.node] == ["conv", "r", "conv_2"]
    assert set(stored(taken)) == {"w", "stored", "w2"}
    assert take_in(taken, "m") == taken
    assert len(model.graph.node) == 8  # what was given stays as it was
    model.graph.node[5].name = ""  # onnxruntime loads no namesakes
    batch = values(2, 3, 9, 11)
    assert np.array_equal(run(taken, batch)[0], run(model, batch)[0])


def test_outputs_keep_their_names_and_values() -> None:
    """One tensor under two output names, a constant and the input itself as outputs."""
    model = model_of(
        [
            node("Relu", ["input"], ["r"]),
            node("Identity", ["r"], ["first"]),
            node("Identity", ["r"], ["second"]),
            node("Identity", ["input"], ["same"]),
            constant("seven", values(2)),
        ],
        {},
        outputs=["first", "second", "same", "seven"],
    )
    taken = take_in(model, "m")
    assert [value.name for value in taken.graph.output] == ["first", "second", "same", "seven"]
    batch = values(1, 3, 4, 4)
    for before, after in zip(run(model, batch), run(taken, batch), strict=True):
        assert np.array_equal(before, after)
    assert take_in(taken, "m") == taken


def test_what_subgraphs_read_stays() -> None:
    """A branch of an If reads a tensor behind an Identity, and a constant."""

    def branch(op: str) -> onnx.GraphProto:
        inner = node(op, ["i", "c"], ["inner"])
        return helper.make_graph([inner], op, [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)])

    model = model_of(
        [
            constant("c", values(1)),
            constant("yes", np.array(True)),
            node("Identity", ["input"], ["i"]),
            node("If", ["yes"], ["out"], then_branch=branch("Add"), else_branch=branch("Mul")),
        ],
        {},
    )
    taken = take_in(model, "m")
    assert [n.op_type for n in taken.graph.node] == ["If"]
    batch = values(1, 3, 4, 4)
    assert np.array_equal(run(taken, batch)[0], run(model, batch)[0])


def test_weights_are_no_inputs() -> None:
    """Files of IR 3 list their weights among the inputs."""
    model = model_of([node("Conv", ["input", "w"], ["out"])], {"w": values(2, 3, 1, 1)}, opset=8)
    model.ir_version = 3
    weight = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3, 1, 1])
    model.graph.input.insert(0, weight)
    taken = take_in(model, "m")
    assert [value.name for value in taken.graph.input] == ["input"]
    batch = values(1, 3, 4, 4)
    assert np.array_equal(run(taken, batch)[0], run(model, batch)[0])


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Relu", ["nowhere"], ["out"])], "'nowhere', which nothing"),
        ([node("Relu", ["input"], ["out"]), node("Relu", ["input"], ["out"])], "'out' again"),
        ([node("Relu", ["input"], ["other"])], "output 'out' nowhere"),
    ],
)
def test_unsound_graphs_are_refused(nodes: list[onnx.NodeProto], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        take_in(model_of(nodes, {}), "m")


def test_shared_parameters_become_own_ones() -> None:
    """Two convolutions of one weight and bias; another weight is read by a MatMul too, which must find it as it was."""
    model = model_of(
        [
            node("Conv", ["input", "w", "b"], ["x"], name="one"),
            node("Conv", ["x", "w", "b"], ["y"], name="two"),
            node("Conv", ["y", "v", ""], ["z"], name="three"),
            node("MatMul", ["z", "v"], ["out"], name="product"),
        ],
        {"w": values(3, 3, 1, 1), "b": values(3), "v": values(3, 3, 1, 1)},
        shape=[1, 3, 5, 1],
    )
    taken = take_in(model, "m")
    assert [list(n.input) for n in taken.graph.node] == [
        ["input", "w", "b"],
        ["x", "w_two", "b_two"],
        ["y", "v_three", ""],
        ["z", "v"],
    ]
    for name, value in stored(taken).items():
        assert np.array_equal(value, stored(model)[name.split("_")[0]])
    assert take_in(taken, "m") == taken


def normalised(op: str, channels: int, *, opset: int = 12, bias: bool = True, **conv: object) -> onnx.ModelProto:
    groups = int(str(conv.get("group", 1)))
    shape = (channels, 8 // groups, 3, 3) if op == "Conv" else (8, channels // groups, 3, 3)
    return model_of(
        [
            node("Conv", ["input", "stem"], ["wide"]),
            node(op, ["wide", "w", *(["b"] if bias else [])], ["x"], **conv),
            node("BatchNormalization", ["x", "g", "be", "m", "v"], ["out"], epsilon=1e-3),
        ],
        {
            "stem": values(8, 3, 1, 1),
            "w": values(*shape),
            **({"b": values(channels)} if bias else {}),
            **{name: values(channels) for name in ("g", "be", "m")},
            "v": np.abs(values(channels)),
        },
        opset=opset,
    )


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize(("channels", "group"), [(6, 1), (8, 8), (12, 4), (16, 8), (4, 2)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("opset", [9, 12, 15])
def test_batch_norm_is_folded(op: str, channels: int, group: int, bias: bool, opset: int) -> None:
    model = normalised(op, channels, opset=opset, bias=bias, group=group, strides=[2, 2])
    taken = take_in(model, "m")
    assert [n.op_type for n in taken.graph.node] == ["Conv", op]
    batch = values(2, 3, 9, 11)
    (before,), (after,) = run(model, batch), run(taken, batch)
    assert before.shape == after.shape
    assert np.abs(before - after).max() < 2e-6 * np.abs(before).max()
    assert take_in(taken, "m") == taken


def test_a_weight_of_two_normalised_convolutions_is_folded_twice() -> None:
    parameters = {f"{name}{i}": np.abs(values(3)) for name in "gbmv" for i in (1, 2)}
    model = model_of(
        [
            node("Conv", ["input", "w"], ["x"]),
            node("BatchNormalization", ["x", "g1", "b1", "m1", "v1"], ["y"]),
            node("Conv", ["y", "w"], ["z"]),
            node("BatchNormalization", ["z", "g2", "b2", "m2", "v2"], ["out"]),
        ],
        {"w": values(3, 3, 1, 1), **parameters},
    )
    taken = take_in(model, "m")
    assert [n.op_type for n in taken.graph.node] == ["Conv", "Conv"]
    batch = values(1, 3, 5, 7)
    assert np.allclose(run(model, batch)[0], run(taken, batch)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("why", ["read twice", "an output", "training"])
def test_batch_norm_that_cannot_be_folded_stays(why: str) -> None:
    model = normalised("Conv", 6, opset=15)
    if why == "read twice":
        model.graph.node.append(node("Relu", ["x"], ["again"]))
        model.graph.output.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, None))
    elif why == "an output":
        model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, None))
    else:
        model.graph.node[-1].attribute.append(helper.make_attribute("training_mode", 1))
        model.graph.node[-1].output.extend(["mean", "variance"])
    taken = take_in(model, "m")
    assert "BatchNormalization" in {n.op_type for n in taken.graph.node}
    assert all(np.array_equal(value, stored(model)[name]) for name, value in stored(taken).items())


FORMS: dict[str, tuple[str, bool, tuple[int, ...]]] = {
    "bias": ("Add", False, (6, 1, 1)),
    "bias first": ("Add", True, (1, 6, 1, 1)),
    "scalar": ("Add", False, ()),
    "one": ("Sub", False, (1,)),
    "layer scale": ("Mul", True, (6, 1, 1)),
    "quotient": ("Div", False, (1, 6, 1, 1)),
}
OTHER_FORMS: dict[str, tuple[str, bool, tuple[int, ...]]] = {
    "by column": ("Mul", False, (11,)),
    "by position": ("Add", False, (9, 11)),
    "one a picture": ("Add", False, (2, 1, 1, 1)),
    "more dimensions": ("Mul", False, (1, 1, 1, 1, 1)),
    "constant minus it": ("Sub", True, (6, 1, 1)),
    "constant over it": ("Div", True, (6, 1, 1)),
    "division by zero": ("Div", False, (0,)),
}


def scaled(op: str, first: bool, shape: tuple[int, ...]) -> onnx.ModelProto:
    operands = ["c", "x"] if first else ["x", "c"]
    operand = np.zeros(1, np.float32) if shape == (0,) else values(*shape)
    return model_of(
        [node("Conv", ["input", "w"], ["x"]), node(op, operands, ["out"])], {"w": values(6, 3, 1, 1), "c": operand}
    )


@pytest.mark.parametrize("form", FORMS)
def test_constants_behind_a_convolution_are_folded(form: str) -> None:
    model = scaled(*FORMS[form])
    taken = take_in(model, "m")
    assert [n.op_type for n in taken.graph.node] == ["Conv"]
    batch = values(2, 3, 9, 11)
    (before,), (after,) = run(model, batch), run(taken, batch)
    assert np.abs(before - after).max() < 2e-6 * np.abs(before).max()


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_other_constants_stay(form: str) -> None:
    model = scaled(*OTHER_FORMS[form])
    assert [n.op_type for n in take_in(model, "m").graph.node] == ["Conv", OTHER_FORMS[form][0]]


GATE_CONSTANTS = {"three": 3, "zero": 0, "six": 6, "sixth": 1 / 6}
GATES = {
    "x · clip / 6": [("Mul", ["x", "clip"], "wide"), ("Div", ["wide", "six"], "out")],
    "clip · x / 6": [("Mul", ["clip", "x"], "wide"), ("Mul", ["wide", "sixth"], "out")],
    "x · (clip / 6)": [("Div", ["clip", "six"], "gate"), ("Mul", ["x", "gate"], "out")],
    "clip / 6": [("Mul", ["sixth", "clip"], "out")],
}


@pytest.mark.parametrize("name", GATES)
def test_hard_swishes_and_hard_sigmoids_get_one_form(name: str) -> None:
    constants = {name: np.array(value, np.float32) for name, value in GATE_CONSTANTS.items()}
    clip = [node("Add", ["three", "x"], ["moved"]), node("Clip", ["moved", "zero", "six"], ["clip"])]
    last = [node(op, inputs, [output]) for op, inputs, output in GATES[name]]
    model = model_of([node("LeakyRelu", ["input"], ["x"]), *clip, *last], constants)
    taken = take_in(model, "m")
    expected = ["LeakyRelu", "HardSigmoid", *(["Mul"] if "x" in name else [])]
    assert [found.op_type for found in taken.graph.node] == expected
    batch = 4 * values(1, 3, 16, 16)
    np.testing.assert_allclose(run(taken, batch)[0], run(model, batch)[0], atol=1e-5)


def test_a_hard_swish_is_a_product_with_a_hard_sigmoid() -> None:
    model = model_of([node("HardSwish", ["input"], ["out"], name="swish")], {}, opset=14)
    taken = take_in(model, "m")
    assert [(found.op_type, found.name) for found in taken.graph.node][1] == ("Mul", "swish")
    batch = 4 * values(1, 3, 16, 16)
    np.testing.assert_allclose(run(taken, batch)[0], run(model, batch)[0], atol=1e-6)


def test_a_clip_that_is_read_elsewhere_or_divided_by_another_number_stays() -> None:
    constants = {name: np.array(value, np.float32) for name, value in GATE_CONSTANTS.items()}
    clip = [node("Add", ["input", "three"], ["moved"]), node("Clip", ["moved", "zero", "six"], ["clip"])]
    read_twice = [node("Mul", ["input", "clip"], ["wide"]), node("Add", ["wide", "clip"], ["out"])]
    divided = [node("Mul", ["input", "clip"], ["wide"]), node("Div", ["wide", "three"], ["out"])]
    for last in (read_twice, divided):
        taken = take_in(model_of([*clip, *last], constants), "m")
        assert "Clip" in [found.op_type for found in taken.graph.node]


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (4, 3), (5, 4)])
@pytest.mark.parametrize(
    ("stride", "pads", "more"), [(2, [0] * 4, 0), (2, [1, 0, 0, 1], 0), (2, [1] * 4, 1), (3, [0] * 4, 0)]
)
def test_a_transposed_convolution_is_spread_over_the_phases(
    kernel: tuple[int, int], stride: int, pads: list[int], more: int, rectified: bool
) -> None:
    """The same function, and nothing where most of the weight would be zeros."""
    attributes: dict[str, object] = {"strides": [stride] * 2, "pads": pads, "output_padding": [more] * 2}
    up = node("ConvTranspose", ["input", "w", "b"], ["y"], name="up", kernel_shape=list(kernel), **attributes)
    rectifier = [node("Relu", ["y"], ["r"])] if rectified else []
    last = node("Conv", ["r" if rectified else "y", "last"], ["out"])
    constants = {"w": values(3, 5, *kernel), "b": values(5), "last": values(4, 5, 1, 1)}
    model = model_of([up, *rectifier, last], constants)
    taken = take_in(model, "m")
    operators = [found.op_type for found in taken.graph.node]
    size = [-(-side // stride) * stride for side in kernel]
    spread = size[0] * size[1] <= 2 * kernel[0] * kernel[1]
    assert ("DepthToSpace" in operators) == spread == ("ConvTranspose" not in operators)
    assert taken.graph.node[0].name == "up"
    if rectified and spread:
        assert operators[:2] == ["Conv", "Relu"]
    batch = values(2, 3, 7, 9)
    np.testing.assert_allclose(run(taken, batch)[0], run(model, batch)[0], atol=1e-4)


@pytest.mark.parametrize(
    "attributes",
    [{"group": 3}, {"dilations": [2, 2]}, {"strides": [1, 1]}, {"strides": [2, 3]}, {"auto_pad": "SAME_UPPER"}],
)
def test_other_transposed_convolutions_stay(attributes: dict[str, object]) -> None:
    up = node("ConvTranspose", ["input", "w"], ["y"], **{"strides": [2, 2], "kernel_shape": [2, 2]} | attributes)
    groups = int(str(attributes.get("group", 1)))
    constants = {"w": values(3, 2, 2, 2), "last": values(4, 2 * groups, 1, 1)}
    taken = take_in(model_of([up, node("Conv", ["y", "last"], ["out"])], constants), "m")
    assert [found.op_type for found in taken.graph.node] == ["ConvTranspose", "Conv"]


def test_a_transposed_convolution_that_makes_the_logits_stays() -> None:
    up = node("ConvTranspose", ["input", "w"], ["out"], strides=[2, 2], kernel_shape=[2, 2])
    taken = take_in(model_of([up], {"w": values(3, 5, 2, 2)}), "m")
    assert [found.op_type for found in taken.graph.node] == ["ConvTranspose"]
