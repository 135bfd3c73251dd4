"""How long work tells someone how far it is.

The library is silent: every stage takes a `Progress` and defaults to `SILENT`. The command line
passes one that draws a bar with an ETA on stderr (`fcn_onnx.cli.console`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """A one-way channel from a stage to whoever watches it."""

    def track(self, items: Iterable[T], *, total: int, label: str, done: int = 0) -> Iterator[T]:
        """Yield `items`, reporting each one; `done` of `total` were finished by an earlier run."""
        ...

    def note(self, message: str) -> None:
        """Say one line that the user should know, such as a choice made or a fallback taken."""
        ...


class SilentProgress:
    """Reports nothing."""

    def track(self, items: Iterable[T], *, total: int, label: str, done: int = 0) -> Iterator[T]:
        yield from items

    def note(self, message: str) -> None:
        pass


SILENT: Progress = SilentProgress()
