"""`fcn-onnx run`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from fcn_onnx.cli.claims import claim
from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.cli.flags import DRY_RUN_HELP, PATH, json_option
from fcn_onnx.cli.outlining import show
from fcn_onnx.cli.summary import summarise


@click.command(
    "run", epilog="Example: fcn-onnx run recipes/fcn-resnet50.yaml --set quantize.limit=32 --set export.opset=13"
)
@click.argument("recipe", type=PATH, metavar="RECIPE.yaml")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Overrides the recipe.")
@click.option("--force", is_flag=True, help="Redo it though nothing has changed.")
@click.option("--dry-run", is_flag=True, help=DRY_RUN_HELP)
@click.option(
    "--save", type=PATH, metavar="FILE", help="Also write the recipe with --set and all that the run decided in it."
)
@click.option(
    "--junit", type=PATH, metavar="FILE", help="Also write the run and its gates as JUnit XML, which CI shows as tests."
)
@json_option
def command(
    recipe: Path,
    overrides: tuple[str, ...],
    force: bool,
    dry_run: bool,
    save: Path | None,
    junit: Path | None,
    json_target: str | None,
) -> None:
    """Export, quantize and validate as a recipe says; what is up to date is not made again."""
    from fcn_onnx import run as run_recipe
    from fcn_onnx.cli.tables import print_validation
    from fcn_onnx.evaluation.gates import exit_code
    from fcn_onnx.stages.recipe import load_recipe
    from fcn_onnx.stages.run import inputs_of, outputs_of

    plan = load_recipe(recipe, overrides)
    if dry_run:
        show("fcn_onnx.stages.outlines:run", json_target, plan, force=force)
        return
    claim(json_target, outputs_of(plan) | {"--save": save, "--junit": junit}, inputs_of(plan))
    result = run_recipe(
        plan,
        force=force,
        save=save,
        junit=junit,
        command=shlex.join(["fcn-onnx", *sys.argv[1:]]),
        progress=ConsoleProgress(),
    )
    summarise(result.validation.document)
    write_json(result.validation.report, json_target)
    if not wants_stdout(json_target):
        print_validation(result.validation.document)
        print_line(f"report: {result.report}")
    sys.exit(exit_code([result.validation.outcome]))
