"""Files that say where they came from and are written whole or not at all.

Digests are SHA-256, written `sha256:<hex>`. A *job digest* covers everything a stage's result
depends on; an artifact that carries the digest of the job at hand need not be made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fcn_onnx.errors import OutputError
from fcn_onnx.jobs.files import sync, writing
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.jobs.reading import open_regular
from fcn_onnx.jobs.scratch import file_in, folder_in, sweep_once
from fcn_onnx.jobs.text import utf8

FORM_VERSION = 6
"""Of what we write: models, tables, pictures. Raised by every change after which the same inputs give another file, so
that what an older version wrote is made again."""

CORE = ("fcn-onnx", "onnx", "onnxruntime", "numpy")
"""Packages that every stage's result depends on."""

PACKAGES = (*CORE, "pillow", "pycocotools", "torch", "torchvision", "onnxscript", "neural-compressor")


MANY_FILES = 500
UNREADABLE = "unreadable"

NOTHING: Mapping[str, Path | None] = MappingProxyType({})
Identity = tuple[int, int] | str
"""Of a file that is there: device and inode; of one that is not: the real path."""


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
    """`sha256:<hex>` of a file's bytes, read in pieces. Raises OSError as for `open_regular`."""
    with open_regular(path) as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(paths: Sequence[Path], progress: Progress = SILENT) -> tuple[str, ...]:
    """`digest_file` of each path; `UNREADABLE` where that fails, as whoever uses the file will say why.

    Some 400 MB a second: 5,000 photographs take two seconds.
    """
    return digest_each([partial(digest_file, path) for path in paths], progress)


def digest_each(digests: Sequence[Callable[[], str]], progress: Progress = SILENT) -> tuple[str, ...]:
    """What each returns; `UNREADABLE` where it raises OSError."""

    def taken(digest: Callable[[], str]) -> str:
        try:
            return digest()
        except OSError:
            return UNREADABLE

    found = map(taken, digests)
    if len(digests) < MANY_FILES:  # done before a bar could be seen
        return tuple(found)
    return tuple(progress.track(found, total=len(digests), label="reading images"))


def digest_json(value: Any) -> str:
    """Digest of a JSON value, whatever the order of its keys."""
    return digest_bytes(utf8(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)))


def job_digest(stage: str, *packages: str, **inputs: Any) -> str:
    """The digest of one run of a stage: of its inputs, JSON values, and of what turns them into the result.

    Args:
        stage: its name.
        packages: those that this run's result depends on, beside `CORE`.
        inputs: everything that it depends on; what it does not depend on (threads, places to write to) stays out.
    """
    made_by = {"form": FORM_VERSION, "versions": versions((*CORE, *packages))}
    return digest_json({"stage": stage, "made_by": made_by, "inputs": inputs})


def dump_json(value: Mapping[str, Any], *, ascii_only: bool = False) -> str:
    """The one JSON style of our files: two-space indent, UTF-8 (or `\\uXXXX`), NaN refused, final newline."""
    return json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def claim_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None] = NOTHING) -> None:
    """Check before the work that every output can be written at its end, and make the folders that they go to.

    Args:
        outputs: files by what the user calls them, such as `--output`; None where there is none.
        inputs: files that are read, likewise, such as `the model`.

    Raises:
        OutputError: an output is an input, another output, or below one; or it cannot be written.
    """
    wanted = {name: path for name, path in outputs.items() if path is not None}
    require_distinct(wanted, inputs)
    for path in wanted.values():
        nearest = next(parent for parent in path.absolute().parents if _stat(parent))
        _require_place(path, nearest)
    for path in wanted.values():
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        require_writable(path)


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None] = NOTHING) -> None:
    """The same without a trace: no folder is made and no file tried, so that a full disk is not seen.

    Raises:
        OutputError: see `claim_outputs`.
    """
    wanted = {name: path for name, path in outputs.items() if path is not None}
    require_distinct(wanted, inputs)
    for path in wanted.values():
        nearest = next(parent for parent in path.absolute().parents if _stat(parent))
        if path.is_dir() or not nearest.is_dir() or not os.access(nearest, os.W_OK):
            raise OutputError(f"{path} cannot be written", fix="name a file in a folder that can be written")


def require_distinct(outputs: Mapping[str, Path], inputs: Mapping[str, Path | None] = NOTHING) -> None:
    """Raise OutputError if an output is an input, another output, or below one, by whatever path or link."""
    read = {_identity(path): name for name, path in inputs.items() if path is not None}
    written: dict[Identity, str] = {}
    for name, path in outputs.items():
        identity = _identity(path)
        if identity in read:
            raise OutputError(
                f"{name} would overwrite {path}, which is {read[identity]}", fix="name another file to write"
            )
        if identity in written:
            raise OutputError(f"{written[identity]} and {name} are both {path}", fix="give each a file of its own")
        written[identity] = name
    above = {parent for path in outputs.values() for parent in path.absolute().parents}
    for parent in sorted(above):
        if (identity := _identity(parent)) in written:
            raise OutputError(
                f"{written[identity]} is {parent}, below which others are to be written", fix="name another file"
            )


def require_writable(path: Path) -> None:
    """Check before long work that `path` can be written at its end.

    Raises:
        OutputError: the folder is missing or not writable, or `path` is itself a folder, or no plain file.
    """
    _require_place(path, path.parent)


def _require_place(path: Path, folder: Path) -> None:
    """`path`, or a file of its name in `folder` where its own folder is still to be made, can be written."""
    found, place = _stat(path), _stat(folder)
    if found and not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
        raise OutputError(f"{path} is {kind}, not a file", fix="name a file to write")
    if place is None or not stat.S_ISDIR(place.st_mode):
        kind = "does not exist" if place is None else "is a file"
        raise OutputError(f"cannot write {path}: the folder {folder} {kind}", fix="write to another place")
    with writing(path), file_in(folder, *_beside(path)):
        pass


def _stat(path: Path) -> os.stat_result | None:
    """Of what is there; None where nothing is, or nothing can be seen."""
    try:
        return path.stat()
    except OSError:
        return None


def _identity(path: Path) -> Identity:
    """The same for all names of a file, links included."""
    found = _stat(path)
    return (found.st_dev, found.st_ino) if found else os.path.realpath(path)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, else it is removed.

    It is on the disk before it gets its name, and its name before this returns: a power cut leaves the old or the new.

    Raises:
        OutputError: `path` cannot be written.
    """
    require_writable(path)
    with writing(path, path.parent), file_in(path.parent, *_beside(path)) as temporary:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _replace({temporary: path})


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
    # inside a folder that is there already: it may be a mount, which nothing can be moved into in one step
    parent = path if path.is_dir() else path.parent
    with writing(path, parent):
        parent.mkdir(parents=True, exist_ok=True)
        sweep_once(path.parent, _beside(path)[0], "")  # from before there was a folder
        with folder_in(parent, _beside(path)[0]) as temporary:
            yield temporary
            files = sorted(p for p in temporary.rglob("*") if p.is_file())
            _replace({file: path / file.relative_to(temporary) for file in files})


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically; bytes of a file's name that are none become `\\udcXX`, in JSON as in prose."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _replace(targets: Mapping[Path, Path]) -> None:
    """Give written files their names: when all of them are on the disk."""
    for source, target in targets.items():
        with writing(target):
            sync(source)
    for source, target in targets.items():
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
    for folder in {target.parent: None for target in targets.values()}:
        with writing(folder):
            sync(folder)


def _beside(path: Path) -> tuple[str, str]:
    """How the names of temporary files and folders towards `path` begin and end."""
    return f".{path.name}.part-", path.suffix


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
