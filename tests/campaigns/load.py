"""`load`: 200, 1,000 and 5,000 images of one data set. What a command holds does not grow with them, nor does what an
image costs, and the report stays a file that can be opened."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from campaigns.children import Ended, executed
from campaigns.ground import MODEL, Ground

COMMANDS: dict[str, tuple[str, ...]] = {
    "validate": ("validate", "--fp32", MODEL, "--int8", "second.onnx", "--protocol", "voc-native"),
    "calibrate": ("calibrate", "--model", MODEL),
}
OUTPUTS = {"validate": ("--report", "out/report"), "calibrate": ("--output", "out/t.json")}
SIZES, REPEATS = (200, 1000, 5000), 3
FEW = (20, 100)
"""Of the short form, in which nothing is timed."""

MEMORY_RATIO, TIME_RATIO = 1.1, 1.05
"""The most memory with many images over that with few; the most that one more image costs among many over among few."""

WALL_S = 3600.0
"""The most that a run may take."""

LARGEST = {"report.json": 5 * 10**6, "report.html": 2 * 10**6}
"""Bytes, whatever the number of images."""

SCRIPT = """
import atexit, json, sys
from pathlib import Path
place = Path(sys.argv.pop(1))
def note():
    import resource
    used = resource.getrusage(resource.RUSAGE_SELF)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    place.write_text(json.dumps({"kb": peak, "seconds": used.ru_utime + used.ru_stime}))
atexit.register(note)
from fcn_onnx.cli import main
main(prog_name="fcn-onnx")
"""
"""A command that says at its end what it took: its own peak (what it was forked from has one too), and its CPU time."""


@dataclass(frozen=True)
class Used:
    """What a run took: memory at its peak in kB, CPU time in seconds."""

    kb: int
    seconds: float


class Load:
    """A case is one command on all the numbers of images."""

    name = "load"

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.sizes, self.repeats = SIZES, REPEATS
        self.figures: list[str] = []
        self.data = ground.root / "load"

    def shorten(self) -> None:
        """Few images once, for the suite."""
        self.sizes, self.repeats = FEW, 1

    def case(self, number: int, random: Random) -> tuple[Counter[str], list[str], Path]:
        """Counts, violations, and the folder."""
        if not self.data.exists():
            many_images(self.ground.inputs / "coco", self.data, self.sizes[-1])
        name = list(COMMANDS)[number % len(COMMANDS)]
        folder, found = self.ground.fresh(), list[str]()
        used: dict[int, list[Used]] = {size: [] for size in self.sizes}
        for _ in range(self.repeats):
            for size in self.sizes:
                ended, taken = self._run(name, size, folder)
                if ended.code != 0 or taken is None:
                    return Counter(), [f"{name}, {size} images: exit code {ended.code}: {ended.err[-300:]}"], folder
                used[size].append(taken)
                found += _too_large(folder, size)
        self._judge(name, used, found)
        return Counter(images=self.repeats * sum(self.sizes)), found, folder

    def _run(self, name: str, size: int, folder: Path) -> tuple[Ended, Used | None]:
        shutil.rmtree(folder / "out", ignore_errors=True)
        data = ("--data", str(self.data / "val2017"), "--limit", str(size), "--threads", "1")
        command = [sys.executable, "-c", SCRIPT, "used.json", *COMMANDS[name], *data, *OUTPUTS[name]]
        ended = executed(command, folder, {"TMPDIR": str(folder / "tmp")}, seconds=WALL_S)
        path = folder / "used.json"
        return ended, Used(**json.loads(path.read_text())) if path.exists() else None

    def _judge(self, name: str, used: dict[int, list[Used]], found: list[str]) -> None:
        """Say what was used, and what of it is too much."""
        kb = {size: median(run.kb for run in runs) for size, runs in used.items()}
        seconds = {size: median(run.seconds for run in runs) for size, runs in used.items()}
        few, many = self.sizes[0], self.sizes[-1]
        steps = [
            (seconds[after] - seconds[before]) / (after - before)
            for before, after in zip(self.sizes, self.sizes[1:], strict=False)
        ]
        sizes = ", ".join(f"{size:,}" for size in self.sizes)
        memory = ", ".join(f"{value / 1024:.0f}" for value in kb.values())
        each = ", ".join(f"{1000 * step:.2f}" for step in steps)
        self.figures.append(f"{name}, {sizes} images: {memory} MB; one more image {each} ms of CPU")
        if kb[many] > MEMORY_RATIO * kb[few]:
            found.append(f"{name}: {memory} MB with {sizes} images")
        if self.repeats > 1 and steps[-1] > TIME_RATIO * steps[0]:
            found.append(f"{name}: one more image takes {each} ms among {sizes}")


def many_images(coco: Path, place: Path, count: int) -> None:
    """A COCO data set of many images and all of their annotations: the same few under new names, as links if it can be.

    Args:
        coco: a data set, with its `val2017` and annotations.
        place: the folder that is made.
    """
    content = json.loads((coco / "annotations" / "instances_val2017.json").read_text())
    (place / "val2017").mkdir(parents=True)
    (place / "annotations").mkdir()
    originals, images, annotations = content["images"], [], []
    for index in range(count):
        image = originals[index % len(originals)]
        number = 10_000 + index
        name = f"{number:012d}.jpg"
        _link(coco / "val2017" / image["file_name"], place / "val2017" / name)
        images.append({**image, "id": number, "file_name": name})
        for annotation in content["annotations"]:
            if annotation["image_id"] == image["id"]:
                annotations.append({**annotation, "id": len(annotations) + 1, "image_id": number})
    content |= {"images": images, "annotations": annotations}
    (place / "annotations" / "instances_val2017.json").write_text(json.dumps(content))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _too_large(folder: Path, size: int) -> Sequence[str]:
    found = []
    for name, most in LARGEST.items():
        path = folder / "out" / "report" / name
        if path.exists() and path.stat().st_size > most:
            found.append(f"{name} has {path.stat().st_size:,} bytes with {size:,} images")
    return found
