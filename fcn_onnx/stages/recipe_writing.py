"""A recipe as text: all that was said, and all that was decided where nothing was said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fcn_onnx.calibration.methods import DEFAULT_METHOD
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.jobs.fields import declared
from fcn_onnx.model.model import Model
from fcn_onnx.quantization.backends.table import get_backend
from fcn_onnx.quantization.writing import Quantized
from fcn_onnx.report.document import Document
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.recipe import Recipe, Section

OF_IMAGES = frozenset(entry.name for entry in declared(ImageChoice))


def resolved(recipe: Recipe, quantized: Quantized, document: Document) -> dict[str, Any]:
    """The recipe as plain values, in which what a run decided is said.

    Run again, it is up to date: what is said of the int8 model is what its job was made of.

    Raises:
        ModelError: the int8 model is not there any more.
    """
    quantize = _values(recipe.quantize) | {
        "format": quantized.plan.quant_format,
        "target": quantized.plan.target,
        "per_channel": quantized.plan.per_channel,
    }
    if recipe.quantize.get("data") is None:
        quantize = {name: value for name, value in quantize.items() if name not in OF_IMAGES}
    else:
        quantize |= _method(recipe.quantize)
        if recipe.quantize.get("images") is None:
            quantize["limit"] = len(Model.open(quantized.path).card.calibration_images)
    parts: dict[str, Any] = {
        "scenes": vars(recipe.scenes) if recipe.scenes else None,
        "model": recipe.model,
        "export": _values(recipe.export) if recipe.export else None,
        "quantize": {entry.name: quantize[entry.name] for entry in declared(QuantizeOptions) if entry.name in quantize},
        "validate": _values(recipe.validate) | {"protocol": document.protocol},
        "output": recipe.output,
        "threads": recipe.threads,
    }
    plain: dict[str, Any] = _plain({name: value for name, value in parts.items() if value is not None})
    return plain


def to_text(values: Mapping[str, Any], head: str) -> str:
    """YAML that `load_recipe` reads, below one line of what it is."""
    return f"# {head}\n" + yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=120)


def _method(section: Section[QuantizeOptions]) -> dict[str, str]:
    """How thresholds were chosen, where the backend was told so."""
    own = get_backend(section.get("backend")).methods
    return {"method": section.get("method") or (own[0] if own else DEFAULT_METHOD)}


def _values(section: Section[Any]) -> dict[str, Any]:
    """Of each option that a recipe may have, given or by default; what is left open stays so."""
    entries = [entry for entry in declared(section.options) if entry.option.in_recipe]
    found = {entry.name: section.get(entry.name) for entry in entries if not entry.required or section.values}
    return {name: value for name, value in found.items() if value is not None and value != ()}


def _plain(value: Any) -> Any:
    """As YAML has it."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
