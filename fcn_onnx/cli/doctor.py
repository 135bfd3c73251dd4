"""`fcn-onnx doctor`."""

from __future__ import annotations

import sys

import click

from fcn_onnx.cli.console import print_line, print_table


@click.command("doctor", epilog="Example: fcn-onnx doctor")
def command() -> None:
    """Show versions, what this CPU can do for int8, what is missing, and the command that installs it."""
    from fcn_onnx.stages.doctor import diagnose

    diagnosis = diagnose()
    cpu = diagnosis.cpu
    exact = "exact with 8-bit weights" if cpu.exact_u8s8 else "saturating with 8-bit weights: --target avx2"
    print_line(f"python  {diagnosis.python}")
    print_line(f"cpu     {cpu.model}, {cpu.cores} cores")
    print_line(f"int8    {cpu.int8_kernel} kernels, {exact}")
    print_line("")
    print_table(
        ("package", "version", "needed for", "state"),
        ((p.name, p.version or "–", p.purpose, p.state) for p in diagnosis.packages),
    )
    for remedy in diagnosis.remedies:
        print_line(f"→ {remedy}")
    if not diagnosis.healthy:
        sys.exit(1)
