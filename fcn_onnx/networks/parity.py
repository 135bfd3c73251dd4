"""Proof that onnxruntime computes what torch computes, in the form that is written: logits or labels, fp32 or fp16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.errors import BeyondToleranceError, ParityError
from fcn_onnx.networks.rounding import TYPES, Rounding, measure
from fcn_onnx.runtime.network import Network

if TYPE_CHECKING:
    import torch

Logits = NDArray[np.float32]

RTOL, ATOL = 1e-3, 2e-4
"""What the ONNX model zoo's conversion notebook asserts for FCN."""

HALF_ROUNDINGS = 8
"""Of float16 at the largest logit, 2⁻¹¹ of it each. Networks here err by one or two: 8.6e-4 of it at most."""

SHAPES = ((1, 128, 128), (2, 65, 97), (1, 224, 160))
"""(batch, height, width): odd sizes and a batch of two among them."""

SEED = 0
FIX = "try another opset, or report this with the versions that `fcn-onnx doctor` prints"


@dataclass(frozen=True)
class Precision:
    """How near to torch a file must be.

    Attributes:
        words: the tolerance, for the reader.
        allowed: the largest difference at each logit of torch's, float32 (N, C, H, W) to the same.
    """

    words: Callable[[], str]
    allowed: Callable[[Logits], Logits]


def _half(reference: Logits) -> Logits:
    return np.full_like(reference, HALF_ROUNDINGS * 2**-11 * np.abs(reference).max())


PRECISIONS: Mapping[str, Precision] = {
    "float32": Precision(lambda: f"rtol {RTOL:g}, atol {ATOL:g}", lambda reference: ATOL + RTOL * np.abs(reference)),
    "float16": Precision(lambda: f"{HALF_ROUNDINGS} roundings of the largest value", _half),
}


@dataclass(frozen=True)
class ShapeParity:
    """Agreement on one input shape.

    Attributes:
        shape: of the input, (N, 3, H, W).
        max_abs_difference: of logits over all outputs. Where the file returns labels: by how much torch's logit of such
            a label falls short of torch's largest.
        max_abs_value: the largest magnitude that torch returned, to judge the difference by.
        labels: how many labels all outputs have.
        labels_differ: how many of them are not torch's.
        max_abs_error, own_error: where the difference is larger than the fixed tolerance: the file's distance from
            torch's logits in the next better type, and torch's own, see `networks.rounding`; None elsewhere.
    """

    shape: tuple[int, int, int, int]
    max_abs_difference: float
    max_abs_value: float
    labels: int
    labels_differ: int
    max_abs_error: float | None = None
    own_error: float | None = None


@dataclass(frozen=True)
class Parity:
    """Agreement of one file on every shape that was tried.

    Attributes:
        returns: what was compared, `logits` or `labels`.
        precision: a name in `PRECISIONS`, what the file computes in.
        shapes: what was found.
    """

    returns: str
    precision: str
    shapes: tuple[ShapeParity, ...]

    @property
    def max_abs_difference(self) -> float:
        """The largest of all."""
        return max(shape.max_abs_difference for shape in self.shapes)

    @property
    def labels_differ(self) -> int:
        """How many labels are not torch's, of all shapes."""
        return sum(shape.labels_differ for shape in self.shapes)

    def to_json(self) -> dict[str, Any]:
        """As part of `export --json`."""
        return asdict(self) | {"max_abs_difference": self.max_abs_difference, "labels_differ": self.labels_differ}

    def __str__(self) -> str:
        tried = ", ".join("×".join(map(str, s.shape)) for s in self.shapes)
        largest = max(s.max_abs_value for s in self.shapes)
        tolerance = PRECISIONS[self.precision].words()
        labels = f"{self.labels_differ} of {sum(shape.labels for shape in self.shapes)} labels differ"
        form = "" if self.precision == "float32" else f" in {self.precision}"
        if self.returns == "labels":
            return (
                f"parity of the labels{form} with torch's argmax on {tried}: {labels}, ties within the tolerance, "
                f"{self.max_abs_difference:.2e} at most below the largest of logits "
                f"up to {_size(largest)} ({tolerance})"
            )
        return (
            f"parity{form} with torch on {tried}: largest difference {self.max_abs_difference:.2e} "
            f"on values up to {_size(largest)} ({tolerance}{self._rounded()}){f', {labels}' if form else ''}"
        )

    def _rounded(self) -> str:
        """Of what was larger than the tolerance, how far both are from exact logits."""
        ours = max((s.max_abs_error for s in self.shapes if s.max_abs_error is not None), default=None)
        if ours is None:
            return ""
        own = max(s.own_error for s in self.shapes if s.own_error is not None)
        exact = TYPES[self.precision][1]
        return f"; beyond it {ours:.2e} from torch in {exact}, where {self.precision} torch is {own:.2e} away"


def _size(value: float) -> str:
    """In tenths; of what the tolerance is no small part of, more, and a word."""
    return f"{value:.1f}" if value > 500 * ATOL else f"{value:.1e}, too little to tell much"


