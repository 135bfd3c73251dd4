"""Files that say where they came from and are written whole or not at all.

Digests are SHA-256, written `sha256:<hex>`. A *job digest* covers everything a stage's result
depends on; an artifact that carries the digest of the job at hand need not be made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fcn_onnx.errors import OutputError

FORM_VERSION = 2
"""Of what we write: models, tables, pictures. Raised by every change after which the same inputs give another file, so
that what an older version wrote is made again."""

CORE = ("fcn-onnx", "onnx", "onnxruntime", "numpy")
"""Packages that every stage's result depends on."""

PACKAGES = (*CORE, "pillow", "pycocotools", "torch", "torchvision", "onnxscript", "neural-compressor")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of the packages that decide a result, those that are installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def digest_bytes(data: bytes) -> str:
    """`sha256:<hex>` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """`sha256:<hex>` of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """Digest of a JSON value, whatever the order of its keys."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def job_digest(stage: str, *packages: str, **inputs: Any) -> str:
    """The digest of one run of a stage: of its inputs, JSON values, and of what turns them into the result.

    Args:
        stage: its name.
        packages: those that this run's result depends on, beside `CORE`.
        inputs: everything that it depends on; what it does not depend on (threads, places to write to) stays out.
    """
    made_by = {"form": FORM_VERSION, "versions": versions((*CORE, *packages))}
    return digest_json({"stage": stage, "made_by": made_by, "inputs": inputs})


def dump_json(value: Mapping[str, Any]) -> str:
    """The one JSON style of our files: two-space indent, UTF-8, NaN refused, final newline."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def require_writable(path: Path) -> None:
    """Check before long work that `path` can be written at its end.

    Raises:
        OutputError: the folder is missing or not writable, or `path` is itself a folder.
    """
    folder = path.parent
    if path.is_dir():
        raise OutputError(f"{path} is a folder, not a file", fix="name a file to write")
    if not folder.is_dir():
        raise OutputError(
            f"cannot write {path}: the folder {folder} does not exist",
            fix=f"create it (mkdir -p {folder}) or choose another --output",
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}",
            fix="choose a folder that you may write to, with --output",
        ) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, else it is removed.

    Raises:
        OutputError: `path` cannot be written.
    """
    require_writable(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success its files move into `path` (created if need be).

    Files already in `path` that the new ones do not replace stay.

    Raises:
        OutputError: `path` cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file, not a folder", fix="name a folder to write into")
    existing = next(parent for parent in [path, *path.absolute().parents] if parent.exists())
    require_writable(existing / "x")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        for file in sorted(p for p in temporary.rglob("*") if p.is_file()):
            target = path / file.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            _replace(file, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _replace(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}",
            fix="choose another place to write to",
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
