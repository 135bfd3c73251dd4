"""Where unfinished work is kept."""

from __future__ import annotations

from pathlib import Path


def journal_path(output: Path) -> Path:
    """Where the work towards `output` is kept until it is done."""
    return nearest_folder(output) / f".{output.name}.journal"


def nearest_folder(path: Path) -> Path:
    """`path` itself if it is a folder, or the first of its parents that exists."""
    return next(p for p in [path, *path.absolute().parents] if p.is_dir())
