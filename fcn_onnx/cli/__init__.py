"""The command line: each command parses, calls one function of the package, and prints."""

from __future__ import annotations

from importlib import import_module

import click

from fcn_onnx.cli.edge import edge

COMMANDS = (
    "export",
    "calibrate",
    "quantize",
    "validate",
    "benchmark",
    "predict",
    "inspect",
    "sensitivity",
    "report",
    "compare",
    "model-card",
    "bundle",
    "run",
    "demo",
    "doctor",
    "completion",
)
"""In the order in which they are used. Each is the `command` of the module of its name, and imports what it works with
when it is run: help is shown without."""


class Group(click.Group):
    """Imports a command when it is asked for, and runs it within the edge."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"fcn_onnx.cli.{name.replace('-', '_')}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        with edge():
            return super().invoke(ctx)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fcn-onnx", prog_name="fcn-onnx")
def main() -> None:
    """Export a segmentation network to ONNX, quantize it to int8, and prove that int8 did not break it.

    \b
    Example:
      fcn-onnx export --arch resnet50 --opset 12
      fcn-onnx quantize --data coco/val2017
      fcn-onnx validate --data coco/val2017

    Exit codes: 0 done; 1 the work failed or a gate was not met; 2 bad usage or input; 3 undecided; 130 and 143
    after SIGINT and SIGTERM.
    """
