"""The stage `inspect`: what a model file is, and how far an int8 model is from its original."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.fidelity import Fidelity, compare_layers
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import digest_model, load_model, model_bytes
from fcn_onnx.model.graph import GraphFacts, is_quantized, read_facts
from fcn_onnx.report.markup import table
from fcn_onnx.runtime.coverage import Coverage, read_coverage
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME
from fcn_onnx.stages.options import InspectOptions


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

    def _repr_html_(self) -> str:
        said = {key: value for key, value in self.to_json().items() if not isinstance(value, dict)}
        return table(("", str(self.path)), [(key, str(value)) for key, value in said.items()])

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


def inspect(options: InspectOptions) -> Inspection:
    """Read a model's facts and its card; see `fidelity` for two models, and `plot_histograms` for what calibrate kept.

    Raises:
        UsageError: the options are of one of those.
        MissingDependencyError: the runtime whose kernels the coverage is of is not installed.
        ModelError: the model is missing or not a whole ONNX model.
    """
    model = options.model
    if options.int8 is not None or options.choice is not None:
        raise UsageError("two models are compared on images", fix="give FP32 INT8 and --data, or one model alone")
    if options.plot is not None:
        raise UsageError(f"--plot draws histograms, and {model} is none", fix="name a file of calibrate --histograms")
    proto = load_model(model)
    return Inspection(
        path=model,
        digest=digest_model(model),
        size_bytes=model_bytes(model),
        facts=read_facts(proto, options.size),
        card=ModelCard.read_from(proto, str(model)),
        coverage=read_coverage(model, options.size, options.runtime) if is_quantized(proto) else None,
        runtime=options.runtime,
    )


def fidelity(options: InspectOptions, *, progress: Progress = SILENT) -> Fidelity:
    """How far each layer of `options.int8` is off, and which images' labels flip, on `options.choice`; no truth needed.

    Raises:
        UsageError: there are not two models and images.
        DatasetError, ImageError: an image is not there, or cannot be read.
        ModelError: the int8 model was not made of the other.
    """
    if options.int8 is None or options.choice is None:
        raise UsageError("two models are compared on images", fix="give FP32 INT8 and --data, or one model alone")
    dataset = options.choice.open_images()
    samples = (options.choice.listed(dataset) or dataset.samples)[: options.limit]
    return compare_layers(
        options.model, options.int8, samples, interface=options.interface, threads=options.threads, progress=progress
    )
