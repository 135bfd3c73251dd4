"""int8 weights against literal loops, and against onnxruntime's kernels."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fcn_onnx.calibration.table import Range, RangeTable
from fcn_onnx.quantization.corrections import correct_biases, mean_shift, mean_shifts
from fcn_onnx.quantization.weights import QuantizedWeight, quantize_weight, quantize_weights, unsafe_pairs
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import options_of

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 6), st.sampled_from([1, 3]), st.sampled_from([1, 3]))


def drawn(shape: tuple[int, ...], seed: int, *, heavy: bool = True) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.standard_t(2, shape) if heavy else rng.standard_normal(shape)
    return (values * 10.0 ** rng.integers(-4, 3)).astype(np.float32)


def pairs_of(q: np.ndarray) -> list[tuple[int, int]]:
    """Neighbours as the kernel takes them: all input channels of a kernel position, then the next position."""
    found = []
    for channel in q.astype(int):
        order = [channel[i, y, x] for y in range(q.shape[2]) for x in range(q.shape[3]) for i in range(q.shape[1])]
        found += list(zip(order[0::2], order[1::2], strict=False))
    return found


@given(SHAPES, st.integers(0, 10_000), st.booleans())
def test_no_pair_can_saturate_and_no_weight_moves_far(
    shape: tuple[int, int, int, int], seed: int, per_channel: bool
) -> None:
    weight = drawn(shape, seed)
    safe = quantize_weight(weight, per_channel=per_channel, pair_safe=True)
    assert all(abs(a + b) <= 128 for a, b in pairs_of(safe.q))
    assert unsafe_pairs(safe.q) == 0
    plain = quantize_weight(weight, per_channel=per_channel)
    assert unsafe_pairs(plain.q) == sum(abs(a + b) > 128 for a, b in pairs_of(plain.q))
    if unsafe_pairs(plain.q) == 0:
        assert (safe.q == plain.q).all()
    # twice the usual scale always serves, so no error is worse than what its steps allow
    largest = np.abs(weight).reshape(len(weight), -1).max(1)
    largest = largest if per_channel else np.full_like(largest, largest.max())
    allowed = (largest / 127.0) ** 2 * weight[0].size
    error = ((safe.values() - weight) ** 2).sum((1, 2, 3))
    assert (error <= allowed * 1.0001).all() if per_channel else error.sum() <= allowed.sum() * 1.0001


@given(SHAPES, st.integers(0, 10_000))
def test_plain_weights_are_rounded_to_the_nearest_at_a_scale_no_worse_than_the_usual(
    shape: tuple[int, int, int, int], seed: int
) -> None:
    weight = drawn(shape, seed)
    found = quantize_weight(weight)
    scale = found.scale.reshape(-1, 1, 1, 1).astype(np.float64)
    assert (np.abs(found.values() - weight) <= scale * 0.5001).all()
    usual = np.abs(weight).reshape(len(weight), -1).max(1).reshape(-1, 1, 1, 1) / 127.0
    theirs = ((np.rint(weight / usual) * usual - weight) ** 2).sum((1, 2, 3))
    assert (((found.values() - weight) ** 2).sum((1, 2, 3)) <= theirs * 1.0001 + 1e-30).all()


def test_weights_on_a_fixed_point_grid_are_kept_exactly() -> None:
    rng = np.random.default_rng(0)
    weight = (rng.integers(-128, 128, (8, 16, 3, 3)) * 2.0**-7).astype(np.float32)
    weight[:, 0, 0, 0] = -1.0
    found = quantize_weight(weight)
    assert (found.values() == weight).all()
    assert (found.scale == 2.0**-7).all()


def test_per_tensor_has_one_scale() -> None:
    found = quantize_weight(drawn((6, 4, 3, 3), 1), per_channel=False, pair_safe=True)
    assert len(set(found.scale.tolist())) == 1


def one_conv(weight: np.ndarray, bias: np.ndarray | None) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(weight, "w")]
    if bias is not None:
        initializers.append(numpy_helper.from_array(bias, "b"))
    names = ["x", "w", "b"][: 2 + (bias is not None)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", names, ["y"], name="conv")],
        "one",
        [value("x", TensorProto.FLOAT, ["n", weight.shape[1], "h", "w"])],
        [value("y", TensorProto.FLOAT, None)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


@pytest.mark.parametrize("largest", [0.0, 1e-9, 1.0])
def test_the_bias_of_a_dead_channel_fits_int32(largest: float) -> None:
    """A bias is stored as b / (activation step · weight scale) in int32; a dead channel must not make that overflow."""
    weight = np.full((2, 4, 1, 1), largest, np.float32)
    weight[1] = 0.5
    model = one_conv(weight, np.array([7.0, 0.1], np.float32))
    table = RangeTable({"x": Range(0.0, 2.55)}, "minmax", "", {}, {})
    found = quantize_weights(model, table, frozenset({"conv"}), per_channel=True, pair_safe=False)["w"]
    assert np.abs(np.array([7.0, 0.1]) / (0.01 * found.scale.astype(np.float64))).max() < 2**31 - 1
    assert np.isfinite(found.values()).all()
    assert found.values()[1] == pytest.approx(weight[1], rel=1e-2)


@pytest.mark.parametrize(
    ("inputs", "outputs", "group", "paired"),
    [(1, 8, 1, True), (1, 1, 1, False), (4, 8, 4, True), (8, 8, 8, False), (8, 4, 4, True), (6, 9, 3, True)],
)
def test_only_truly_depthwise_weights_are_left_unpaired(inputs: int, outputs: int, group: int, paired: bool) -> None:
    """One input channel a group is not depthwise: with a depth multiplier, or one input channel, pairs run over the
    positions. (What each kernel does was read off it with `tools/kernel_pairs.py`.)"""
    weight = np.abs(drawn((outputs, inputs // group, 3, 3), 5, heavy=False))
    model = one_conv(weight, None)
    model.graph.node[0].attribute.append(helper.make_attribute("group", group))
    table = RangeTable({"x": Range(0.0, 2.55)}, "minmax", "", {}, {})
    found = quantize_weights(model, table, frozenset({"conv"}), per_channel=True, pair_safe=True)["w"].q
    assert any(abs(a + b) > 128 for a, b in pairs_of(quantize_weight(weight).q))
    if paired:
        assert all(abs(a + b) <= 128 for a, b in pairs_of(found))
    else:
        assert (found == quantize_weight(weight).q).all()


@given(st.integers(0, 1000), st.sampled_from([1, 2, 4]), st.booleans())
def test_bias_correction_keeps_the_mean_of_every_channel(seed: int, groups: int, with_bias: bool) -> None:
    """The convolution itself says so: on an input whose channels are constant, rounding changes nothing."""
    rng = np.random.default_rng(seed)
    weight = drawn((8, 4, 3, 3), seed, heavy=False)
    bias = rng.standard_normal(8).astype(np.float32) if with_bias else None
    inputs = 4 * groups
    model = one_conv(weight, bias)
    model.graph.node[0].attribute.append(helper.make_attribute("group", groups))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = inputs
    means = tuple(rng.standard_normal(inputs).astype(np.float32).tolist())
    rounded = {"w": quantize_weight(weight, pair_safe=True)}
    corrected = one_conv(rounded["w"].values(), bias)
    corrected.graph.node[0].CopyFrom(model.graph.node[0])
    corrected.graph.input[0].CopyFrom(model.graph.input[0])
    correct_biases(corrected, mean_shifts(model, rounded, {"x": means}))
    batch = np.tile(np.array(means, np.float32).reshape(1, -1, 1, 1), (1, 1, 5, 6))
    before, after = (
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": batch})[0]
        for m in (model, corrected)
    )
    assert after == pytest.approx(before, rel=1e-3, abs=1e-4 * float(np.abs(before).max()))


def test_mean_shift_is_the_literal_sum() -> None:
    rng = np.random.default_rng(3)
    change, means = rng.standard_normal((6, 2, 3, 3)).astype(np.float32), rng.standard_normal(4)
    literal = [
        sum(change[o, i].sum(dtype=np.float64) * means[2 * (o // 3) + i] for i in range(2)) for o in range(6)
    ]  # two groups: outputs 0-2 read channels 0-1, outputs 3-5 channels 2-3
    assert mean_shift(change, means) == pytest.approx(np.array(literal))


@pytest.mark.parametrize(("inputs", "kernel"), [(3, 7), (16, 1), (16, 3), (5, 3), (64, 1)])
def test_fast_and_exact_kernels_agree_at_full_range(inputs: int, kernel: int) -> None:
    """The bound is a proof only if the pairs are the kernel's own. (With VNNI the fast kernel is exact anyway.)"""
    weight = drawn((32, inputs, kernel, kernel), inputs * kernel)
    found = quantize_weight(weight, pair_safe=True)
    model = integer_conv(found)
    rng = np.random.default_rng(0)
    for batch in (np.full((1, inputs, 12, 12), 255, np.uint8), rng.integers(0, 256, (1, inputs, 12, 12), np.uint8)):
        fast, exact = (
            run_integer(model, batch, config) for config in (SessionConfig(), SessionConfig(exact_int8=True))
        )
        assert (fast == exact).all()


def integer_conv(weight: QuantizedWeight) -> onnx.ModelProto:
    """A QLinearConv whose outputs use the whole of uint8."""
    constants = {
        "one": np.float32(1),
        "u0": np.uint8(0),
        "s0": np.zeros(len(weight.q), np.int8),
        "w": weight.q,
        "ws": np.ones(len(weight.q), np.float32),
        "ys": np.float32(max(1, np.abs(weight.q.astype(int)).reshape(len(weight.q), -1).sum(1).max())),
        "yz": np.uint8(128),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", ["x", "one", "u0", "w", "ws", "s0", "ys", "yz"], ["y"])],
        "integers",
        [value("x", TensorProto.UINT8, [1, weight.q.shape[1], 12, 12])],
        [value("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def run_integer(model: onnx.ModelProto, batch: np.ndarray, config: SessionConfig) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), options_of(config), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": batch})[0]
