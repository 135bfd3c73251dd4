"""What a command would do, found out without doing it: decided, chosen, tried on two images, and nothing written."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fcn_onnx.data.images import stored_size
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample

UP_TO_DATE, REPLACED, MADE = "up to date", "is there, and is replaced", "is made"
NAMES_SHOWN, FILES_SHOWN = 3, 8


@dataclass(frozen=True)
class Estimate:
    """What work would take, from two of its images: the smallest and the largest.

    Attributes:
        seconds: of all of it, as many as the two took, by pixels.
        peak_bytes: of memory that this process had taken after the largest, for each worker.
        of: what is timed, and what comes on top.
    """

    seconds: float
    peak_bytes: int
    of: str

    def __str__(self) -> str:
        spent = f"{self.seconds / 60:.0f} min" if self.seconds >= 120 else f"{self.seconds:.2g} s"
        return f"{spent} and {self.peak_bytes / 1e9:.1f} GB of memory for {self.of}"


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What a stage would do.

    Attributes:
        stage: its name.
        decided: what was decided, in words, by what it is called.
        outputs: what becomes of each file that it writes.
        images: names of those that it works on, in order.
        sizes: (height, width) of the smallest and the largest, as the model is shown them.
        estimate: None where nothing is to be done, or nothing can be tried.
        left_open: why something could not be found out.
    """

    stage: str
    decided: Mapping[str, str]
    outputs: Mapping[str, str]
    images: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
    estimate: Estimate | None = None
    left_open: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that `--dry-run --json` writes."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The same for a person."""
        rows = [(name, value) for name, value in self.decided.items() if value]
        if self.images:
            shown = ", ".join(self.images[:NAMES_SHOWN]) + (", …" if len(self.images) > NAMES_SHOWN else "")
            rows.append(("images", f"{len(self.images)}: {shown}"))
        if self.sizes:
            rows.append(("sizes", " … ".join(f"{h}×{w}" for h, w in dict.fromkeys(self.sizes)) + " (height × width)"))
        written = [f"{path}: {state}" for path, state in self.outputs.items()]
        rows += [("writes", text) for text in written[:FILES_SHOWN]]
        rows += [("", f"… and {len(written) - FILES_SHOWN} more")] if len(written) > FILES_SHOWN else []
        rows += [("estimate", str(self.estimate))] if self.estimate else []
        rows += [("left open", text) for text in self.left_open]
        width = max(len(name) for name, _ in rows)
        return [f"{self.stage}, not done:", *(f"  {name:<{width}}  {value}" for name, value in rows)]


def states(outputs: Mapping[str, Path | None], *, up_to_date: bool = False) -> dict[str, str]:
    """What becomes of each output."""
    return {
        str(path): UP_TO_DATE if up_to_date else REPLACED if path.is_file() else MADE
        for path in outputs.values()
        if path is not None
    }


def shown_sizes(samples: Sequence[Sample], preprocessing: Preprocessing) -> list[tuple[int, int]]:
    """The (height, width) at which each image is shown, by its header. Raises ImageError as for `stored_size`."""
    targets = [preprocessing.resize.target(*stored_size(sample.path)) for sample in samples]
    return [preprocessing.pad or (height, width) for width, height in targets]


def ends(sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The smallest and the largest of some sizes, by pixels."""
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    return (ordered[0], ordered[-1]) if ordered else None


def estimated(
    sizes: Sequence[tuple[int, int]],
    work: Callable[[int], object],
    of: str,
    *,
    workers: int = 1,
    times: float = 1,
) -> Estimate | None:
    """Do the work on the smallest and on the largest image, and say what all of it would take.

    Args:
        sizes: (height, width) of each image.
        work: on the image of this number.
        of: see `Estimate`.
        workers: processes that share it, each as large as this one.
        times: how often each image is worked on.
    """
    if not sizes:
        return None
    pixels = [height * width for height, width in sizes]
    two = {min(range(len(pixels)), key=pixels.__getitem__), max(range(len(pixels)), key=pixels.__getitem__)}
    work(min(two, key=pixels.__getitem__))  # what a first run does once is not timed
    started = time.perf_counter()
    for index in two:
        work(index)
    rate = (time.perf_counter() - started) / sum(pixels[index] for index in two)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Estimate(rate * sum(pixels) * times / workers, peak * workers, of)
