"""An int8 model that was made, as a file: proven before it gets its name, and recognised when it is there already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fcn_onnx.errors import ModelError, QuantizationError
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.files import (
    atomic_model,
    digest_content,
    digest_model,
    external_files,
    is_large,
    load_with_data,
    model_bytes,
)
from fcn_onnx.model.graph import GraphFacts, read_facts
from fcn_onnx.quantization.making import Made
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.quantization.proving import Proof, prove
from fcn_onnx.quantization.refining import Refinement
from fcn_onnx.quantization.saturation import Saturation
from fcn_onnx.quantization.search import Trial


@dataclass(frozen=True)
class Quantized:
    """An int8 model that was written.

    Attributes:
        path: the file.
        plan: its form.
        facts: what the file holds; `facts.int8_macs_share` is its coverage.
        fp32_size_bytes, size_bytes: before and after.
        data: the files of its external data.
        skipped: the file was there already, made from the same inputs.
        proof: what was found of it before it got its name; None if it was there already.
        saturation: of its kernels, where this CPU's fast one can saturate.
        trials: of the search for what keeps within the bounds: its front of agreement against speed.
        refinement: of the ranges, where it was asked for.
        speed_kept: of the model with every convolution in int8, where some had to stay fp32.
    """

    path: Path
    plan: Plan
    facts: GraphFacts
    fp32_size_bytes: int
    size_bytes: int
    data: tuple[Path, ...] = ()
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
            "digest": digest_model(self.path, self.data),
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


def write_int8(made: Made, output: Path, try_kernels: Callable[[Path], Saturation] | None = None) -> Quantized:
    """Write an int8 model to `output`, whole, or not at all if anything does not hold of it.

    Args:
        try_kernels: compares this CPU's kernels on the file, before it gets its name; raises if they disagree.

    Raises:
        QuantizationError: nothing of it would compute in int8; or see `prove`.
    """
    facts = read_facts(made.int8)
    _require_int8(facts, output)
    replace(made.card, content=digest_content(made.int8)).write_to(made.int8)
    with atomic_model(made.int8, output) as temporary:
        proof = prove(made, temporary, output)
        saturation = try_kernels(temporary) if try_kernels else None
    data = external_files(output) if is_large(made.int8) else ()
    return Quantized(
        output,
        made.plan,
        facts,
        made.fp32.size_bytes,
        model_bytes(output, data),
        data,
        proof=proof,
        saturation=saturation,
    )


def write_tuned(made: Made, output: Path, progress: Progress) -> Quantized:
    """The same for the model of a backend that observes the images itself; what it is not, nobody else says."""
    result = write_int8(made, output)
    if result.proof and (names := result.proof.undone):
        backend = (made.card.quantization or {})["backend"]
        progress.note(f"onnxruntime rounds {len(names)} layers that {backend} keeps in fp32: {', '.join(names)}")
    return result


def _require_int8(facts: GraphFacts, output: Path) -> None:
    if not any(node.int8 for node in facts.multiplications):
        raise QuantizationError(
            f"{output} is not written: nothing in it would compute in int8",
            fix="see what the plan keeps in fp32; without --keep-float, or with a larger --max-drop, less of it does",
        )


def up_to_date(path: Path, job: str, fp32_size_bytes: int) -> Quantized | None:
    """The int8 model at `path` if it is what this very job wrote there; None if it is another, broken or edited."""
    try:
        model, data = load_with_data(path)
        card = ModelCard.read_from(model, str(path))
        if card.job != job or card.content != digest_content(model) or card.quantization is None:
            return None
        plan = Plan.from_json(card.quantization)
        return Quantized(path, plan, read_facts(model), fp32_size_bytes, model_bytes(path, data), data, skipped=True)
    except (ModelError, TypeError, KeyError):  # it is not there, is no model, or its card is none of ours
        return None
