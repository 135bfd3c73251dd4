"""Thresholds moved to where the network's own output errs least, rather than each activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fcn_onnx.calibration.observed import observed_tensors
from fcn_onnx.calibration.table import Range, RangeTable
from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.artifact import digest_json
from fcn_onnx.jobs.journal import Journal, Journals
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.model.labels import Meaning
from fcn_onnx.quantization.making import Maker
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.runtime.onnxruntime import measured_cpu

STEPS = (1.12, 1 / 1.12)
REFINING_IMAGES = 6
REFINED_GROUPS = 16


@dataclass(frozen=True)
class Refinement:
    """What `refine` came to.

    Attributes:
        before, after: error of the output.
        trials: int8 models that were measured.
    """

    before: float
    after: float
    trials: int


def refined(
    maker: Maker, plan: Plan, table: RangeTable, journals: Journals, progress: Progress
) -> tuple[RangeTable, Refinement]:
    """The table with its thresholds moved, in groups of neighbours, to where the output errs least.

    Raises:
        UsageError: the model returns labels, which are right or wrong but not near.
    """
    carried = observed_tensors(maker.fp32.taken).carried
    roots = [root for root in dict.fromkeys(carried.values()) if root in table.ranges]
    blocks = [set(block) for block in np.array_split(roots, min(REFINED_GROUPS, len(roots)))]
    groups = [[name for name in table.ranges if carried.get(name, name) in block] for block in blocks]
    reference = maker.reference(maker.images.samples[:REFINING_IMAGES], logits=REFINING_IMAGES)
    if reference.original.meaning is Meaning.LABELS:
        raise UsageError(
            f"{reference.original.network.name} returns labels, whose error cannot be lowered by degrees",
            fix="quantize without --refine, or a model that returns logits",
        )
    return refine(
        table,
        groups,
        lambda candidate: reference.of(maker.make(plan, candidate).int8).logits_error or 0.0,
        journals.of(refining_job(maker.job)),
        progress,
    )


def refining_job(job: str) -> str:
    """Digest of the refinement of a job; with the CPU's kernels it decides the table that this begins with."""
    return digest_json(["refine", job, measured_cpu().kernels()])


def refine(
    table: RangeTable,
    groups: Sequence[Sequence[str]],
    output_error: Callable[[RangeTable], float],
    journal: Journal,
    progress: Progress,
) -> tuple[RangeTable, Refinement]:
    """One round of coordinate descent: each group of ranges is widened or narrowed together, if that lowers the error.

    The groups follow one another, so that each is judged with the errors of those before it as they now are. Every
    number is kept in the journal, so nothing is measured twice.

    Args:
        table: where to begin.
        groups: tensors of the table that move together.
        output_error: of the int8 model with these ranges.
    """
    trials = 0

    def measure(candidate: RangeTable) -> float:
        nonlocal trials
        trials += 1
        return journal.memo(f"{trials}: {candidate.digest()}", lambda: output_error(candidate))

    before = least = measure(table)
    for group in progress.track(groups, total=len(groups), label="refining"):
        for step in STEPS:
            candidate = _scaled(table, group, step)
            error = measure(candidate)
            if error < least:
                table, least = candidate, error
                break
    return replace(table, method=f"{table.method}, refined"), Refinement(before, least, trials)


def _scaled(table: RangeTable, names: Sequence[str], factor: float) -> RangeTable:
    """The table with these ranges so much wider, as exact float32 values."""
    moved = {
        name: Range(*(float(np.float32(factor * bound)) for bound in (r.lowest, r.highest)))
        for name, r in ((name, table.ranges[name]) for name in names)
    }
    return replace(table, ranges={**table.ranges, **moved})
