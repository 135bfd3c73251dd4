"""What the values of an output mean, read off the graph that makes them: logits, probabilities or labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Shape = tuple[int | None, ...]


class Meaning(Enum):
    """What each value of an output is."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    LOG_PROBABILITIES = "log-probabilities"
    LABELS = "labels"

    def certainty(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probability of the likeliest class, (h, w) float32 in [0, 1], of scores (C, h, w) that mean this."""
        highest = scores.max(0)
        if self is Meaning.LOGITS:
            total, term = np.zeros_like(highest), np.empty_like(highest)
            for plane in scores:  # one by one: of a large photograph all of them are a gigabyte
                total += np.exp(np.subtract(plane, highest, out=term), out=term)
            certain: NDArray[np.float32] = 1 / total
            return certain
        clipped: NDArray[np.float32] = np.clip(np.exp(highest) if self is Meaning.LOG_PROBABILITIES else highest, 0, 1)
        return clipped


_SHOWING = frozenset(
    {
        *("Resize", "Upsample", "Transpose", "Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
        *("Slice", "Pad", "Clip", "Dropout", "QuantizeLinear", "DequantizeLinear", "GatherND", "Gather"),
    }
)
"""Operators that show what they read, at another place, size or precision."""

_PROBABLE = frozenset({"Softmax", "QLinearSoftmax", "Sigmoid", "QLinearSigmoid", "HardSigmoid"})
_DECIDED = frozenset(
    {"ArgMax", "ArgMin", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "TopK"}
)


def meaning_of(model: onnx.ModelProto, output: str) -> Meaning:
    """What the values of `output` are; what nothing says otherwise of are logits."""
    return _meaning(output, {name: node for node in model.graph.node for name in node.output})


def _meaning(tensor: str, makers: Mapping[str, onnx.NodeProto]) -> Meaning:
    node = makers.get(tensor)
    while node is not None and node.op_type in _SHOWING:
        node = makers.get(node.input[0])
    if node is None:
        return Meaning.LOGITS
    if node.op_type in _PROBABLE:
        return Meaning.PROBABILITIES
    if node.op_type in _DECIDED:
        return Meaning.LABELS
    if node.op_type == "LogSoftmax":
        return Meaning.LOG_PROBABILITIES
    if node.op_type == "Div" and [n and n.op_type for n in map(makers.get, node.input)] == ["Exp", "ReduceSum"]:
        return Meaning.PROBABILITIES  # a softmax in steps
    before = _meaning(node.input[0], makers) if node.op_type in {"Log", "Exp", "Round"} else Meaning.LOGITS
    return {
        ("Log", Meaning.PROBABILITIES): Meaning.LOG_PROBABILITIES,
        ("Exp", Meaning.LOG_PROBABILITIES): Meaning.PROBABILITIES,
        ("Round", Meaning.PROBABILITIES): Meaning.LABELS,
    }.get((node.op_type, before), Meaning.LOGITS)


def is_label_type(dtype: np.dtype[np.generic]) -> bool:
    """Integers and booleans are labels, whatever made them."""
    return bool(np.issubdtype(dtype, np.integer) or dtype == np.bool_)


@dataclass(frozen=True)
class Axes:
    """Which axis of an output's array is what; None where it has no such axis."""

    batch: int | None
    planes: int | None
    rows: int
    columns: int

    @classmethod
    def of(cls, shape: Shape, planes: int, *, channels_last: bool) -> Axes | None:
        """Find so many planes an image, classes or the one of labels; None where they are nowhere.

        Known are (N, C, H, W) and (N, H, W, C), the order of the model's input being looked for first, each without the
        batch too, and (N, H, W) and (H, W) of one plane.
        """
        last = len(shape) - 1
        if len(shape) in (3, 4):
            first = len(shape) - 3
            for axis in (last, first) if channels_last else (first, last):
                if shape[axis] == planes and not (len(shape) == 3 and planes == 1):
                    rows, columns = (i for i in range(first, last + 1) if i != axis)
                    return cls(0 if first else None, axis, rows, columns)
        if planes == 1 and len(shape) in (2, 3):
            return cls(0 if len(shape) == 3 else None, None, last - 1, last)
        return None

    def first(self, value: NDArray[Any]) -> NDArray[Any]:
        """The planes (C, h, w) of the first image."""
        if self.planes is None:
            plane: NDArray[Any] = value[(0,) * (value.ndim - 2)][None]
            return plane
        ordered: NDArray[Any] = value.transpose(
            *(a for a in (self.batch, self.planes, self.rows, self.columns) if a is not None)
        )
        return ordered[0] if self.batch is not None else ordered
