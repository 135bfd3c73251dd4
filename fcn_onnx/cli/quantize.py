"""`fcn-onnx quantize`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, megabytes, print_line, print_table, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.jobs.text import listed
from fcn_onnx.quantization.backends.table import BACKENDS
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, RUNTIMES
from fcn_onnx.stages.naming import find_fp32, int8_path, log_path
from fcn_onnx.stages.options import QuantizeOptions

if TYPE_CHECKING:
    from fcn_onnx.model.graph import GraphFacts
    from fcn_onnx.quantization.plan import Plan
    from fcn_onnx.quantization.saturation import Pairs
    from fcn_onnx.quantization.search import Trial

NAMES_SHOWN = 3

OPENVINO = "openvino"
BOTH_RUN = ("avx2", "vnni", "amx", OPENVINO)
"""Targets whose Q/DQ models are for machines that onnxruntime and OpenVINO both run on."""


def act(options: QuantizeOptions, json_target: str | None) -> None:
    """Quantize an fp32 model to int8, calibrated on images."""
    from fcn_onnx.stages.quantize import quantize

    model = options.model or find_fp32()
    output = options.output or int8_path(model)
    inputs = {"the model": model, **(options.choice.inputs() if options.choice else {})}
    log = log_path(output) if BACKENDS[options.backend].methods else None
    claim(json_target, {"--output": output, "the log": log}, inputs)
    result = quantize(replace(options, model=model), progress=ConsoleProgress())
    write_json(result.to_json(), json_target)
    if wants_stdout(json_target):
        return
    if result.skipped:
        print_line(f"{result.path} is up to date (--force redoes it)")
        return
    ratio = result.fp32_size_bytes / result.size_bytes
    share = result.facts.int8_macs_share
    print_line(f"wrote {result.path} ({megabytes(result.size_bytes)}, {ratio:.2f}× smaller)")
    if share is not None:
        print_line(f"int8 share of the multiply-accumulates: {100 * share:.2f} %")
    for line in _fp32_lines(result.facts):
        print_line(line)
    if kept := result.plan.kept:
        cost = (
            ""
            if result.kept_macs_share is None
            else f" ({100 * result.kept_macs_share:.2f} % of the multiply-accumulates)"
        )
        print_line(f"kept in fp32{cost}: {', '.join(kept)}")
    if result.proof and result.proof.pairs.count:
        print_line(_saturation(result.proof.pairs, result.plan))
    if found := result.refinement:
        print_line(
            f"refined: the output's error fell from {found.before:.3g} to {found.after:.3g} in {found.trials} trials"
        )
    if proof := result.saturation:
        print_line(
            f"fast and exact kernel: {proof.labels_changed} labels differ on {proof.inputs} inputs; "
            f"with plainly rounded weights {100 * proof.flips_without:.2f} % would"
        )
    if unrounded := result.plan.unrounded:
        print_line(f"sums of {len(unrounded)} convolutions stay float32: {listed(unrounded, NAMES_SHOWN)}")
    _print_trials(result.trials)
    if result.speed_kept is not None:
        print_line(f"kept {100 * result.speed_kept:.0f} % of the speed of the all-int8 model")
    if hint := _to_find_out(model, result.path, result.plan):
        print_line(hint)


def _print_trials(trials: Sequence[Trial]) -> None:
    if len(trials) < 2:
        return
    print_table(
        ("tried: in fp32", "sums unrounded", "agreement", "mIoU lost", "speed kept"),
        (
            (
                str(trial.float_convs),
                str(trial.unrounded),
                f"{trial.agreement:.4f}",
                f"{trial.drop_percent:.3f} %",
                f"{100 * trial.speed_kept:.0f} %",
            )
            for trial in sorted(trials, key=lambda trial: trial.agreement)
        ),
    )


def _fp32_lines(facts: GraphFacts) -> list[str]:
    """What stayed fp32 by operator, the costliest first, with the share of the work that it is."""
    lines = []
    for op_type, nodes in facts.fp32_by_operator.items():
        shares = [facts.share_of(node) for node in nodes]
        known = sum(share for share in shares if share is not None)
        cost = "" if None in shares else f" ({100 * known:.2f} % of the multiply-accumulates)"
        lines.append(f"fp32: {len(nodes)} {op_type}{cost}: {listed([node.name for node in nodes], NAMES_SHOWN)}")
    return lines


def _saturation(pairs: Pairs, plan: Plan) -> str:
    if not pairs.unsafe:
        return f"on x86 without VNNI: none of {pairs.count:,} pairs of weights can saturate"
    way_out = "" if plan.pair_safe else " (none with --target avx2)"
    return f"on x86 without VNNI: {pairs.unsafe_count:,} of {pairs.count:,} pairs of weights can saturate{way_out}"


def _to_find_out(fp32: Path, int8: Path, plan: Plan) -> str | None:
    """How to learn which runtime is faster here, where OpenVINO is installed and reads such a file; nothing was timed.

    None where the file is for another kind of machine, or in a form that OpenVINO does not read.
    """
    if not (RUNTIMES[OPENVINO].installed and plan.quant_format == "qdq" and plan.target in BOTH_RUN):
        return None
    command = ["fcn-onnx", "benchmark", str(fp32), str(int8), "--runtime", DEFAULT_RUNTIME, "--runtime", OPENVINO]
    return f"which runtime is faster with it on this machine: {shlex.join(command)}"


command = StageCommand(
    "quantize",
    QuantizeOptions,
    act,
    outline="fcn_onnx.stages.outlines:quantize",
    tables={"target": "Targets", "runtime": "Runtimes"},
    examples=("quantize --data coco/train2017 --limit 64",),
)
