"""`fcn-onnx demo`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import PATH, json_option


@click.command("demo", epilog="Example: fcn-onnx demo demo")
@click.argument("folder", type=PATH, default=Path("demo"), metavar="[DIR]")
@json_option
def command(folder: Path, json_target: str | None) -> None:
    """Run everything on data that comes with the package: synthetic scenes and a tiny trained FCN."""
    from fcn_onnx import run
    from fcn_onnx.cli.tables import print_validation
    from fcn_onnx.stages.run import demo_recipe, inputs_of, outputs_of

    recipe = demo_recipe(folder)
    claim(json_target, outputs_of(recipe), inputs_of(recipe))
    result = run(
        recipe,
        force=True,
        command=shlex.join(["fcn-onnx", "demo", str(folder)]),
        progress=ConsoleProgress(),
    )
    write_json(result.validation.report, json_target)
    if not wants_stdout(json_target):
        print_validation(result.validation.document)
        print_line(f"report: {result.report}")
