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
import onnx
from toys import photograph, residual_network, save, write_coco, write_voc

from campaigns.children import Ended, run

DATA = ("--data", "coco/val2017")
MODEL = "fcn-toy-12.onnx"
RECIPE = """
export: {arch: tiny}
quantize: {data: out/scenes/val2017, limit: 2}
validate: {data: out/scenes/val2017, limit: 2, protocol: voc-native}
output: out
scenes: {folder: out/scenes, images: 4}
"""
TIMES = re.compile(
    r"(.*_)?(p50|p90|p99|mean|seconds|ms|latency|latencies.*|latency_.*|speedup.*|peak.*|.*_per_second|share_of_peak)"
    r"|gmacs_.*|command|skipped|parity|pairs|undone|front"
)
"""Keys of JSON, and names of arrays, whose values are of this run alone: times, `--wait` in the command, and what is
not looked at again where the output is up to date."""


@dataclass(frozen=True)
class Command:
    """A command whose results are in `out`.

    Attributes:
        arguments: of `fcn-onnx`.
        other: arguments that make another job of it, towards the same output; None if it knows no other.
        slow: it takes long, and writes what another writes too, or keeps nothing: some of its writes fail, and nothing
            else befalls it.
    """

    arguments: tuple[str, ...]
    other: tuple[str, ...] | None = ("--limit", "2")
    slow: bool = False


SCORED = ("validate", "--fp32", MODEL, *DATA, "--protocol", "voc-native")
VALIDATE = (*SCORED, "--int8", "second.onnx")
MADE: dict[tuple[str, ...], tuple[str, ...]] = {
    ("calibrate", *DATA, "--histograms", "out/h.npz", "--output", "out/t.json"): ("t.json", "h.npz"),
    ("quantize", *DATA, "--limit", "2", "--output", "out/int8.onnx"): ("int8.onnx",),
    (*SCORED, "--int8", "int8.onnx", "--limit", "2", "--report", "out/report"): ("report",),
}
"""Inputs that commands make of others."""

COMMANDS = {
    "calibrate": Command(
        ("calibrate", *DATA, "--histograms", "out/h.npz", "--output", "out/t.json", "--json", "out/c.json")
    ),
    "calibrate with workers": Command(("calibrate", *DATA, "--workers", "2", "--output", "out/t.json")),
    "calibrate from histograms": Command(
        ("calibrate", "--from", "h.npz", "--output", "out/t.json"), ("--method", "minmax")
    ),
    "quantize": Command(("quantize", *DATA, "--output", "out/int8.onnx", "--json", "out/q.json")),
    "search": Command(("quantize", *DATA, "--max-drop", "60", "--output", "out/int8.onnx")),
    "validate": Command((*VALIDATE, "--report", "out/report", "--json", "out/v.json", "--junit", "out/j.xml")),
    "predict": Command(
        ("predict", MODEL, "street.png", "coco/val2017", "--output", "out/pictures", "--json", "out/p.json"),
        ("--multiple-of", "8"),
    ),
    "export": Command(
        ("export", "--arch", "tiny", "--output", "out/tiny.onnx", "--test-data", "--json", "out/e.json"), ("--no-aux",)
    ),
    "run": Command(("run", "r.yaml", "--json", "out/run.json"), ("--set", "quantize.limit=1")),
    "demo": Command(("demo", "out", "--json", "out/demo.json"), None, slow=True),
    "benchmark": Command(
        ("benchmark", MODEL, "int8.onnx", "--runs", "2", "--json", "out/b.json", "--size", "32x32"),
        ("--size", "64x64"),
    ),
    "inspect": Command(("inspect", "int8.onnx", "--json", "out/i.json"), ("--size", "64x64")),
    "inspect a pair": Command(("inspect", MODEL, "int8.onnx", *DATA, "--json", "out/i.json"), ("--limit", "1")),
    "inspect histograms": Command(("inspect", "h.npz", "--plot", "out/h.html", "--json", "out/i.json"), None),
    "sensitivity": Command(
        (
            "sensitivity",
            "--model",
            "small.onnx",
            *DATA,
            "--trial-images",
            "1",
            "--report",
            "out/s",
            "--json",
            "out/s.json",
        )
    ),
    "report": Command(("report", "report/report.json", "--output", "out/report"), None),
    "compare": Command(
        ("compare", "report/report.json", "report/report.json", "--json", "out/c.json"), ("--max-drop", "5")
    ),
    "model-card": Command(
        ("model-card", "int8.onnx", "--report", "report", "--output", "out/README.md", "--json", "out/m.json"),
        ("--license", "mit"),
    ),
    "bundle": Command(("bundle", "int8.onnx", "--output", "out/served", "--json", "out/s.json"), ("--tile", "64x64")),
    "completion": Command(("completion", "bash"), None),
    "doctor": Command(("doctor",), None, slow=True),
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
        save(of_size(residual_network(), 64), self.inputs / "small.onnx")
        write_coco(self.inputs / "coco")
        write_voc(self.inputs)
        photograph(40, 30, 9).save(self.inputs / "street.png")
        (self.inputs / "r.yaml").write_text(RECIPE)
        self.known: dict[tuple[str, ...], tuple[dict[str, bytes], float]] = {}
        self.number = 0
        for made, files in MADE.items():
            self._make(made, files)

    def fresh(self) -> Path:
        """A folder with the inputs, and an empty `tmp`; inputs are linked, so that they are replaced, never changed."""
        self.number += 1
        folder = self.root / f"case-{self.number}"
        shutil.copytree(self.inputs, folder, copy_function=os.link)
        (folder / "tmp").mkdir()
        return folder

    def _make(self, arguments: tuple[str, ...], names: tuple[str, ...]) -> None:
        folder = self.fresh()
        ended = self.run(arguments, folder)
        assert ended.code == 0, ended
        for name in names:
            (folder / "out" / name).rename(self.inputs / name)
        shutil.rmtree(folder)

    def run(self, arguments: tuple[str, ...], folder: Path) -> Ended:
        """Run a command to its end in such a folder."""
        return run(arguments, folder, environment={"TMPDIR": str(folder / "tmp")})

    @property
    def quick(self) -> dict[str, Command]:
        """The commands that are not slow."""
        return {name: command for name, command in self.commands.items() if not command.slow}

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


def of_size(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """A model whose images are all of one size, to which they are brought."""
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim[2:]:
            dimension.dim_value = size
    return model


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
            return json.dumps(_timeless(json.loads(data, parse_int=float)), sort_keys=True).encode()
        if path.suffix == ".npz" and path.parent.name == "report":
            with np.load(io.BytesIO(data)) as arrays:
                return b"".join(n.encode() + arrays[n].tobytes() for n in arrays.files if not TIMES.match(n))
    except Exception as error:
        return f"not whole: {error!r}".encode()
    if path.suffix == ".html":
        return b"a page" if data.rstrip().endswith(b"</html>") else b"not whole"
    if path.suffix == ".xml":
        return b"a page" if data.endswith(b"</testsuites>\n") else b"not whole"
    if path.suffix == ".md":
        return b"a page" if data.endswith(b"\n") else b"not whole"
    return data


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if not TIMES.fullmatch(key)}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)
