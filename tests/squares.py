"""A task for workers that are no children of the test, which import it by this name."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_onnx.errors import ImageError
from fcn_onnx.jobs.executor import Names


@dataclass(frozen=True)
class Squares:
    """n², summed where it is made; but for numbers that it fails at, dies of, or cannot read the first time.

    Attributes:
        marks: a folder for notes of what happened once.
        dies: how often, of 7.
    """

    marks: Path | None = None
    dies: int = 0
    fails_at: int = -1
    unread_at: int = -1
    sums: bool = False

    def load(self, item: int) -> int | ImageError:
        if item == self.unread_at and self.first_time("unread"):
            try:
                raise OSError(errno.ESTALE, "Stale file handle")
            except OSError as error:
                unread = ImageError("cannot read", fix="nothing")
                unread.__cause__ = error
                return unread
        if item == self.fails_at:
            raise ImageError(f"cannot read {item}", fix="nothing")
        return item

    def open(self) -> Callable[[int | ImageError], Any]:
        return self.square

    def square(self, item: int | ImageError) -> Any:
        if item == 7 and any(self.first_time(f"death {number}") for number in range(self.dies)):
            os.kill(os.getpid(), signal.SIGKILL)
        return item if isinstance(item, ImageError) else item * item

    def first_time(self, what: str) -> bool:
        assert self.marks is not None
        try:
            (self.marks / what).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Summed(Squares):
    def joined(self, results: Sequence[tuple[str, Any]]) -> list[tuple[Names, Any]]:
        return [(tuple(name for name, _ in results), sum(value for _, value in results))]
