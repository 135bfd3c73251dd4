"""How the int8 model was made, in words: the plan that its card records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMED = 8
"""Nodes that are named; a model with more in fp32 says how many more."""


def quantized_line(quantization: Mapping[str, Any] | None) -> str:
    """One line of a plan as recorded: form, weights, biases, target, thresholds, and the nodes it keeps in fp32.

    What an older plan does not record is left out.
    """
    if not quantization:
        return "the model does not say how"
    parts = [_form(quantization), _weights(quantization), _biases(quantization), _made(quantization)]
    return "; ".join(filter(None, [*parts, _kept(quantization.get("float_nodes"))]))


def _form(plan: Mapping[str, Any]) -> str:
    opset = f" at opset {plan['opset']}" if "opset" in plan else ""
    kind = ", symmetric int8 activations" if plan.get("symmetric") else ""
    return f"{plan['quant_format']}{opset}{kind}" if "quant_format" in plan else ""


def _weights(plan: Mapping[str, Any]) -> str:
    if "per_channel" not in plan:
        return ""
    scales = "per-channel" if plan["per_channel"] else "per-tensor"
    return f"{scales} weights{', pair-safe: no two that are added can saturate' if plan.get('pair_safe') else ''}"


def _biases(plan: Mapping[str, Any]) -> str:
    if "bias_correction" not in plan:
        return ""
    return "biases corrected" if plan["bias_correction"] else "biases not corrected"


def _made(plan: Mapping[str, Any]) -> str:
    words = (("target", "for "), ("method", "thresholds by "), ("backend", "made by "))
    return ", ".join(f"{before}{plan[key]}" for key, before in words if plan.get(key))


def _kept(nodes: list[str] | None) -> str:
    """The nodes that stay fp32."""
    if nodes is None:
        return ""
    more = f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
    return f"kept in fp32: {', '.join(nodes[:NAMED]) or 'nothing'}{more}"
