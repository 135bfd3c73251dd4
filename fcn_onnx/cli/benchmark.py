"""`fcn-onnx benchmark`."""

from __future__ import annotations

from pathlib import Path

import click

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, print_table, wants_stdout, write_json
from fcn_onnx.cli.options import PATH, Size, json_option, multiple_of_option, threads_option


@click.command(epilog="Example: fcn-onnx benchmark fcn-resnet50-12.onnx fcn-resnet50-12-int8.onnx --size 520x520")
@click.argument("models", nargs=-1, required=True, type=PATH, metavar="MODEL [MODEL …]")
@click.option(
    "--size",
    "sizes",
    type=Size(),
    multiple=True,
    metavar="HxW",
    help="Of the random input; may be repeated. Default: the one that a model takes, or 520x520.",
)
@click.option("--runs", type=click.IntRange(min=1), default=20, show_default=True, help="Of each model.")
@multiple_of_option
@threads_option
@json_option
def benchmark(
    models: tuple[Path, ...],
    sizes: tuple[tuple[int, int], ...],
    runs: int,
    multiple_of: int | None,
    threads: int,
    json_target: str | None,
) -> None:
    """Time models in turns on random images; speed-ups refer to the first.

    A model named twice is an A/A control. `of peak` is the time that the convolutions would take at the speed of one
    large matrix product (int8 ones at int8's, as onnxruntime runs them), over the median.
    """
    from fcn_onnx import benchmark as run_benchmark

    claim(json_target)
    result = run_benchmark(
        models, sizes=sizes, runs=runs, multiple_of=multiple_of, threads=threads, progress=ConsoleProgress()
    )
    write_json(result.to_json(), json_target)
    if wants_stdout(json_target):
        return
    print_line(
        f"{result.runs} runs in turns, {result.threads} threads, {result.cpu.model} ({result.cpu.int8_kernel}), "
        f"peak {result.peak.fp32:.0f} GMAC/s in fp32 and {result.peak.int8:.0f} in int8"
    )
    print_table(
        ("model", "size", "p50 ms", "p90 ms", "p99 ms", "GMAC/s", "of peak", "speed-up", "95 % interval"),
        (
            (
                Path(row.model).name,
                f"{row.size[0]}×{row.size[1]}",
                f"{row.latency_ms.p50:.1f}",
                f"{row.latency_ms.p90:.1f}",
                f"{row.latency_ms.p99:.1f}",
                "–" if row.gmacs_per_second is None else f"{row.gmacs_per_second:.0f}",
                "–" if row.share_of_peak is None else f"{100 * row.share_of_peak:.0f} %",
                f"{row.speedup:.2f}×",
                "–" if row.speedup_ci95 is None else f"{row.speedup_ci95[0]:.2f}–{row.speedup_ci95[1]:.2f}",
            )
            for row in result.rows
        ),
    )
