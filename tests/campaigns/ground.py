"""Where campaigns take place: a folder with models, images and all other inputs, and commands of known results."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from toys import photograph, residual_network, save, write_coco, write_voc

from campaigns.children import Ended, run

DATA = ("--data", "coco/val2017")
MODEL = "fcn-toy-12.onnx"
RECIPE = """
export: {arch: tiny}
quantize: {data: out/scenes/val2017, limit: 2}
validate: {data: out/scenes/val2017, limit: 2}
output: out
scenes: {folder: out/scenes, images: 4}
"""
TIMES = re.compile(
    r"(.*_)?(p50|p90|p99|mean|seconds|ms|latency|latencies.*|latency_.*|speedup.*|peak.*|share_of_peak)|gmacs_.*|command"
)
"""Keys of JSON, and names of arrays, whose values are of this run alone: times, and `--wait` in the command."""


@dataclass(frozen=True)
class Command:
    """A command whose results are in `out`.

    Attributes:
        arguments: of `fcn-onnx`.
        other: arguments that make another job of it, towards the same output.
    """

    arguments: tuple[str, ...]
    other: tuple[str, ...] = ("--limit", "2")


COMMANDS = {
    "calibrate": Command(("calibrate", *DATA, "--histograms", "out/h.npz", "--output", "out/t.json")),
    "calibrate with workers": Command(("calibrate", *DATA, "--workers", "2", "--output", "out/t.json")),
    "quantize": Command(("quantize", *DATA, "--output", "out/int8.onnx")),
    "search": Command(("quantize", *DATA, "--max-drop", "60", "--output", "out/int8.onnx")),
    "validate": Command(("validate", "--fp32", MODEL, "--int8", "second.onnx", *DATA, "--report", "out/report")),
    "predict": Command(
        ("predict", MODEL, "street.png", "coco/val2017", "--output", "out/pictures"), ("--multiple-of", "8")
    ),
    "export": Command(("export", "--arch", "tiny", "--output", "out/tiny.onnx", "--test-data"), ("--no-aux",)),
    "run": Command(("run", "r.yaml"), ("--force",)),
}


class Ground:
    """The inputs, made once, and a fresh folder with them for each case.

    Args:
        root: an empty folder.
        names: of the commands that campaigns try, if not all.
    """

    def __init__(self, root: Path, names: Sequence[str] = ()) -> None:
        self.root = root
        self.commands = {name: COMMANDS[name] for name in names or COMMANDS}
        self.inputs = root / "inputs"
        self.inputs.mkdir()
        save(residual_network(), self.inputs / MODEL)
        save(residual_network(1), self.inputs / "second.onnx")
        write_coco(self.inputs / "coco")
        write_voc(self.inputs)
        photograph(40, 30, 9).save(self.inputs / "street.png")
        (self.inputs / "r.yaml").write_text(RECIPE)
        self.known: dict[tuple[str, ...], tuple[dict[str, bytes], float]] = {}
        self.number = 0

    def fresh(self) -> Path:
        """A folder with the inputs, and an empty `tmp`; inputs are linked, so that they are replaced, never changed."""
        self.number += 1
        folder = self.root / f"case-{self.number}"
        shutil.copytree(self.inputs, folder, copy_function=os.link)
        (folder / "tmp").mkdir()
        return folder

    def run(self, arguments: tuple[str, ...], folder: Path) -> Ended:
        """Run a command to its end in such a folder."""
        return run(arguments, folder, environment={"TMPDIR": str(folder / "tmp")})

    def result(self, arguments: tuple[str, ...]) -> tuple[dict[str, bytes], float]:
        """What a command that nothing disturbs makes, and how long it takes, in seconds."""
        if arguments not in self.known:
            folder = self.fresh()
            ended = self.run(arguments, folder)
            assert ended.code == 0, ended
            self.known[arguments] = results(folder), ended.seconds
            assert not left_over(folder, self.known[arguments][0]), left_over(folder, self.known[arguments][0])
            shutil.rmtree(folder)
        return self.known[arguments]


def results(folder: Path) -> dict[str, bytes]:
    """What is in `out`, but for what is hidden: each file by name, without what is of one run alone."""
    out = folder / "out"
    found = sorted(path for path in out.rglob("*") if path.is_file()) if out.exists() else []
    names = {path: str(path.relative_to(out)) for path in found}
    return {name: essence(path) for path, name in names.items() if not _hidden(name)}


def left_over(folder: Path, expected: dict[str, bytes]) -> list[str]:
    """What a command that ended well should not have left."""
    inputs = {p.name for p in (folder.parent / "inputs").iterdir()} | {"tmp", "out"}
    strays = [path.name for path in folder.iterdir() if path.name not in inputs]
    strays += [f"tmp/{path.name}" for path in (folder / "tmp").iterdir()]
    out = folder / "out"
    files = [str(p.relative_to(out)) for p in out.rglob("*") if not p.is_dir()] if out.exists() else []
    return strays + [f"out/{name}" for name in files if name not in expected]


def differing(made: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """The names of files that only one has, or that are not the same."""
    return sorted(name for name in {*made, *expected} if made.get(name) != expected.get(name))


def essence(path: Path) -> bytes:
    """A file's content without times; what is not whole says so."""
    data = path.read_bytes()
    try:
        if path.suffix == ".json":
            return json.dumps(_timeless(json.loads(data)), sort_keys=True).encode()
        if path.suffix == ".npz" and path.parent.name == "report":
            with np.load(io.BytesIO(data)) as arrays:
                return b"".join(n.encode() + arrays[n].tobytes() for n in arrays.files if not TIMES.match(n))
    except Exception as error:
        return f"not whole: {error!r}".encode()
    if path.suffix == ".html":
        return b"a page" if data.rstrip().endswith(b"</html>") else b"not whole"
    if path.suffix == ".md":
        return b"a page" if data.endswith(b"\n") else b"not whole"
    return data


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if not TIMES.fullmatch(key)}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)
