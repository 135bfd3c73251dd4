"""From ranges and a plan to an int8 file that is checked, loads and runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.errors import QuantizationError
from fcn_onnx.jobs.artifact import FORM_VERSION, versions
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import atomic_model, digest_model, load_model, model_bytes
from fcn_onnx.model.graph import GraphFacts, read_facts
from fcn_onnx.model.intake import take_in
from fcn_onnx.quantization.backends import Draft, Goal, Images, get_backend
from fcn_onnx.quantization.corrections import correct_biases
from fcn_onnx.quantization.keeping import kept_layers, shield
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.quantization.proving import Made, Proof, prove
from fcn_onnx.quantization.refining import Refinement
from fcn_onnx.quantization.saturation import Saturation
from fcn_onnx.quantization.search import Trial
from fcn_onnx.quantization.weights import place, quantize_weights


@dataclass(frozen=True)
class Quantized:
    """An int8 model that was written.

    Attributes:
        path: the file.
        plan: its form.
        facts: what the file holds; `facts.int8_macs_share` is its coverage.
        fp32_size_bytes, size_bytes: before and after.
        skipped: the file was there already, made from the same inputs.
        proof: what was found of it before it got its name; None if it was there already.
        saturation: of its kernels, where this CPU's fast one can saturate.
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
    proof: Proof | None = None
    saturation: Saturation | None = None
    trials: tuple[Trial, ...] = ()
    speed_kept: float | None = None
    refinement: Refinement | None = None

    @property
    def kept_macs_share(self) -> float | None:
        """Share of the multiply-accumulates of the convolutions in `plan.kept`; None where it is not known."""
        shares = [self.facts.share_of(node) for node in self.facts.multiplications if node.name in self.plan.kept]
        return None if None in shares else sum(share or 0 for share in shares)

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
            "kept": {"convs": list(self.plan.kept), "macs_share": self.kept_macs_share},
            "pairs": self.proof and {"count": self.proof.pairs.count, "unsafe": self.proof.pairs.unsafe_count},
            "undone": self.proof and list(self.proof.undone),
            "saturation": self.saturation and asdict(self.saturation),
            "trials": [asdict(trial) for trial in self.trials],
            "speed_kept": self.speed_kept,
            "refinement": self.refinement and asdict(self.refinement),
        }


def make_int8(
    fp32: Path,
    plan: Plan,
    source: RangeTable | Images,
    *,
    method: str,
    preprocessing: Mapping[str, Any],
    calibration_images: Mapping[str, str],
    log: Path,
    backend: str = "onnxruntime",
    job: str = "",
    goal: Goal | None = None,
    classes: tuple[str, ...] = (),
    output_name: str | None = None,
) -> Made:
    """Quantize `fp32`, in memory.

    Args:
        source: ranges; or, for a backend that observes them itself, images.
        method: threshold method.
        preprocessing: `Preprocessing.to_json()` of the images, for the card.
        calibration_images: digest by name of the images behind `source`, for the card.
        log: gets what a chatty backend says.
        goal: for a backend that tunes by itself.
        classes: names in label order, for the card, where the model does not say them itself.
        output_name: the output that is read, for the card, likewise.

    Raises:
        QuantizationError: the backend fails.
    """
    model = take_in(load_model(fp32), str(fp32))
    card = ModelCard.read_from(model, str(fp32))
    tuned = not isinstance(source, RangeTable)
    if isinstance(source, RangeTable):
        draft = _draft(model, source, plan, log)
    else:
        draft = Draft(model, method, log, images=source, goal=goal)
    quantized = get_backend(backend).load()(draft, plan)
    if not tuned:
        quantized = shield(quantized, kept_layers(model, plan))
    quantized.producer_name = "fcn-onnx"
    replace(
        card,
        job=job,
        source=digest_model(fp32),
        quantization=plan.to_json() | {"backend": backend, "method": method},
        calibration_images=calibration_images,
        preprocessing=preprocessing,
        classes=classes or card.classes,
        output=output_name or card.output,
        versions=versions(),
        form=FORM_VERSION,
    ).write_to(quantized)
    return Made(model, quantized, plan, tuned, model_bytes(fp32), preprocessing.get("multiple_of"))


def write_int8(made: Made, output: Path, try_kernels: Callable[[Path], Saturation] | None = None) -> Quantized:
    """Write an int8 model to `output`, whole, or not at all if anything does not hold of it.

    Args:
        try_kernels: compares this CPU's kernels on the file, before it gets its name; raises if they disagree.

    Raises:
        QuantizationError: nothing of it would compute in int8; or see `prove`.
    """
    facts = read_facts(made.int8)
    _require_int8(facts, output)
    with atomic_model(made.int8, output) as temporary:
        proof = prove(made, temporary, output)
        saturation = try_kernels(temporary) if try_kernels else None
    return Quantized(
        output,
        made.plan,
        facts,
        made.fp32_size_bytes,
        model_bytes(output),
        proof=proof,
        saturation=saturation,
    )


def _require_int8(facts: GraphFacts, output: Path) -> None:
    if not any(node.int8 for node in facts.multiplications):
        raise QuantizationError(
            f"{output} is not written: nothing in it would compute in int8",
            fix="see what the plan keeps in fp32; without --keep-float, or with a larger --max-drop, less of it does",
        )


def _draft(model: onnx.ModelProto, table: RangeTable, plan: Plan, log: Path) -> Draft:
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
    return Draft(placed, table.method, log, table, scales)


def up_to_date(path: Path, job: str, fp32: Path, plan: Plan) -> Quantized | None:
    """The int8 model at `path` if it was made by this very job, else None."""
    if not path.is_file():
        return None
    model = load_model(path)
    if ModelCard.read_from(model, str(path)).job != job:
        return None
    sizes = model_bytes(fp32), model_bytes(path)
    return Quantized(path, plan, read_facts(model), *sizes, skipped=True)
