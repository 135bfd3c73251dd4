"""`--dry-run`: what a command would do, printed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fcn_onnx.cli.console import ConsoleProgress, print_line, wants_stdout, write_json
from fcn_onnx.jobs.places import found

if TYPE_CHECKING:
    from fcn_onnx.stages.outline import Outline


def show(place: str, json_target: str | None, *given: Any, **more: Any) -> None:
    """Print the outline that the function at `package.module:function` makes.

    Args:
        given, more: what it is called with, beside the progress.
    """
    sys.dont_write_bytecode = True  # of a network of the user's own, neither
    outline: Callable[..., tuple[Outline, ...]] = found(place)
    stages = outline(*given, ConsoleProgress(), **more)
    write_json({"stages": [stage.to_json() for stage in stages]}, json_target)
    if not wants_stdout(json_target):
        for line in (line for stage in stages for line in stage.lines()):
            print_line(line)
