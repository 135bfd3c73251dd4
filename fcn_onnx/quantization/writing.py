"""From ranges and a plan to an int8 file that is checked, loads and runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fcn_onnx.artifact import FORM_VERSION, versions
from fcn_onnx.card import ModelCard
from fcn_onnx.errors import FcnOnnxError, QuantizationError
from fcn_onnx.model.files import atomic_model, digest_model, load_model, model_bytes
from fcn_onnx.model.graph import GraphFacts, read_facts
from fcn_onnx.model.intake import take_in
from fcn_onnx.naming import log_path
from fcn_onnx.quantization.backends import Draft, Goal, Images, get_backend
from fcn_onnx.quantization.corrections import correct_biases
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.quantization.refining import Refinement
from fcn_onnx.quantization.saturation import read_pairs, require_pair_safe
from fcn_onnx.quantization.search import Trial
from fcn_onnx.quantization.weights import place, quantize_weights
from fcn_onnx.ranges import RangeTable
from fcn_onnx.runtime import Network

PROBE_SIZE = (64, 80)


@dataclass(frozen=True)
class Saturation:
    """The proof that this CPU's fast int8 kernel computes the model exactly, and what it was spared.

    Attributes:
        inputs: compared between the fast and the exact kernel: calibration images, and one of noise at full range.
        labels_changed: between the two.
        flips_without: share of the calibration images' labels that would change if weights were merely rounded.
    """

    inputs: int
    labels_changed: int
    flips_without: float


@dataclass(frozen=True)
class Quantized:
    """An int8 model that was written.

    Attributes:
        path: the file.
        plan: its form.
        facts: what the file holds; `facts.int8_macs_share` is its coverage.
        fp32_size_bytes, size_bytes: before and after.
        skipped: the file was there already, made from the same inputs.
        saturation: where this CPU's fast kernel can saturate.
        trials: of the search for `max_drop`.
        refinement: of the ranges, where it was asked for.
        speed_kept: of the model with every convolution in int8, where some had to stay fp32.
    """

    path: Path
    plan: Plan
    facts: GraphFacts
    fp32_size_bytes: int
    size_bytes: int
    skipped: bool = False
    saturation: Saturation | None = None
    trials: tuple[Trial, ...] = ()
    speed_kept: float | None = None
    refinement: Refinement | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that `quantize --json` writes."""
        return {
            "path": str(self.path),
            "digest": digest_model(self.path),
            "plan": self.plan.to_json(),
            "op_counts": dict(self.facts.op_counts),
            "int8_macs_share": self.facts.int8_macs_share,
            "float_nodes": {node.name: self.facts.share_of(node) for node in self.facts.in_fp32},
            "size_bytes": self.size_bytes,
            "size_ratio": self.fp32_size_bytes / self.size_bytes,
            "skipped": self.skipped,
            "saturation": self.saturation and asdict(self.saturation),
            "trials": [asdict(trial) for trial in self.trials],
            "speed_kept": self.speed_kept,
            "refinement": self.refinement and asdict(self.refinement),
        }


