"""Attention for opsets whose exporter does not know it: in the steps that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FIRST_OPSET = 14
"""At which torch writes `scaled_dot_product_attention` itself."""


@contextmanager
def plain_attention(opset: int) -> Iterator[None]:
    """Below `FIRST_OPSET`, have what is traced in this block compute softmax(q kᵀ / √d + mask) v in plain steps."""
    import torch

    functional = torch.nn.functional
    fused = functional.scaled_dot_product_attention
    if opset < FIRST_OPSET:
        functional.scaled_dot_product_attention = _in_steps
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = fused


def _in_steps(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """As torch documents it, without dropout, as in evaluation mode. (…, L, d), (…, S, d), (…, S, e) → (…, L, e)."""
    if is_causal or enable_gqa:
        raise NotImplementedError("attention that is causal or shares keys among heads")
    scores = query @ key.transpose(-2, -1) * (int(query.shape[-1]) ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        masked = attn_mask.is_floating_point()
        scores = scores + attn_mask if masked else scores.masked_fill(~attn_mask, float("-inf"))
    return scores.softmax(-1) @ value
