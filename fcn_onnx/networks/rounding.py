"""What rounding alone makes of a network: torch against itself in a more precise type."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Logits = NDArray[np.float32] | NDArray[np.float64]

OWN_ROUNDINGS = 4
"""How many times as far from exact logits as torch's own a file's may be. Other kernels sum in another order: of
networks whose difference is larger than the fixed tolerance, onnxruntime's were 0.6 to 1.1 times as far."""

TYPES: Mapping[str, tuple[str, str]] = {"float32": ("float32", "float64"), "float16": ("float16", "float32")}
"""By what a file computes in: torch's type that rounds as it does, and the one that counts as exact."""


@dataclass(frozen=True)
class Rounding:
    """One output of torch's for one input.

    Attributes:
        exact: (N, C, H, W) logits, in the more precise type.
        own: the largest error of torch's logits in the file's type.
    """

    exact: Logits
    own: float

    @property
    def allowed(self) -> float:
        """The largest error that a file may have."""
        return OWN_ROUNDINGS * self.own


def measure(
    network: torch.nn.Module, values: NDArray[np.float32], outputs: tuple[str, ...], precision: str
) -> Mapping[str, Rounding] | None:
    """Run copies of the network in the type of a file and in a more precise one.

    Args:
        network: float32; its forward returns logits (N, C, H, W) by name.
        values: (N, 3, H, W) of input.
        outputs: which to compare.
        precision: a key of `TYPES`.

    Returns:
        By output; None where the network runs in float32 alone, or returns something else in another type.
    """
    import torch

    def run(kind: str) -> Mapping[str, torch.Tensor]:
        dtype = getattr(torch, kind)
        copy = network if dtype == torch.float32 else deepcopy(network).to(dtype)
        with torch.no_grad():
            found = copy(torch.from_numpy(values).to(dtype))
        return {name: found[name] for name in outputs}

    rounded, exact = TYPES[precision]
    try:
        own, best = run(rounded), run(exact)
    except (RuntimeError, TypeError, NotImplementedError):  # a type is written into it, or a kernel has no such one
        return None
    errors = {name: float((own[name].double() - best[name].double()).abs().max()) for name in outputs}
    if not np.isfinite(list(errors.values())).all():
        return None
    return {name: Rounding(best[name].numpy(), errors[name]) for name in outputs}
