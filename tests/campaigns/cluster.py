"""`cluster`: a command on a Ray cluster of two nodes, of which a worker is killed, or one goes. The result is the same.

A case takes half a minute, so that there is no short form: `python -m campaigns cluster --cases 8`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

from clusters import ENVIRONMENT, Nodes, cluster

from campaigns.children import Ended, executed
from campaigns.ground import Ground, results

IMAGES = 40
DATA = ("--data", "scenes/val2017")
MODELS = ("--fp32", "tiny.onnx", "--int8", "int8.onnx")
COMMANDS: dict[str, tuple[str, ...]] = {
    "calibrate": ("calibrate", "--model", "tiny.onnx", *DATA, "--limit", f"{IMAGES}", "--output", "out/t.json"),
    "quantize": ("quantize", "--model", "tiny.onnx", *DATA, "--limit", f"{IMAGES}", "--output", "out/int8.onnx"),
    "validate": ("validate", *MODELS, *DATA, "--include-calibration-images", "--report", "out/report"),
    "predict": ("predict", "tiny.onnx", "scenes/val2017", "--output", "out/pictures"),
}
TROUBLES = ("nothing", "a worker is killed", "a node goes", "both")
OWN = frozenset({"notes", "job", "command"})
"""Keys of a report that say how it was made."""


class OnCluster:
    """A case is a command and a trouble, at a random moment of its work."""

    name = "cluster"

    def __init__(self, ground: Ground) -> None:
        self.inputs = ground.root / "for clusters"
        self.inputs.mkdir()
        self.expected: dict[str, dict[str, Any]] = {}
        for arguments in (("demo", "made"), ("export", "--arch", "tiny", "--output", "tiny.onnx")):
            ended = called(arguments, self.inputs)
            assert ended.code == 0, ended
        shutil.move(self.inputs / "made/fcn-tiny-12-int8.onnx", self.inputs / "int8.onnx")
        shutil.move(self.inputs / "made/coco", self.inputs / "scenes")
        shutil.rmtree(self.inputs / "made")

    def case(self, number: int, random: Random) -> tuple[Counter[str], list[str], Path]:
        """Counts, violations, and the folder."""
        name, trouble = random.choice(sorted(COMMANDS)), TROUBLES[number % len(TROUBLES)]
        folder = self.inputs.parent / f"cluster-{number}"
        if name not in self.expected:
            alone = self.inputs.parent / f"alone {name}"
            shutil.copytree(self.inputs, alone, copy_function=os.link)
            assert (ended := called(COMMANDS[name], alone)).code == 0, ended
            self.expected[name] = compared(alone)
        shutil.copytree(self.inputs, folder, copy_function=os.link)
        with cluster(1, 1) as nodes:
            meddling = Thread(target=meddle, args=(nodes, trouble, random.uniform(0, 4), folder))
            meddling.start()
            ended = called((*COMMANDS[name], "--engine", "ray", "--address", nodes.address), folder)
            meddling.join()
        found = []
        if ended.code != 0:
            found.append(f"{name}, {trouble}: exit code {ended.code}: {ended.err[-500:]}")
        elif (made := compared(folder)) != self.expected[name]:
            others = sorted(key for key in made if made[key] != self.expected[name].get(key))
            found.append(f"{name}, {trouble}: {others} are not those of one process")
        again = ended.err.count("it is done again")
        return +Counter({trouble.replace(" ", "_"): 1, "done_again": again}), found, folder


def called(arguments: Sequence[str], folder: Path) -> Ended:
    """A command, run to its end."""
    return executed([sys.executable, "-P", "-m", "fcn_onnx", *arguments], folder, ENVIRONMENT)


def meddle(nodes: Nodes, trouble: str, after: float, folder: Path) -> None:
    """Wait until workers are at work, and do it `after` so many seconds."""
    until = time.monotonic() + 60
    while not (at_work := workers(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(after)
    if trouble in ("a worker is killed", "both"):
        for pid in (workers(folder) or at_work)[:1]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    if trouble in ("a node goes", "both"):
        nodes.remove()


def workers(folder: Path) -> list[int]:
    """Ray's processes that work in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            ours = entry.name.isdigit() and (entry / "cwd").readlink() == folder
            if ours and (entry / "cmdline").read_bytes().startswith(b"ray::"):
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


def compared(folder: Path) -> dict[str, Any]:
    """What a command made, without what is of one run alone: times, and pages that are drawn of them."""
    found: dict[str, Any] = {}
    for name, content in results(folder).items():
        if name.startswith("report/") and name.endswith(".json"):
            found[name] = _bare(json.loads(content))
        elif not name.endswith((".html", ".md")):
            found[name] = content
    return found


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(one) for key, one in value.items() if key not in OWN}
    return [_bare(one) for one in value] if isinstance(value, list) else value
