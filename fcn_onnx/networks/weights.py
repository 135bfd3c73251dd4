"""Weights into networks: all that fit, or a list of what does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fcn_onnx.errors import WeightsError

if TYPE_CHECKING:
    import torch

SHOWN = 5


def load_into(
    network: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    source: str,
    *,
    aux: bool = True,
    aux_keys: str | None = None,
    fix: str = "check --arch and --classes",
) -> None:
    """Load every tensor of `network` from `state`; an auxiliary head that is not wanted is left unread.

    Args:
        aux: whether it is wanted.
        aux_keys: what its keys begin with; None where there is no such head.
        fix: what the user can do where they do not fit.

    Raises:
        WeightsError: keys are missing, left over, or of another shape; the first of each are listed.
    """
    wanted = network.state_dict()
    counters = {key for key in {*wanted, *state} if key.endswith("num_batches_tracked")}  # training only
    given = {k: v for k, v in state.items() if aux or not aux_keys or not k.startswith(aux_keys)}
    missing = [k for k in wanted if k not in given and k not in counters]
    unexpected = [k for k in given if k not in wanted and k not in counters]
    reshaped = [
        f"{k} {tuple(given[k].shape)} for {tuple(wanted[k].shape)}"
        for k in wanted
        if k in given and k not in counters and given[k].shape != wanted[k].shape
    ]
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:SHOWN])}{' …' if len(keys) > SHOWN else ''}"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if keys
    ]
    if problems:
        no_aux = aux_keys and aux and missing and all(k.startswith(aux_keys) for k in missing)
        raise WeightsError(
            f"the weights of {source} do not fit the network: {'; '.join(problems)}",
            fix="export with --no-aux: these weights have no auxiliary head"
            if no_aux and not unexpected and not reshaped
            else fix,
        )
    network.load_state_dict({k: v for k, v in given.items() if k in wanted}, strict=False)