def write_int8(
    fp32: Path,
    plan: Plan,
    output: Path,
    source: RangeTable | Images,
    *,
    method: str,
    preprocessing: Mapping[str, Any],
    calibration_images: Mapping[str, str],
    backend: str = "onnxruntime",
    job: str = "",
    goal: Goal | None = None,
    classes: tuple[str, ...] = (),
) -> Quantized:
    """Quantize `fp32` and write it to `output`, whole or not at all.

    The file is checked by onnx, loaded by onnxruntime and run once, and the opset of every domain is asserted,
    before it takes its name.

    Args:
        source: ranges; or, for a backend that observes them itself, images.
        method: threshold method.
        preprocessing: `Preprocessing.to_json()` of the images, for the card.
        calibration_images: digest by name of the images behind `source`, for the card.
        goal: for a backend that tunes by itself.
        classes: names in label order, for the card, where the model does not say them itself.

    Raises:
        QuantizationError: the backend fails, or what it wrote is not a sound model.
    """
    model = take_in(load_model(fp32), str(fp32))
    card = ModelCard.read_from(model, str(fp32))
    if isinstance(source, RangeTable):
        draft = _draft(model, source, plan, output)
    else:
        draft = Draft(model, method, log_path(output), images=source, goal=goal)
    quantized = get_backend(backend).load()(draft, plan)
    if plan.pair_safe:
        require_pair_safe(read_pairs(quantized))
    _require_opsets(model, quantized, plan)
    quantized.producer_name = "fcn-onnx"
    replace(
        card,
        job=job,
        source=digest_model(fp32),
        quantization=plan.to_json() | {"backend": backend, "method": method},
        calibration_images=calibration_images,
        preprocessing=preprocessing,
        classes=classes or card.classes,
        versions=versions(),
        form=FORM_VERSION,
    ).write_to(quantized)
    with atomic_model(quantized, output) as temporary:
        _prove(temporary, output, preprocessing.get("multiple_of"))
    return Quantized(output, plan, read_facts(quantized), model_bytes(fp32), model_bytes(output))


def _draft(model: onnx.ModelProto, table: RangeTable, plan: Plan, output: Path) -> Draft:
    """The fp32 model with everything decided: weights on their int8 grid, biases corrected."""
    convs = {node.name for node in model.graph.node if node.op_type == "Conv"}
    weights = quantize_weights(
        model,
        table,
        frozenset(convs - set(plan.float_nodes)),
        per_channel=plan.per_channel,
        pair_safe=plan.pair_safe,
    )
    placed = place(model, weights)
    if plan.bias_correction:
        placed = correct_biases(model, placed, weights, table.means)
    scales = {name: weight.scale for name, weight in weights.items()}
    return Draft(placed, table.method, log_path(output), table, scales)


def up_to_date(path: Path, job: str, fp32: Path, plan: Plan) -> Quantized | None:
    """The int8 model at `path` if it was made by this very job, else None."""
    if not path.is_file():
        return None
    model = load_model(path)
    if ModelCard.read_from(model, str(path)).job != job:
        return None
    sizes = model_bytes(fp32), model_bytes(path)
    return Quantized(path, plan, read_facts(model), *sizes, skipped=True)


def _require_opsets(fp32: onnx.ModelProto, int8: onnx.ModelProto, plan: Plan) -> None:
    """The default domain keeps its opset; the only other domain is onnxruntime's, for QOperator's Add."""
    expected = {entry.domain: entry.version for entry in fp32.opset_import}
    found = {entry.domain: entry.version for entry in int8.opset_import}
    used = {node.domain for node in int8.graph.node}
    allowed = {"com.microsoft": 1} if plan.quant_format == "qoperator" else {}
    surplus = {d: v for d, v in found.items() if d in used and (expected | allowed).get(d) != v}
    if surplus or found.get("") != plan.opset:
        raise QuantizationError(
            f"the quantizer wrote the opsets {found}, not {expected | allowed}",
            fix="report this with the model; another --opset may do",
        )


def _prove(path: Path, name: Path, multiple_of: int | None) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
        network = Network(path, name=str(name), multiple_of=multiple_of)
        height, width = (own or size for own, size in zip(network.input_size, PROBE_SIZE, strict=True))
        batch = np.random.default_rng(0).standard_normal((1, 3, height, width), np.float32)
        outputs = network.run(batch)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        FcnOnnxError,
        RuntimeError,
    ) as error:
        raise QuantizationError(
            f"the quantized model is not sound: {error}",
            fix="report this with the model; another --format or --opset may do",
        ) from error
    broken = [n for n, value in outputs.items() if not np.isfinite(value).all()]
    if broken:
        raise QuantizationError(
            f"the quantized model returns values that are not finite in {', '.join(broken)}",
            fix="check the range table",
        )
