"""The command line: each command parses, calls one function of the package, and prints."""

from __future__ import annotations

import click

from fcn_onnx import __version__
from fcn_onnx.cli.benchmark import command as benchmark
from fcn_onnx.cli.calibrate import command as calibrate
from fcn_onnx.cli.demo import demo
from fcn_onnx.cli.doctor import doctor
from fcn_onnx.cli.edge import edge
from fcn_onnx.cli.export import command as export
from fcn_onnx.cli.inspect import command as inspect
from fcn_onnx.cli.predict import command as predict
from fcn_onnx.cli.quantize import command as quantize
from fcn_onnx.cli.report import report
from fcn_onnx.cli.run import run
from fcn_onnx.cli.validate import command as validate


class Group(click.Group):
    """Lists commands in the order in which they are used, and runs them within the edge."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        with edge():
            return super().invoke(ctx)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fcn-onnx")
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


for command in (export, calibrate, quantize, validate, benchmark, predict, inspect, report, run, demo, doctor):
    main.add_command(command)
