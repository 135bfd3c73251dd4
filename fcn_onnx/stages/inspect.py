"""The stage `inspect`: what a model file is, and how far an int8 model is from its original."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_onnx.evaluation.fidelity import Fidelity, compare_layers
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import digest_model, load_model, model_bytes
from fcn_onnx.model.graph import GraphFacts, is_quantized, read_facts
from fcn_onnx.runtime.coverage import Coverage, read_coverage
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME

__all__ = ["Fidelity", "Inspection", "compare_layers", "inspect"]


@dataclass(frozen=True)
class Inspection:
    """The result of `inspect`; `coverage`, in `runtime`, is None for a model that is not quantized."""

    path: Path
    digest: str
    size_bytes: int
    facts: GraphFacts
    card: ModelCard
    coverage: Coverage | None
    runtime: str = DEFAULT_RUNTIME

    def to_json(self) -> dict[str, Any]:
        """The object that `inspect --json` writes."""
        facts = self.facts
        return {
            "path": str(self.path),
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "opsets": dict(facts.opsets),
            "inputs": {name: list(shape) for name, shape in facts.inputs.items()},
            "outputs": {name: list(shape) for name, shape in facts.outputs.items()},
            "op_counts": dict(facts.op_counts),
            "parameters": facts.parameters,
            "macs": facts.macs,
            "macs_size": list(facts.size),
            "quant_format": facts.quant_format,
            "per_channel": facts.per_channel,
            "int8_macs_share": facts.int8_macs_share,
            "runtime": self.runtime,
            "executed": self.coverage and self.coverage.to_json(),
            "float_convs": [conv.name for conv in facts.convs if not conv.int8],
            "float_nodes": {node.name: facts.share_of(node) for node in facts.in_fp32},
            "arch": self.card.arch,
            "weights": self.card.weights,
            "quantization": self.card.quantization,
            "calibration_images": len(self.card.calibration_images),
            "source": self.card.source,
            "versions": dict(self.card.versions),
        }


def inspect(model: Path, *, size: tuple[int, int] = (520, 520), runtime: str = DEFAULT_RUNTIME) -> Inspection:
    """Read a model's facts and its card.

    Args:
        model: an ONNX file.
        size: (height, width) in pixels that the multiply-accumulates are for.
        runtime: a name in `RUNTIMES`, whose kernels the coverage is of.

    Raises:
        MissingDependencyError: that is not installed.
        ModelError: it is missing or not a whole ONNX model.
    """
    proto = load_model(model)
    return Inspection(
        path=model,
        digest=digest_model(model),
        size_bytes=model_bytes(model),
        facts=read_facts(proto, size),
        card=ModelCard.read_from(proto, str(model)),
        coverage=read_coverage(model, size, runtime) if is_quantized(proto) else None,
        runtime=runtime,
    )
