"""`fuzz`: inputs and options that are almost right. Exit code 0, 1 or 2 with one message; no traceback, no signal, no
hang, no more than 3 GB, and no nonsense where it says that all went well."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import click
import onnx
import torch
from checkpoint_files import mindspore, mxnet
from PIL import Image
from safetensors.torch import save as safetensors

from campaigns.children import MEMORY_BYTES, Child, Ended, forked
from campaigns.ground import DATA, MODEL, Ground
from campaigns.mutations import (
    Mutation,
    archive_changed,
    card_changed,
    flipped,
    json_changed,
    model_changed,
    text_changed,
)
from fcn_onnx.cli import main

CALIBRATE = ("calibrate", *DATA, "--limit", "2", "--output", "out/t.json")
QUANTIZE = ("quantize", *DATA, "--limit", "2", "--output", "out/int8.onnx")
PREDICT = ("predict", MODEL, "street.png", "--output", "out/pictures", "--json", "out/p.json")
SHOWN_AT_520 = ("validate", "--fp32", MODEL, "--int8", "second.onnx", *DATA, "--limit", "2", "--report", "out/report")
VALIDATE = (*SHOWN_AT_520, "--protocol", "voc-native")
VOC = ("validate", "--fp32", MODEL, "--int8", "second.onnx", "--data", "VOCdevkit/VOC2012", "--report", "out/report")
LISTED = ("calibrate", *DATA, "--images", "list.txt", "--output", "out/t.json")
REPORT = ("report", "report/report.json", "--output", "out")
COCO_JSON = "coco/annotations/instances_val2017.json"


@dataclass(frozen=True)
class Target:
    """An input, and what reads it.

    Attributes:
        file: which is changed.
        mutations: ways to change it.
        commands: that read it.
    """

    file: str
    mutations: tuple[Mutation, ...]
    commands: tuple[tuple[str, ...], ...]


TARGETS = {
    "model": Target(
        MODEL,
        (model_changed, model_changed, flipped),
        (
            ("inspect", MODEL, "--json", "out/i.json"),
            ("benchmark", MODEL, "--size", "32x32", "--runs", "1", "--json", "out/b.json"),
            *(CALIBRATE, QUANTIZE, PREDICT, VALIDATE),
        ),
    ),
    "int8 model": Target(
        "int8.onnx",
        (model_changed, model_changed, card_changed, flipped),
        (
            ("inspect", "int8.onnx", "--json", "out/i.json"),
            ("inspect", MODEL, "int8.onnx", *DATA, "--limit", "1", "--json", "out/i.json"),
            ("predict", "int8.onnx", "street.png", "--output", "out/pictures"),
            ("validate", "--fp32", MODEL, "--int8", "int8.onnx", *DATA, "--limit", "2", "--report", "out/report"),
        ),
    ),
    "model in two files": Target(
        "split.onnx",
        (model_changed, model_changed, flipped),
        (
            ("inspect", "split.onnx", "--json", "out/i.json"),
            ("predict", "split.onnx", "street.png", "--output", "out/pictures"),
            ("quantize", "--model", "split.onnx", *DATA, "--limit", "2", "--output", "out/int8.onnx"),
        ),
    ),
    "photograph": Target("street.png", (flipped,), (PREDICT,)),
    "image": Target("coco/val2017/000000000001.jpg", (flipped,), (CALIBRATE, SHOWN_AT_520)),
    "COCO": Target(COCO_JSON, (json_changed, json_changed, json_changed, flipped), (VALIDATE, VALIDATE, CALIBRATE)),
    "mask": Target("VOCdevkit/VOC2012/SegmentationClass/2007_000001.png", (flipped,), (VOC,)),
    "VOC list": Target("VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", (text_changed, flipped), (VOC,)),
    "list": Target("list.txt", (text_changed, flipped), (LISTED,)),
    "classes": Target("classes.txt", (text_changed, flipped), ((*PREDICT, "--classes", "classes.txt"),)),
    "table": Target(
        "t.json",
        (json_changed, json_changed, flipped),
        (("quantize", "--ranges", "t.json", "--output", "out/int8.onnx"),),
    ),
    "histograms": Target(
        "h.npz",
        (archive_changed, flipped),
        (
            ("inspect", "h.npz", "--plot", "out/h.html", "--json", "out/h.json"),
            ("calibrate", "--from", "h.npz", "--output", "out/t.json"),
        ),
    ),
    "report": Target(
        "report/report.json",
        (json_changed, json_changed, flipped),
        (REPORT,),
    ),
    "report's arrays": Target("report/images.npz", (archive_changed, flipped), (REPORT,)),
    "recipe": Target("r.yaml", (text_changed, text_changed, flipped), (("run", "r.yaml"),)),
    **{
        f"{kind} checkpoint": Target(
            f"w.{kind}", mutations, (("export", "--arch", "tiny", "--weights", f"w.{kind}", "--output", "out/w.onnx"),)
        )
        for kind, mutations in {
            "zip": (archive_changed, flipped),
            "legacy": (flipped,),
            "params": (flipped,),
            "ckpt": (flipped,),
            "safetensors": (flipped,),
        }.items()
    },
}
COMMANDS = tuple(dict.fromkeys(command for target in TARGETS.values() for command in target.commands))
OPTIONS, NOTHING = "options", "nothing"
CONTROLS = 0.04
"""Share of cases in which nothing is changed, and all must go well: else the others would prove little."""

WORDS = (
    *("", "0", "-1", "1", "2", "1e9", "nan", "inf", "-inf", "0.5", "99999999999999999999", "x", "../..", "None", "-"),
    *("/dev/null", "/dev/zero", ".", "\x1b[31m", "ü", "a" * 4000, "0x0", "1x1", "99999x99999", "32x32", "--", "true"),
    *("1,2,3", "nan,nan,nan", "0,0,0", "1e-9,1e-9,1e-9", "BGR", "auto", "coco", "r.yaml", "street.png", "second.onnx"),
    *("t.json", "h.npz", "out", "int8.onnx", "list.txt", "classes.txt", "VOCdevkit/VOC2012", "report"),
)


class Fuzz:
    """A case is one input that was changed, or one option, and a command that reads it."""

    name = "fuzz"

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        _add_inputs(ground)
        context = click.Context(main)
        named = {name: main.get_command(context, name) for name in main.list_commands(context)}
        self.parameters = {n: c.get_params(context) for n, c in named.items() if c is not None}

    def case(self, number: int, random: Random) -> tuple[Counter[str], list[str], Path]:
        """Counts, violations, and the folder."""
        kind = NOTHING if random.random() < CONTROLS else random.choice([*TARGETS, OPTIONS, OPTIONS, OPTIONS])
        folder = self.ground.fresh()
        if kind == NOTHING:
            command = random.choice(COMMANDS)
        else:
            command = self._with_other_option(random) if kind == OPTIONS else _changed(folder, TARGETS[kind], random)
        ended = Child(command, folder, environment={"TMPDIR": str(folder / "tmp")}).wait()
        counts = Counter({f"exits {ended.code}": 1})
        found = [f"{kind}, {' '.join(command)[:300]!r}: {what}" for what in _wrong(ended, folder)]
        if kind == NOTHING and ended.code != 0:
            found.append(f"nothing was changed, and exit code {ended.code}: {ended.err[-300:]}")
        return counts, found, folder

    def _with_other_option(self, random: Random) -> tuple[str, ...]:
        base = random.choice(COMMANDS)
        flags = [p for p in self.parameters[base[0]] if isinstance(p, click.Option)]
        added: list[str] = []
        for _ in range(random.choice((1, 1, 2, 3))):
            option = random.choice(flags)
            flag = random.choice([*option.opts, *option.secondary_opts])
            choices = list(option.type.choices) if isinstance(option.type, click.Choice) else []
            word = random.choice(choices) if choices and random.random() < 0.7 else random.choice(WORDS)
            added += [flag] if option.is_flag else [flag, word]
        at = random.choice((1, len(base)))
        return (*base[:at], *added, *base[at:])


def _changed(folder: Path, target: Target, random: Random) -> tuple[str, ...]:
    path = folder / target.file
    data = random.choice(target.mutations)(path.read_bytes(), random)
    path.unlink()  # it is a link to what all cases have
    path.write_bytes(data)
    return random.choice(target.commands)


def _wrong(ended: Ended, folder: Path) -> list[str]:
    found = []
    errors = sum(line.lower().startswith("error: ") for line in ended.err.splitlines())
    if ended.late or ended.code not in (0, 1, 2, 3):
        found.append(f"exit code {ended.code} after {ended.seconds:.0f} s: {ended.err[-300:]}")
    if "Traceback" in ended.err or "a fault of fcn-onnx" in ended.err:
        found.append(f"a fault: {ended.err[-500:]}")
    elif ended.code == 2 and errors != 1:
        found.append(f"{errors} messages: {ended.err[-500:]}")
    if ended.peak_mb << 20 > MEMORY_BYTES:
        found.append(f"{ended.peak_mb} MB")
    if ended.orphans:
        found.append("a process that it started lived on")
    if any(character in ended.err + ended.out for character in "\x1b\u202e\0"):
        found.append("what it said steers a terminal")
    if strays := list((folder / "tmp").iterdir()):
        found.append(f"left in $TMPDIR: {strays}")
    if ended.code == 0:
        found += [f"{path.name}: {what}" for path in (folder / "out").rglob("*") if (what := _nonsense(path))]
    return found


def _nonsense(path: Path) -> str | None:
    """What is wrong with a file of a command that ended well."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes(), parse_constant=_refuse)
        elif path.suffix == ".onnx":
            onnx.checker.check_model(onnx.load(path), full_check=True)
        elif path.suffix in (".png", ".jpg"):
            Image.open(path).load()
    except Exception as error:
        return repr(error)[:300]
    return None


