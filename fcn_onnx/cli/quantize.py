"""`fcn-onnx quantize`."""

from __future__ import annotations

from pathlib import Path

import click

from fcn_onnx.calibration.thresholds import DEFAULT_METHOD, METHODS
from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, megabytes, print_line, wants_stdout, write_json
from fcn_onnx.cli.options import (
    PATH,
    Finite,
    force_option,
    image_choice,
    interface_options,
    json_option,
    listed,
    percentile_option,
    threads_option,
)
from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.model.graph import GraphFacts
from fcn_onnx.model.interface import Interface
from fcn_onnx.quantization.backends import BACKENDS
from fcn_onnx.quantization.plan import FORMATS, TARGETS, Plan
from fcn_onnx.quantization.saturation import Pairs
from fcn_onnx.stages.naming import find_fp32, int8_path, log_path

FLOAT_NODES_SHOWN = 3
TARGET_NAMES = {"auto": "this CPU"} | {name: target.description for name, target in TARGETS.items()}


@click.command(
    epilog="Targets:\n\n" + listed(TARGET_NAMES) + "\n\nExample: fcn-onnx quantize --data coco/train2017 --limit 64"
)
@click.option("--model", type=PATH, metavar="FILE", help="Default: the one fp32 model here.")
@image_choice
@click.option("--ranges", type=PATH, metavar="FILE", help="A table from `calibrate`, instead of --data.")
@click.option(
    "--method", type=click.Choice(list(METHODS)), help=f"Default: {DEFAULT_METHOD}; minmax with neural-compressor."
)
@percentile_option
@click.option("--backend", type=click.Choice(list(BACKENDS)), default="onnxruntime", show_default=True)
@click.option("--format", "quant_format", type=click.Choice(FORMATS), default="auto", show_default=True)
@click.option("--target", type=click.Choice(list(TARGET_NAMES)), default="auto", show_default=True)
@click.option("--per-channel/--per-tensor", default=None, help="Weight scales. Default: per channel if legal.")
@click.option("--bias-correction/--no-bias-correction", default=True, show_default=True, help="Keep channels' means.")
@click.option(
    "--keep-float",
    multiple=True,
    metavar="REGEX",
    help="Convolutions in whose names this is found stay fp32; repeatable.",
)
@click.option(
    "--max-drop",
    type=Finite(min=0),
    metavar="PERCENT",
    help="Keep as few convolutions in fp32 as this loss of the mIoU on calibration images allows, relative.",
)
@click.option("--refine", is_flag=True, help="Move thresholds to where the output errs least; takes minutes.")
@click.option("--output", type=PATH, metavar="FILE", help="Default: fcn-<arch>-<opset>-int8.onnx here.")
@interface_options
@threads_option
@force_option
@json_option
def quantize(
    model: Path | None,
    choice: ImageChoice | None,
    ranges: Path | None,
    method: str | None,
    percentile: float | None,
    backend: str,
    quant_format: str,
    target: str,
    per_channel: bool | None,
    bias_correction: bool,
    keep_float: tuple[str, ...],
    max_drop: float | None,
    refine: bool,
    output: Path | None,
    interface: Interface,
    threads: int,
    force: bool,
    json_target: str | None,
) -> None:
    """Quantize an fp32 model to int8, calibrated on images."""
    from fcn_onnx.stages.quantize import quantize as run_quantize

    model = model or find_fp32()
    output = output or int8_path(model)
    inputs = {"the model": model, **(choice.inputs() if choice else {})}
    log = log_path(output) if BACKENDS[backend].methods else None
    claim(json_target, {"--output": output, "the log": log}, inputs)
    result = run_quantize(
        model,
        choice,
        ranges=ranges,
        method=method,
        percentile=percentile,
        backend=backend,
        quant_format=quant_format,
        target=target,
        per_channel=per_channel,
        bias_correction=bias_correction,
        keep_float=keep_float,
        max_drop=max_drop,
        refine_ranges=refine,
        output=output,
        interface=interface,
        threads=threads,
        force=force,
        progress=ConsoleProgress(),
    )
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
    if result.speed_kept is not None:
        print_line(f"kept {100 * result.speed_kept:.0f} % of the speed of the all-int8 model")


def _fp32_lines(facts: GraphFacts) -> list[str]:
    """What stayed fp32, the costliest first, and what share of the work it is."""
    lines = []
    for node in facts.in_fp32[:FLOAT_NODES_SHOWN]:
        share = facts.share_of(node)
        cost = "" if share is None else f" ({100 * share:.2f} % of the multiply-accumulates)"
        lines.append(f"fp32: {node.op_type} {node.name}{cost}")
    rest = facts.in_fp32[FLOAT_NODES_SHOWN:]
    return [*lines, f"fp32: {len(rest)} more that multiply"] if rest else lines


def _saturation(pairs: Pairs, plan: Plan) -> str:
    if not pairs.unsafe:
        return f"on x86 without VNNI: none of {pairs.count:,} pairs of weights can saturate"
    way_out = "" if plan.pair_safe else " (none with --target avx2)"
    return f"on x86 without VNNI: {pairs.unsafe_count:,} of {pairs.count:,} pairs of weights can saturate{way_out}"
