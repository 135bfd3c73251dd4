"""What is told of a set of convolutions, against what is counted by hand and what models make."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from toys import residual_network

from fcn_onnx.quantization.regions import (
    EDGE_PASSES,
    UNROUNDED_PASSES,
    Flow,
    Prices,
    Region,
    State,
    Step,
    between,
    path,
)

CONVS = ("/stem", "/inner", "/branch")
TENSORS = ("input", "stem_relu", "inner_relu", "branch", "pool", "body")
INT8 = ("/stem", "/stem_relu", "/pool", "/inner", "/inner_relu", "/branch", "/sum", "/body")


@pytest.fixture
def flow() -> Flow:
    """The logits, which read `body`, are fp32."""
    return Flow.of(residual_network().graph, INT8, TENSORS)


def rounded(flow: Flow, state: State) -> set[str]:
    """Names of the activations that are rounded, as an error of 1 each tells."""
    found = set()
    for name in flow.activations:
        error, _ = Prices(flow, {name: 1.0}, {}).of(state)
        found |= {name} if error else set()
    return found


def test_an_activation_is_rounded_as_long_as_int8_writes_or_reads_it(flow: Flow) -> None:
    every = set(TENSORS)
    assert rounded(flow, State()) == every
    # no 8 bits reach the pool, whose own are wanted by `inner` all the same
    assert rounded(flow, State(frozenset({"/stem"}))) == every - {"input", "stem_relu"}
    assert rounded(flow, State(frozenset({"/inner"}))) == every
    # nothing of the Add is in 8 bits any more; its result, which only the logits read, neither
    assert rounded(flow, State(frozenset({"/branch"}))) == every - {"branch", "body"}
    assert rounded(flow, State(frozenset({"/inner", "/branch"}))) == every - {"inner_relu", "branch", "body"}
    assert rounded(flow, State(frozenset(CONVS))) == set()
    # it reads 8 bits still
    assert rounded(flow, State(unrounded=frozenset({"/branch"}))) == every - {"branch", "body"}


def test_errors_and_times_add_up(flow: Flow) -> None:
    errors = {name: 2.0**i for i, name in enumerate(TENSORS)}
    weights = {name: 100.0 * (i + 1) for i, name in enumerate(CONVS)}
    fp32, int8 = (
        {"/stem": 10.0, "/inner": 20.0, "/branch": 30.0, "/sum": 0.5},
        {"/stem": 1.0, "/inner": 2.0, "/branch": 3.0},
    )
    prices = Prices(flow, errors, weights, fp32, int8, {"branch": 100, "inner_relu": 1000, "pool": 10}, 0.01)
    assert prices.of(State()) == pytest.approx((sum(errors.values()) + 600, 6.0))
    error, ms = prices.of(State(frozenset({"/branch"})))
    assert error == pytest.approx(sum(errors.values()) + 300 - errors["branch"] - errors["body"])
    # the Add is fp32; what goes into `branch` and into the Add crosses
    assert ms == pytest.approx(1 + 2 + 30 + 0.5 + EDGE_PASSES * 0.01 * (1000 + 10))
    error, ms = prices.of(State(unrounded=frozenset({"/branch"})))
    assert error == pytest.approx(sum(errors.values()) + 600 - errors["branch"] - errors["body"])
    assert ms == pytest.approx(1 + 2 + 3 + 0.5 + 0.01 * (UNROUNDED_PASSES * 100 + EDGE_PASSES * 10))
    assert prices.of(State(frozenset(CONVS))) == pytest.approx((0.0, 60.5))


def test_candidates_are_layers_chains_and_what_feeds_adds(flow: Flow) -> None:
    found = {(region.convs, region.unrounded) for region in flow.regions(["/branch"])}
    assert found == {
        *(((name,), False) for name in CONVS),
        (("/inner", "/branch"), False),
        (("/branch",), True),
    }


def test_what_feeds_the_adds_of_a_stage_is_one_candidate() -> None:
    """Two blocks of one convolution each, whose sums follow one another."""
    weight = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "a"),
        helper.make_node("Conv", ["a", "w"], ["b"], "b"),
        helper.make_node("Add", ["b", "a"], ["s"], "s"),
        helper.make_node("Relu", ["s"], ["r"], "r"),
        helper.make_node("Conv", ["r", "w"], ["c"], "c"),
        helper.make_node("Add", ["c", "r"], ["t"], "t"),
        helper.make_node("Conv", ["t", "w"], ["d"], "d"),
    ]
    value = helper.make_tensor_value_info
    shape = [1, 4, 8, 8]
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, shape)], [value("d", TensorProto.FLOAT, shape)], [weight]
    )
    onnx.checker.check_graph(graph)
    flow = Flow.of(graph, [node.name for node in nodes], ["x", "a", "b", "r", "c", "t"])
    assert flow.between == {"s": ("b", "a"), "t": ("c", "s")}
    found = {region.convs for region in flow.regions(["a", "b", "c", "d"]) if region.unrounded}
    assert found == {("a",), ("b",), ("c",), ("d",), ("a", "b"), ("a", "b", "c")}
    writing, reading = flow.int8(State(unrounded=frozenset("bc")))
    assert (writing, reading) == ({"a", "d"}, {"a", "b", "c", "d"})


def test_the_way_goes_from_int8_to_fp32_by_what_gains_most_for_its_time(flow: Flow) -> None:
    errors = dict.fromkeys(TENSORS, 1.0)
    weights = {"/stem": 5.0, "/inner": 1.0, "/branch": 1.0}
    fp32, int8 = {"/stem": 2.0, "/inner": 9.0, "/branch": 9.0}, {"/stem": 1.0, "/inner": 1.0, "/branch": 1.0}
    prices = Prices(flow, errors, weights, fp32, int8)
    steps = path(prices, flow.regions())
    assert steps[0].state == State()
    assert steps[1].region == "/stem"  # 6 for 1 ms; any other no more than 3 for 8
    assert steps[-1].state == State(frozenset(CONVS))
    for before, after in pairwise(steps):
        assert after.error < before.error
        assert (after.error, after.ms) == prices.of(after.state)
        assert before.state.kept <= after.state.kept
    # by brute force: no first step gains more for its time
    gains = {
        kept: (steps[0].error - error) / (ms - steps[0].ms)
        for count in (1, 2)
        for kept in combinations(CONVS, count)
        for error, ms in [prices.of(State(frozenset(kept)))]
    }
    assert max(gains, key=lambda kept: gains[kept]) == ("/stem",)


def test_between_two_steps_convolutions_follow_one_by_one(flow: Flow) -> None:
    prices = Prices(flow, dict.fromkeys(TENSORS, 1.0), {}, dict.fromkeys(CONVS, 2.0), dict.fromkeys(CONVS, 1.0))
    low, high = Step(State(frozenset(), frozenset({"/branch"})), None, 0, 0), Step(State(frozenset(CONVS)), None, 0, 0)
    steps = between(prices, low, high)
    assert [len(step.state.kept) for step in steps] == [0, 1, 2, 3]
    assert (steps[0], steps[-1].state) == (low, high.state)
    assert between(prices, low, low) == [low]
    assert [step.state.unrounded for step in between(prices, Step(State(), None, 0, 0), low)] == [
        frozenset(),
        frozenset({"/branch"}),
    ]


def test_a_convolution_in_fp32_has_no_sums_to_leave_unrounded() -> None:
    state = Region("r", ("a", "b")).on(State(frozenset("c"), frozenset("ad")))
    assert state == State(frozenset("abc"), frozenset("d"))
    assert Region("s", ("a", "e"), unrounded=True).on(state) == State(frozenset("abc"), frozenset("de"))