def _refuse(word: str) -> float:
    raise ValueError(f"{word} in JSON")


def _add_inputs(ground: Ground) -> None:
    """What `TARGETS` change, beside the ground's own inputs."""
    inputs = ground.inputs
    (inputs / "list.txt").write_text("000000000001.jpg\n000000000003.jpg\n")
    (inputs / "classes.txt").write_text("".join(f"class {index}\n" for index in range(21)))
    forked(lambda: _add_checkpoints(inputs))
    model = onnx.load(inputs / MODEL)
    onnx.save(model, inputs / "split.onnx", save_as_external_data=True, location="split.data", size_threshold=128)


def _add_checkpoints(folder: Path) -> None:
    """The tiny network's weights in every format."""
    from fcn_onnx.networks.checkpoints.reading import read_checkpoint
    from fcn_onnx.networks.tiny import WEIGHTS

    state = read_checkpoint(WEIGHTS).state
    writers: dict[str, Callable[[], bytes]] = {
        "zip": lambda: _saved(state, True),
        "legacy": lambda: _saved(state, False),
        "params": lambda: mxnet({k: v for k, v in state.items() if v.dim()}),
        "ckpt": lambda: mindspore(state),
        "safetensors": lambda: safetensors(state),
    }
    for name, write in writers.items():
        (folder / f"w.{name}").write_bytes(write())


def _saved(state: dict[str, torch.Tensor], zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": state, "epoch": 1}, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()
