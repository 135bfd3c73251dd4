"""Proof that onnxruntime computes what torch computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.errors import ParityError
from fcn_onnx.runtime import Network

if TYPE_CHECKING:
    import torch

RTOL, ATOL = 1e-3, 2e-4
"""What the ONNX model zoo's conversion notebook asserts for FCN."""

SHAPES = ((1, 128, 128), (2, 65, 97), (1, 224, 160))
"""(batch, height, width): odd sizes and a batch of two among them."""

SEED = 0


@dataclass(frozen=True)
class ShapeParity:
    """Agreement on one input shape.

    Attributes:
        shape: of the input, (N, 3, H, W).
        max_abs_difference: over all outputs.
        max_abs_value: the largest magnitude that torch returned, to judge the difference by.
    """

    shape: tuple[int, int, int, int]
    max_abs_difference: float
    max_abs_value: float


@dataclass(frozen=True)
class Parity:
    """Agreement on every shape that was tried."""

    shapes: tuple[ShapeParity, ...]

    @property
    def max_abs_difference(self) -> float:
        """The largest of all."""
        return max(shape.max_abs_difference for shape in self.shapes)

    def __str__(self) -> str:
        tried = ", ".join("×".join(map(str, s.shape)) for s in self.shapes)
        largest = max(s.max_abs_value for s in self.shapes)
        return (
            f"parity with torch on {tried}: largest difference {self.max_abs_difference:.2e} "
            f"on values up to {largest:.1f} (rtol {RTOL:g}, atol {ATOL:g})"
        )


def check_parity(
    network: torch.nn.Module,
    model: onnx.ModelProto,
    *,
    outputs: tuple[str, ...],
    size: tuple[int, int] | None,
) -> Parity:
    """Compare torch and onnxruntime on seeded normal inputs.

    Raises:
        ParityError: an output differs by more than `ATOL + RTOL · |torch|` somewhere, or has another shape.
    """
    import torch

    session = Network(model, name="the exported model")
    rng = np.random.default_rng(SEED)
    shapes = [(1, *size), (2, *size)] if size else SHAPES
    found = []
    for batch, height, width in shapes:
        values = rng.standard_normal((batch, 3, height, width), np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(values))
        actual = session.run(values, outputs)
        largest_difference = largest_value = 0.0
        for name in outputs:
            reference = expected[name].numpy()
            difference, value = _compare(name, reference, actual[name], values.shape)
            largest_difference = max(largest_difference, difference)
            largest_value = max(largest_value, value)
        found.append(ShapeParity((batch, 3, height, width), largest_difference, largest_value))
    return Parity(tuple(found))


def _compare(
    name: str, reference: NDArray[np.float32], actual: NDArray[np.float32], shape: tuple[int, ...]
) -> tuple[float, float]:
    if reference.shape != actual.shape:
        raise ParityError(
            f"output {name} for an input of {shape} is {actual.shape}, and torch's is {reference.shape}",
            fix="report this with the versions that `fcn-onnx doctor` prints",
        )
    difference = np.abs(reference - actual)
    excess = difference - (ATOL + RTOL * np.abs(reference))
    if not (excess <= 0).all():  # also true of NaN
        raise ParityError(
            f"output {name} for an input of {shape} differs from torch by up to {difference.max():.2e} "
            f"(values up to {np.abs(reference).max():.1f}; allowed: rtol {RTOL:g}, atol {ATOL:g})",
            fix="try another opset, or report this with the versions that `fcn-onnx doctor` prints",
        )
    return float(difference.max()), float(np.abs(reference).max())
