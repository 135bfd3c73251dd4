"""`fcn-onnx benchmark`."""

from __future__ import annotations

from pathlib import Path

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, print_table, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.stages.options import BenchmarkOptions


def act(options: BenchmarkOptions, json_target: str | None) -> None:
    """Time models in turns on random images; speed-ups refer to the first, in the first runtime.

    A model named twice is an A/A control. `of peak` is the time that the convolutions would take at the speed of one
    large matrix product (int8 ones at int8's, as the runtime runs them), over the median. Only the output that predict
    and validate read is computed; `all ms` is the median of the whole file, where it has others.
    """
    from fcn_onnx.stages.benchmark import benchmark

    claim(json_target)
    result = benchmark(options, progress=ConsoleProgress())
    write_json(result.to_json(), json_target)
    if wants_stdout(json_target):
        return
    print_line(
        f"{result.runs} runs in turns, {result.threads} threads, {result.cpu.model} ({result.cpu.int8_kernel}), "
        f"peak {result.peak.fp32:.0f} GMAC/s in fp32 and {result.peak.int8:.0f} in int8"
    )
    print_table(
        (
            "model",
            "runtime",
            "size",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "GMAC/s",
            "of peak",
            "speed-up",
            "95 % interval",
            "all ms",
        ),
        (
            (
                Path(row.model).name,
                row.runtime,
                f"{row.size[0]}×{row.size[1]}",
                f"{row.latency_ms.p50:.1f}",
                f"{row.latency_ms.p90:.1f}",
                f"{row.latency_ms.p99:.1f}",
                "–" if row.gmacs_per_second is None else f"{row.gmacs_per_second:.0f}",
                "–" if row.share_of_peak is None else f"{100 * row.share_of_peak:.0f} %",
                f"{row.speedup:.2f}×",
                "–" if row.speedup_ci95 is None else f"{row.speedup_ci95[0]:.2f}–{row.speedup_ci95[1]:.2f}",
                "–" if row.all_outputs_ms is None else f"{row.all_outputs_ms:.1f}",
            )
            for row in result.rows
        ),
    )
    for note in result.notes:
        print_line(note)


command = StageCommand(
    "benchmark",
    BenchmarkOptions,
    act,
    examples=("benchmark fcn-resnet50-12.onnx fcn-resnet50-12-int8.onnx --size 520x520",),
)
