"""Pages that other commands have made of the same fp32 model, where they lie beside a report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fcn_onnx.report.sensitivity import FILES, found_in
from fcn_onnx.report.sensitivity_page import title_of, verdict_line

DATA, PAGE = FILES


@dataclass(frozen=True)
class Link:
    """To another page: `title` is what one follows, `said` what that page says first, `target` a relative URL."""

    title: str
    said: str
    target: str


def pages_beside(report: Path, digest: str, seen_from: Path) -> tuple[Link, ...]:
    """The pages that lie in a report's folder, or in one beside it, and are of the same fp32 model.

    What cannot be read, or is of another model, is left out.

    Args:
        report: the report's folder.
        digest: of the fp32 model.
        seen_from: the folder of the page that links them.
    """
    return tuple(
        Link(title_of(found), verdict_line(found), _target(path.with_name(PAGE), seen_from))
        for path in _places(report)
        if (found := found_in(path)) and found.digest == digest
    )


def _places(report: Path) -> Iterator[Path]:
    """Where `sensitivity.json` may be: in the folder itself, or in one that `sensitivity --report` named."""
    folder = report.absolute()
    yield folder / DATA
    for path in sorted(folder.parent.glob(f"*/{DATA}")):
        if path.parent != folder and not path.parent.name.startswith("."):  # that of a run that was killed
            yield path


def _target(page: Path, seen_from: Path) -> str:
    return quote(os.fsencode(Path(os.path.relpath(page, seen_from.absolute())).as_posix()))
