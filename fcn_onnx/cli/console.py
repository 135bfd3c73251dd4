"""What a person sees: a progress bar and notes on stderr, tables on stdout, JSON where it was asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fcn_onnx.cli.edge import to_stdout
from fcn_onnx.jobs.text import one_line, visible

T = TypeVar("T")
WIDEST = 200


class ConsoleProgress:
    """`fcn_onnx.jobs.progress.Progress` on stderr: a bar with an ETA on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console  # what draws is loaded when something is drawn

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def track(self, items: Iterable[T], *, total: int, label: str, done: int = 0) -> Iterator[T]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task(label, total=total, completed=done)
            for item in items:
                yield item
                bar.advance(task)

    def note(self, message: str) -> None:
        from rich.text import Text

        self._console.print(Text(visible(message), style="dim"))


def print_line(text: str) -> None:
    """Text on stdout, never wrapped or styled."""
    with to_stdout():
        sys.stdout.write(visible(text) + "\n")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], texts: Container[int] = (0,)) -> None:
    """A table on stdout, columns of text left-aligned and the others right-aligned; a narrow terminal cuts nothing."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(header):
        table.add_column(Text(one_line(name)), justify="left" if index in texts else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    console = Console(highlight=False, width=max(Console().width, WIDEST))
    with console.capture() as drawn:  # rich itself would end the program if nobody reads
        console.print(table)
    with to_stdout():
        sys.stdout.writelines(f"{line.rstrip()}\n" for line in drawn.get().splitlines())


def wants_stdout(target: str | None) -> bool:
    """Whether `--json -` was asked for, so that nothing else may go to stdout."""
    return target == "-"


def write_json(value: Mapping[str, Any], target: str | None) -> None:
    """Write the command's JSON object to `--json FILE|-`; without the option, nothing."""
    if target is None:
        return
    from fcn_onnx.jobs.artifact import dump_json, write_text

    if wants_stdout(target):
        encoding = (sys.stdout.encoding or "utf-8").lower()
        text = dump_json(json.loads(json.dumps(value)), ascii_only=not encoding.startswith("utf"))
        with to_stdout():
            sys.stdout.write(text)
    else:
        write_text(Path(target), dump_json(value))


def megabytes(size_bytes: int) -> str:
    """Decimal megabytes."""
    return f"{size_bytes / 1e6:.1f} MB"
