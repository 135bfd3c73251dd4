"""Which Clips are quantizers, and what they say of which tensors."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fcn_onnx.calibration.clips import Clips, read_clips
from fcn_onnx.calibration.table import Range
from fcn_onnx.model.graph import Graph
from fcn_onnx.model.intake import take_in

U8, S8 = (lambda top: Range(0.0, top * 255 / 256)), (lambda top: Range(-top, top * 127 / 128))


def read(*nodes: tuple[str, list[str], str], opset: int = 13, image: float = 2.0, **attributes: object) -> Clips:
    """Of a graph of these nodes; `Conv` gets a weight, `Clip` has its bounds in its name: `Clip 0 4`."""
    constants, made = [], []
    for op, inputs, output in nodes:
        kind, *bounds = op.split()
        extra = []
        for index, bound in enumerate(bounds):
            constants.append(numpy_helper.from_array(np.array(bound, np.float32), f"{output}.{index}"))
            extra.append(f"{output}.{index}")
        if kind == "Conv":
            constants.append(numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), f"{output}.w"))
            extra.append(f"{output}.w")
        if kind == "Resize":
            constants.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), f"{output}.s"))
            extra += ["", f"{output}.s"]
        own = {"Concat": {"axis": 1}, "MaxPool": {"kernel_shape": [1, 1]}, "Resize": {"mode": "linear"}}.get(kind, {})
        own |= attributes if kind == "Resize" else {}
        made.append(helper.make_node(kind, [*inputs, *extra], [output], output, **own))
    image_value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])
    result = helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, [1, "c", "h", "w"])
    graph = helper.make_graph(made, "g", [image_value], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model)
    return read_clips(Graph(take_in(model, "it")), image)


def test_powers_of_two_are_quantizers_and_other_bounds_are_not() -> None:
    found = read(
        ("Clip -2 2", ["x"], "a"),
        ("Conv", ["a"], "b"),
        ("Clip 0 0.25", ["b"], "c"),
        ("Conv", ["c"], "d"),
        ("Clip -64 64", ["d"], "e"),
    )
    assert found == Clips(
        {"x": S8(2), "a": S8(2), "b": U8(0.25), "c": U8(0.25), "d": S8(64), "e": S8(64)}, 3, (), (), (), ()
    )


@pytest.mark.parametrize("bounds", ["0 6", "0 3", "-1 2", "-4 2", "1 2", "0 0", "-2 -1", "-6 6", "0 1e30"])
def test_other_bounds_are_none(bounds: str) -> None:
    found = read(("Clip -2 2", ["x"], "a"), ("Conv", ["a"], "b"), (f"Clip {bounds}", ["b"], "c"), ("Conv", ["c"], "d"))
    assert found.count == 1
    assert found.missing == ("b",)


@pytest.mark.parametrize("op", ["Relu", "Clip 0"])
def test_a_bound_that_is_not_there_is_none(op: str) -> None:
    found = read(("Conv", ["x"], "a"), (op, ["a"], "b"), ("Conv", ["b"], "c"), ("Clip 0 4", ["c"], "d"))
    assert (found.count, found.missing) == (1, ("a", "b"))


def test_sums_of_resized_maps_are_in_fp32() -> None:
    found = read(
        ("Conv", ["x"], "z"),
        ("Clip -2 2", ["z"], "a"),
        ("Resize", ["a"], "r"),
        ("Resize", ["r"], "s"),
        ("Concat", ["s", "s"], "cat"),
        ("Clip -2 2", ["cat"], "c"),
        ("Add", ["s", "s"], "sum"),
        ("Clip -8 8", ["sum"], "d"),
        ("Concat", ["c", "d"], "both"),
        ("Clip -16 16", ["both"], "e"),
        ("Add", ["e", "e"], "f"),
        ("Clip -16 16", ["f"], "g"),
    )
    assert found.float_nodes == ("cat", "sum")
    assert not {"r", "s"} & found.ranges.keys()
    assert found.unrounded == ()


def test_a_layer_that_reads_what_was_resized_reads_its_codes() -> None:
    nodes = (("Clip 0 4", ["x"], "a"), ("Resize", ["a"], "r"), ("Conv", ["r"], "b"), ("Clip -8 8", ["b"], "c"))
    found = read(*nodes)
    assert found.ranges["r"] == U8(4)
    assert (found.derived, found.missing) == (("r",), ())
    assert read(*nodes, mode="cubic").missing == ("r",)  # it leaves the range of what it reads


@pytest.mark.parametrize(("image", "top"), [(2.0, 2), (2.64, 4), (0.3, 0.5)])
def test_the_input_gets_what_holds_every_photograph(image: float, top: float) -> None:
    found = read(("Conv", ["x"], "a"), ("Clip 0 4", ["a"], "b"), image=image)
    assert found.ranges["x"] == S8(top)
    assert found.derived == ("x",)


def test_a_last_layer_without_a_quantizer_is_in_fp32() -> None:
    found = read(("Clip -2 2", ["x"], "a"), ("Conv", ["a"], "b"), ("Clip 0 4", ["b"], "c"), ("Conv", ["c"], "d"))
    assert (found.float_nodes, found.missing) == (("d",), ())


@pytest.mark.parametrize(("after", "floats"), [("Clip 0 4", ()), ("Clip 0 2", ("p",)), (None, ())])
def test_a_pooling_makes_other_codes_only_in_fp32(after: str | None, floats: tuple[str, ...]) -> None:
    pooled = [(after, ["p"], "q")] if after else []
    last = "q" if after else "p"
    found = read(
        ("Clip 0 4", ["x"], "a"), ("MaxPool", ["a"], "p"), *pooled, ("Conv", [last], "b"), ("Clip 0 4", ["b"], "c")
    )
    assert (found.float_nodes, found.missing) == (floats, ())


def test_what_nothing_rounds_is_named() -> None:
    """A clip between a sum in fp32 and a resizing."""
    found = read(
        ("Clip 0 2", ["x"], "a"),
        ("Resize", ["a"], "r"),
        ("Add", ["r", "r"], "sum"),
        ("Clip 0 4", ["sum"], "b"),
        ("Resize", ["b"], "s"),
        ("Concat", ["s", "s"], "cat"),
        ("Clip 0 4", ["cat"], "c"),
        ("Conv", ["c"], "d"),
        ("Clip 0 4", ["d"], "e"),
    )
    assert found.float_nodes == ("sum", "cat")
    assert found.unrounded == ("a", "b")
