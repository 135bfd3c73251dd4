"""Ranges that may end where what reads the tensor no longer tells one value from another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx

from fcn_onnx.calibration.table import Range, RangeTable
from fcn_onnx.model.graph import Graph
from fcn_onnx.model.uses import readers

ALPHA, BETA = 0.2, 0.5
"""Defaults of HardSigmoid."""


def narrowed(fp32: Graph, table: RangeTable) -> RangeTable:
    """The table with the range of every hard swish's input ending where the hard swish is 0.

    x · clip(αx + β, 0, 1) is 0 for all x ≤ −β/α (−3, as it is defined), so what is quantized to that need not be told
    from what lies below: the steps are finer for nothing.
    """
    ends = dict(_ends(fp32.model.graph))
    ranges = {
        name: Range(max(own.lowest, ends[name]), own.highest) if name in ends else own
        for name, own in table.ranges.items()
    }
    return replace(table, ranges=ranges) if ends else table


def _ends(graph: onnx.GraphProto) -> Iterator[tuple[str, float]]:
    """Each tensor that a HardSigmoid and the product with it alone read, and where that product begins."""
    found = readers(graph)
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        if node.op_type != "HardSigmoid" or node.input[0] in outputs:
            continue
        x, gate = node.input[0], node.output[0]
        others = [reader for reader, _ in found[x] if reader.name != node.name]
        if len(others) == 1 and others[0].op_type == "Mul" and set(others[0].input) == {x, gate}:
            given = {attribute.name: attribute.f for attribute in node.attribute}
            alpha, beta = given.get("alpha", ALPHA), given.get("beta", BETA)
            if alpha > 0 and beta >= 0:
                yield x, -beta / alpha
