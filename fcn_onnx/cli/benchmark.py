"""`fcn-onnx benchmark`."""

from __future__ import annotations

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, print_table, wants_stdout, write_json
from fcn_onnx.cli.flags import StageCommand
from fcn_onnx.cli.looked import print_looked
from fcn_onnx.stages.options import BenchmarkOptions


def act(options: BenchmarkOptions, json_target: str | None) -> None:
    """Time models in turns on random images; speed-ups refer to the first, in the first runtime.

    A model named twice is an A/A control. `of peak` is the time that the convolutions would take at the speed of one
    large matrix product or convolution (int8 ones at int8's, as the runtime runs them), over the median. Only the
    output that predict and validate read is computed; `all ms` is the median of the whole file, where it has others.
    `MB` is the most memory that the session ever held, in a process of its own.

    --profile gives each layer's time by the runtime's own clock, and beside it what it multiplies. --tune times all
    settings in turns; those that are faster by more than their 95 % interval are put together and timed once more.
    """
    from fcn_onnx.stages.benchmark import COLUMNS, benchmark

    claim(json_target)
    result = benchmark(options, progress=ConsoleProgress())
    write_json(result.to_json(), json_target)
    if wants_stdout(json_target):
        return
    peaks = "; ".join(
        f"{peak.fp32:.0f} GMAC/s in fp32 and {peak.int8:.0f} in int8" + (f" ({name})" if len(result.peaks) > 1 else "")
        for name, peak in result.peaks.items()
    )
    print_line(
        f"{result.runs} runs in turns, {result.threads} threads, {result.cpu.model} ({result.cpu.int8_kernel}), "
        f"peak {peaks}"
    )
    print_table(COLUMNS, (row.cells() for row in result.rows))
    for note in result.notes:
        print_line(note)
    for one in result.looked:
        print_looked(one)


command = StageCommand(
    "benchmark",
    BenchmarkOptions,
    act,
    tables={"runtime": "Runtimes"},
    examples=(
        "benchmark fcn-resnet50-12.onnx fcn-resnet50-12-int8.onnx --size 520x520",
        "benchmark fcn-resnet50-12-int8.onnx --profile --tune",
    ),
)
