"""Names as the network itself has them, where a trainer put the attribute before them under which it keeps the network.

Lightning saves the state dict of the whole training module: `model.` or `net.` or whatever its author chose, beside the
weights of a loss or a metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.checkpoints.checkpoint import Checkpoint, listed

if TYPE_CHECKING:
    import torch

MOST_ATTRIBUTES = 3
"""How many, one in the other."""

Fits = Callable[[Mapping[str, "torch.Tensor"]], bool]


def unprefixed(read: Checkpoint, source: str, fits: Fits) -> Checkpoint:
    """The checkpoint with the names that fit; as it is where they do, or where no attribute makes them.

    Args:
        source: its name, for the error.
        fits: whether tensors of such names are those of a network.

    Raises:
        WeightsError: several attributes hold such a network.
    """
    if fits(read.state):
        return read
    found = {prefix: inner for prefix, inner in _inner(read.state) if fits(inner)}
    if not found:
        return read
    if len(found) > 1:
        raise WeightsError(
            f"{source} holds the network more than once: under {', '.join(found)}",
            fix="save the state_dict() of the one that is meant",
        )
    ((prefix, state),) = found.items()
    others = [key for key in read.state if not key.startswith(prefix)]
    said = f"the names begin with {prefix}, which is dropped" + (f"; not read: {listed(others)}" if others else "")
    return replace(read, state=dict(state), notes=(*read.notes, said))


def _inner(state: Mapping[str, torch.Tensor]) -> list[tuple[str, Mapping[str, torch.Tensor]]]:
    """What each attribute holds, by `attribute.`, and what the attributes in it hold."""
    found: list[tuple[str, Mapping[str, torch.Tensor]]] = []
    level: list[tuple[str, Mapping[str, torch.Tensor]]] = [("", state)]
    for _ in range(MOST_ATTRIBUTES):
        deeper: list[tuple[str, Mapping[str, torch.Tensor]]] = []
        for outer, held in level:
            groups: dict[str, dict[str, torch.Tensor]] = {}
            for key, value in held.items():
                head, dot, rest = key.partition(".")
                if dot:
                    groups.setdefault(f"{outer}{head}.", {})[rest] = value
            deeper += groups.items()
        found += deeper
        level = deeper
    return found
