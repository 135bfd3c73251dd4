"""Better int8 models by trial: thresholds moved, and convolutions kept in fp32, as the output says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fcn_onnx.calibration.observed import observed_tensors
from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.jobs.artifact import digest_json
from fcn_onnx.jobs.journal import Journals
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.files import load_model
from fcn_onnx.model.graph import read_facts
from fcn_onnx.model.intake import take_in
from fcn_onnx.quantization.judge import Judge
from fcn_onnx.quantization.output_error import OutputError
from fcn_onnx.quantization.plan import Plan, keep_float
from fcn_onnx.quantization.refining import Refinement, refine
from fcn_onnx.quantization.search import Found, search
from fcn_onnx.quantization.writing import Quantized
from fcn_onnx.stages.benchmark import benchmark
from fcn_onnx.stages.making import Work
from fcn_onnx.stages.options import BenchmarkOptions

RANKING_IMAGES = 8
REFINING_IMAGES = 6
REFINED_GROUPS = 16
SPEED_RUNS = 5


def refined(work: Work, plan: Plan, table: RangeTable, journals: Journals) -> tuple[RangeTable, Refinement]:
    """The table with its thresholds moved, in groups of neighbours, to where the output errs least."""
    carried = observed_tensors(take_in(load_model(work.model), str(work.model))).carried
    roots = [root for root in dict.fromkeys(carried.values()) if root in table.ranges]
    blocks = [set(block) for block in np.array_split(roots, min(REFINED_GROUPS, len(roots)))]
    groups = [[name for name in table.ranges if carried.get(name, name) in block] for block in blocks]
    with scratch() as folder:
        trial = Path(folder, "trial.onnx")
        error = OutputError(
            work.model,
            work.samples[:REFINING_IMAGES],
            work.preprocessing,
            interface=work.interface,
            threads=work.threads,
        )
        return refine(
            table,
            groups,
            lambda candidate: error(work.trial(plan, candidate, trial)),
            journals.of(digest_json(["refine", work.job, table.digest()])),
            work.progress,
        )


def within(max_drop: float, work: Work, plan: Plan, table: RangeTable, judge: Judge, journals: Journals) -> Quantized:
    """The int8 model with the fewest convolutions in fp32 that loses no more than `max_drop` percent."""
    with scratch() as folder:
        trial, whole = Path(folder, "trial.onnx"), Path(folder, "int8.onnx")
        convs = [conv.name for conv in read_facts(load_model(work.trial(plan, table, whole))).convs if conv.int8]
        fp32 = take_in(load_model(work.model), str(work.model))
        originals = {node.name for node in fp32.graph.node}
        names = [name if name in originals else name.removesuffix("_quant") for name in convs]

        def made(kept: Sequence[str]) -> Path:
            return work.trial(keep_float(plan, fp32, kept), table, trial)

        found: Found = search(
            names,
            lambda name: judge.flipped_share(made([name]), RANKING_IMAGES),
            lambda kept: judge.drop_percent(made(kept), work.progress),
            max_drop,
            journals.of(digest_json(["search", work.job, table.digest()])),
            work.progress,
        )
        result = work.write(keep_float(plan, fp32, found.float_convs), table)
        if not found.float_convs:
            return replace(result, trials=found.trials)
        height, width = next(iter(work.batches())).shape[2:]
        timing = benchmark(
            BenchmarkOptions(
                models=(whole, work.output), size=((height, width),), runs=SPEED_RUNS, threads=work.threads
            ),
            progress=work.progress,
        )
        return replace(result, trials=found.trials, speed_kept=timing.rows[1].speedup)