def check_parity(
    network: torch.nn.Module,
    model: Path | onnx.ModelProto,
    *,
    outputs: tuple[str, ...],
    size: tuple[int, int] | None,
    precision: str = "float32",
    multiple_of: int | None = None,
) -> Parity:
    """Compare torch and onnxruntime on seeded normal inputs.

    Labels are compared with torch's argmax; a label is right, too, whose logit torch has within the tolerance of its
    largest. Logits beyond the tolerance are right where they are no farther from torch's in the next better type than
    `rounding.OWN_ROUNDINGS` times torch's own are: a network that magnifies rounding does so in torch too.

    Args:
        network: its forward returns logits (N, C, H, W) by name.
        model: the file that is written, or a model in memory; its outputs are such logits, or uint8 labels (N, H, W).
        outputs: which to compare.
        size: the one (height, width) that the model takes; None if it takes any.
        precision: a name in `PRECISIONS`.
        multiple_of: what the network's sides must be multiples of; the inputs' are rounded up to it.

    Raises:
        ParityError: an output has another shape, or differs by more than the precision allows.
    """
    import torch

    session = Network(model, name="the exported model", multiple_of=multiple_of)
    rng = np.random.default_rng(SEED)
    shapes = [(1, *size), (2, *size)] if size else SHAPES
    found, kinds = [], set()
    for batch, *sides in shapes:
        height, width = session.form.padded_size(*sides)
        values = rng.standard_normal((batch, 3, height, width), np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(values))
        actual: Mapping[str, NDArray[Any]] = session.run(values, outputs)
        rounding = cache(partial(measure, network, values, outputs, precision))
        parts, errors = [], []
        for name in outputs:
            where = f"output {name} for an input of {values.shape}"
            reference, value = expected[name].numpy(), actual[name]
            kinds.add("labels" if value.dtype == np.uint8 else "logits")
            compare = _compare_labels if value.dtype == np.uint8 else _compare_logits
            try:
                parts.append(compare(where, reference, value, PRECISIONS[precision]))
            except BeyondToleranceError as error:
                errors.append(_require_rounding(error, value, (rounding() or {}).get(name)))
                parts.append(_found(reference, value))
        differences, largest, labels, differ = zip(*parts, strict=True)
        beyond = tuple(map(max, zip(*errors, strict=True))) or (None, None)
        found.append(
            ShapeParity((batch, 3, height, width), max(differences), max(largest), sum(labels), sum(differ), *beyond)
        )
    return Parity(" and ".join(sorted(kinds)), precision, tuple(found))


def _compare_logits(
    where: str, reference: Logits, actual: Logits, precision: Precision
) -> tuple[float, float, int, int]:
    """The largest difference, the largest value, and how many labels there are and differ."""
    _require_shape(where, actual.shape, reference.shape)
    difference = np.abs(reference - actual)
    if not (difference <= precision.allowed(reference)).all():  # also true of NaN
        raise BeyondToleranceError(
            f"{where} differs from torch by up to {difference.max():.2e} "
            f"(values up to {np.abs(reference).max():.1f}; allowed: {precision.words()})",
            fix=FIX,
        )
    return _found(reference, actual)


def _found(reference: Logits, actual: Logits) -> tuple[float, float, int, int]:
    differ = reference.argmax(1) != actual.argmax(1)
    return float(np.abs(reference - actual).max()), float(np.abs(reference).max()), differ.size, int(differ.sum())


def _require_rounding(error: BeyondToleranceError, actual: Logits, rounding: Rounding | None) -> tuple[float, float]:
    """The file's largest error and torch's own; raises `error` where the file's cannot be rounding."""
    if rounding is None:
        raise error
    largest = float(np.abs(actual.astype(np.float64) - rounding.exact).max())
    if not largest <= rounding.allowed:  # also true of NaN
        raise BeyondToleranceError(
            f"{error.what}; it is {largest:.2e} from torch in the next better type, and torch's own {rounding.own:.2e}",
            fix=FIX,
        ) from error
    return largest, rounding.own


def _compare_labels(
    where: str, reference: Logits, actual: NDArray[np.uint8], precision: Precision
) -> tuple[float, float, int, int]:
    """Likewise; the difference is torch's largest logit less torch's logit of the label that was chosen."""
    _require_shape(where, actual.shape, (len(reference), *reference.shape[2:]))
    if actual.max() >= reference.shape[1]:
        raise ParityError(f"{where} holds the label {actual.max()} of {reference.shape[1]} classes", fix=FIX)
    best, chosen = reference.argmax(1)[:, None], actual.astype(np.int64)[:, None]

    def at(values: Logits, labels: NDArray[np.int64]) -> Logits:
        return np.take_along_axis(values, labels, axis=1)

    allowed = precision.allowed(reference)
    short = at(reference, best) - at(reference, chosen)
    wrong = ~(short <= at(allowed, best) + at(allowed, chosen))
    if wrong.any():
        raise ParityError(
            f"{where} has {int(wrong.sum())} labels that are not torch's argmax, whose logits are up to "
            f"{short.max():.2e} below the largest (values up to {np.abs(reference).max():.1f}; a tie within "
            f"{precision.words()} is none)",
            fix=FIX,
        )
    return float(short.max()), float(np.abs(reference).max()), chosen.size, int((best != chosen).sum())


def _require_shape(where: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise ParityError(
            f"{where} is {found}, and torch's is {expected}",
            fix="report this with the versions that `fcn-onnx doctor` prints",
        )
