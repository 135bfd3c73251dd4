"""What a command is about to write, checked before its work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import click

from fcn_onnx.cli.console import wants_stdout
from fcn_onnx.errors import OutputError


def claim(
    json_target: str | None,
    outputs: Mapping[str, Path | None] = MappingProxyType({}),
    inputs: Mapping[str, Path | None] = MappingProxyType({}),
) -> None:
    """`--json FILE` and `outputs` can be written, and are nothing that the command reads.

    Args:
        outputs: as for `claim_outputs`, options by their names.
        inputs: likewise; every path of the command line that is no output is read too.

    Raises:
        OutputError: see `claim_outputs`; or `--json` names an image.
    """
    from fcn_onnx.data.sets.folder import EXTENSIONS
    from fcn_onnx.jobs.artifact import claim_outputs
    from fcn_onnx.model.files import data_inputs

    path = None if json_target is None or wants_stdout(json_target) else Path(json_target)
    if path and path.suffix.lower() in EXTENSIONS:
        raise OutputError(f"--json {path} names an image", fix="name another file to write")
    given = {name: value for name, value in _paths(click.get_current_context()) if name not in outputs}
    read, written = {**given, **inputs}, {"--json": path, **outputs}
    claim_outputs(written, read)
    for model in read.values():
        if model and model.suffix == ".onnx" and model.is_file():
            claim_outputs(written, data_inputs(model, written.values()))


def _paths(context: click.Context) -> Iterator[tuple[str, Path]]:
    """Every path on the command line, by its option or argument."""
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if not isinstance(parameter.type, click.Path) or not value:
            continue
        if isinstance(value, tuple):
            yield from ((f"{parameter.opts[0]} {path}", path) for path in value)
        else:
            yield parameter.opts[0], value
