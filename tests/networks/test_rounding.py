"""A file may be as far from exact logits as rounding puts torch itself, and not much farther."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from fcn_onnx.errors import ParityError
from fcn_onnx.networks.parity import check_parity
from fcn_onnx.networks.rounding import OWN_ROUNDINGS, measure

LARGE = {"float32": 8192.0, "float16": 1024.0}
STEP = {"float32": 2.0**-10, "float16": 1.0}
"""Between neighbours of a type at those values: rounding errs by half of it."""


class Cancels(torch.nn.Module):
    """Ten times its input, of which what lies below the step of a large number is rounded away."""

    def __init__(self, large: float) -> None:
        super().__init__()
        self.register_buffer("large", torch.tensor(large))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": (10 * x + self.large) - self.large}


class Single(Cancels):
    """The same in float32 alone."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        if x.dtype != torch.float32:
            raise RuntimeError("expected float32")
        return super().forward(x)


def ten_times(offset: float) -> onnx.ModelProto:
    """10 · x + offset, without that rounding."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "ten"], ["scaled"]), helper.make_node("Add", ["scaled", "offset"], ["out"])],
        "ten",
        [value("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [value("out", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [
            helper.make_tensor(name, TensorProto.FLOAT, [], [number])
            for name, number in (("ten", 10), ("offset", offset))
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_how_far_torch_is_from_exact_is_measured(precision: str) -> None:
    values = np.linspace(-3, 3, 3 * 8 * 8, dtype=np.float32).reshape(1, 3, 8, 8)
    found = measure(Cancels(LARGE[precision]), values, ("out",), precision)
    assert found is not None
    assert found["out"].own == pytest.approx(STEP[precision] / 2, rel=0.1)
    np.testing.assert_allclose(found["out"].exact, 10 * values.astype(np.float64), atol=1e-3)
    assert measure(Single(LARGE[precision]), values, ("out",), precision) is None


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_what_rounding_explains_is_parity(precision: str) -> None:
    """Half of what is allowed passes, and is said; half as much again does not."""
    network, allowed = Cancels(LARGE[precision]), OWN_ROUNDINGS * STEP[precision] / 2
    found = check_parity(network, ten_times(allowed / 2), outputs=("out",), size=(16, 16), precision=precision)
    first = found.shapes[0]
    assert first.max_abs_error == pytest.approx(allowed / 2, rel=0.05, abs=STEP["float32"])
    assert first.own_error == pytest.approx(STEP[precision] / 2, rel=0.1)
    assert "; beyond it" in str(found)
    with pytest.raises(ParityError, match=r"differs from torch by up to .* and torch's own"):
        check_parity(network, ten_times(1.5 * allowed), outputs=("out",), size=(16, 16), precision=precision)


def test_where_nothing_is_exact_the_tolerance_stands() -> None:
    with pytest.raises(ParityError, match="differs from torch by up to") as caught:
        check_parity(Single(LARGE["float32"]), ten_times(0), outputs=("out",), size=(16, 16))
    assert "torch's own" not in str(caught.value)
