"""What computes in int8 alone among fp32 nodes stays fp32, and nothing else does."""

from __future__ import annotations

import numpy as np
from foreign.attention import gelu, layer_norm
from foreign.drawing import Drawing
from foreign.encoder_decoders import hardswish

from fcn_onnx.model.graph import Graph
from fcn_onnx.model.intake import take_in
from fcn_onnx.quantization.islands import float_islands
from fcn_onnx.quantization.plan import INT8_OPS


def islands(drawn: Drawing, output: str, *logits: str) -> set[str]:
    """Operators of the islands, with the convolutions named in fp32."""
    model = take_in(drawn.model([output]), "drawn")
    makers = {node.output[0]: node.name for node in model.graph.node}
    operators = {node.name: node.op_type for node in model.graph.node}
    found = float_islands(Graph(model), INT8_OPS, [makers[name] for name in logits])
    assert list(found) == [name for name in operators if name in found]
    return {operators[name] for name in found}


def test_residual_blocks_pooling_and_concatenation_between_convolutions_are_int8() -> None:
    d = Drawing(0, 13)
    x = d.pool(d.relu(d.conv(d.input, 8)))
    x = d.relu(d.op("Add", d.conv(d.relu(d.conv(x, 8)), 8), x))
    pooled = d.conv(d.op("GlobalAveragePool", x), 4, 1)
    wide = d.op("Resize", pooled, d.constant([]), d.constant([1, 1, 32, 32]), mode="nearest")
    x = d.op("Concat", x, wide, axis=1)
    assert islands(d, d.conv(x, 5, 1)) == set()


def test_a_sum_that_only_the_logits_read_stays_fp32() -> None:
    d = Drawing(0, 13)
    x = d.relu(d.conv(d.input, 8))
    x = d.relu(d.op("Add", d.conv(x, 8), x))
    logits = d.classify(x)
    assert islands(d, logits, logits) == {"Add", "Relu"}


def test_a_rectifier_behind_an_int8_convolution_costs_nothing_and_one_behind_an_fp32_convolution_is_no_use() -> None:
    d = Drawing(0, 13)
    first = d.conv(d.input, 8)
    logits = d.classify(d.relu(first))
    assert islands(d, logits, logits) == set()
    assert islands(d, logits, first, logits) == {"Relu"}


def test_layer_norms_and_gelus_in_primitive_operators_stay_fp32_and_hard_swishes_do_not() -> None:
    for draw, expected in ((layer_norm, {"Add", "Mul"}), (gelu, {"Add", "Mul"}), (hardswish, set())):
        d = Drawing(0, 13)
        x = draw(d, d.conv(d.input, 8))
        assert islands(d, d.conv(x, 5, 1)) == expected, draw


def test_a_gate_is_int8_where_what_it_gates_is() -> None:
    d = Drawing(0, 13)
    x = d.relu(d.conv(d.input, 8))
    gate = d.op("Sigmoid", d.conv(d.op("GlobalAveragePool", x), 8, 1))
    assert islands(d, d.conv(d.op("Mul", x, gate), 5, 1)) == set()
    smooth = d.op("Tanh", x)
    assert islands(d, d.conv(d.op("Mul", smooth, gate), 5, 1)) == {"Sigmoid", "Mul"}


def test_a_sum_with_what_nothing_quantizes_stays_fp32_and_one_with_what_a_convolution_reads_does_not() -> None:
    d = Drawing(0, 13)
    x = d.relu(d.conv(d.input, 8))
    scaled = d.op("Mul", x, d.constant(np.linspace(0.1, 1, 8).reshape(8, 1, 1)))
    assert islands(d, d.conv(d.op("Add", x, scaled), 5, 1)) == {"Add", "Mul"}
    read_too = d.op("Add", d.conv(scaled, 8), scaled)
    assert islands(d, d.conv(read_too, 5, 1)) == {"Mul"}


def test_eight_bits_pass_through_what_only_moves_values() -> None:
    d = Drawing(0, 13)
    x = d.relu(d.conv(d.input, 8))
    pooled = d.op("Reshape", d.op("GlobalAveragePool", x), d.integers(0, 8, 1, 1))
    gate = d.op("Sigmoid", d.conv(pooled, 8, 1))
    assert islands(d, d.conv(d.op("Mul", x, gate), 5, 1)) == set()
    moved = d.op("Transpose", d.op("Transpose", x, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    assert islands(d, d.conv(d.op("Add", moved, d.conv(x, 8)), 5, 1)) == set()
