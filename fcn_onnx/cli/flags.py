"""The flags of a command, made from its stage's options: there is no second list of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from fcn_onnx.jobs.fields import Checked, Declared, Pair, Triple, assemble, declared

Chosen = TypeVar("Chosen", bound=Checked)
Function = TypeVar("Function", bound=Callable[..., Any])

MOST_CHOICES, WIDEST_CHOICES = 8, 72
"""Names beside a flag, and their characters; more of them are listed where the help ends, and nowhere else."""

DRY_RUN_HELP = (
    "Do nothing and write nothing but --json: show what would be done, on which images, at which sizes, what is up to "
    "date, and an estimate of time and memory from two images."
)
JSON_TARGET, JSON_HELP = "FILE|-", "Write the result as one JSON object; - is stdout."


class Size(click.ParamType[Pair]):
    """`HxW` in pixels → (height, width)."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Pair:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", str(value))
        if not match:
            self.fail(f"{value!r} is not a size; write it as height x width, such as 520x520", param, ctx)
        return int(match[1]), int(match[2])


class Numbers(click.ParamType[Triple]):
    """`R,G,B` → three floats."""

    name = "R,G,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            red, green, blue = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not three numbers; write them as 0.485,0.456,0.406", param, ctx)
        return red, green, blue


PATH = click.Path(path_type=Path)
TYPES: Mapping[Any, click.ParamType[Any]] = {
    Path: PATH,
    Pair: Size(),
    Triple: Numbers(),
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
}


class StageCommand(click.Command):
    """A command whose flags are the fields of its stage's options.

    They are made when they are first asked for, so that listing the commands imports no table of names.

    Args:
        name: of the command.
        options: its stage's.
        act: does the work and prints; gets the options and the target of `--json`.
        tables: headings of the tables of names that the help ends with, by the field that takes one of them.
        examples: command lines, without the program's name.
        outline: `package.module:function` from options and progress to what would be done, of a command that works
            long: it has `--dry-run`.
        after: what the help ends with.
    """

    def __init__(
        self,
        name: str,
        options: type[Chosen],
        act: Callable[[Chosen, str | None], None],
        *,
        tables: Mapping[str, str] | None = None,
        examples: tuple[str, ...],
        outline: str | None = None,
        after: str = "",
    ) -> None:
        super().__init__(name, help=act.__doc__)
        self._options = options
        self._act: Callable[[Any, str | None], None] = act
        self._tables = tables or {}
        self._examples = examples
        self._outline = outline
        self._after = after
        self._made = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        self._make()
        return super().get_params(ctx)

    def make_parser(self, ctx: click.Context) -> Any:
        self._make()
        return super().make_parser(ctx)

    def invoke(self, ctx: click.Context) -> None:
        values = {name: value for name, value in ctx.params.items() if name not in ("json", "dry_run")}
        options = assemble(self._options, values)
        if ctx.params.get("dry_run") and self._outline:
            from fcn_onnx.cli.outlining import show

            show(self._outline, ctx.params["json"], options)
        else:
            self._act(options, ctx.params["json"])

    def _make(self) -> None:
        if self._made:
            return
        self._made = True
        entries = {entry.name: entry for entry in declared(self._options)}
        self.params = [parameter(entry) for entry in entries.values()]
        if self._outline:
            self.params.append(click.Option(["--dry-run", "dry_run"], is_flag=True, help=DRY_RUN_HELP))
        self.params.append(click.Option(["--json", "json"], metavar=JSON_TARGET, help=JSON_HELP))
        parts = [f"{heading}:\n\n{listed(entries[name].option.table())}" for name, heading in self._tables.items()]
        self.epilog = "\n\n".join(
            [*parts, *(f"Example: fcn-onnx {line}" for line in self._examples), self._after]
        ).strip("\n")


def json_option(function: Function) -> Function:
    """`--json FILE|-`, of a command that is no stage."""
    return click.option("--json", "json_target", metavar=JSON_TARGET, help=JSON_HELP)(function)


def parameter(entry: Declared) -> click.Parameter:
    """The flag, or the argument, of one option."""
    said = entry.option
    kind = click.Choice(list(said.table())) if said.names or said.also else TYPES.get(entry.kind)
    default = {} if entry.several or entry.required else {"default": entry.default}
    many = isinstance(kind, click.Choice) and (
        len(kind.choices) > MOST_CHOICES or len("|".join(map(str, kind.choices))) > WIDEST_CHOICES
    )
    if said.argument:
        count = -1 if entry.several else 1
        return click.Argument(
            [entry.name], type=kind, nargs=count, metavar=said.metavar, required=entry.required, **default
        )
    if entry.kind is bool:
        return _switch(entry)
    return click.Option(
        [entry.flag, entry.name],
        type=kind,
        required=entry.required,
        multiple=entry.several,
        metavar="NAME" if many else said.metavar,
        help=said.help,
        show_default=default.get("default") is not None and not isinstance(entry.default, tuple),
        **default,
    )


def _switch(entry: Declared) -> click.Option:
    """A flag without a value, with its opposite where it has one, or that alone."""
    opposite = entry.option.opposite
    alone = entry.flag == opposite
    return click.Option(
        [entry.flag if alone or not opposite else f"{entry.flag}/{opposite}", entry.name],
        is_flag=True,
        **({"flag_value": False} if alone else {}),
        default=entry.default,
        help=entry.option.help,
        show_default=bool(entry.default) and not alone,
    )


def listed(table: Mapping[str, str]) -> str:
    """Help text of a table of named things, a line each, kept as it is by click."""
    width = max(map(len, table))
    return "\n".join(["\b", *(f"  {name:<{width}}  {text}" for name, text in table.items())])
