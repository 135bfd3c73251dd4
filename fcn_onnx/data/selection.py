"""Which images of a data set: drawn by seed, listed in a file, or spread over the classes."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.errors import DatasetError, UsageError
from fcn_onnx.jobs.reading import read_text
from fcn_onnx.jobs.text import utf8


def draw(samples: Sequence[Sample], limit: int, seed: int = 0) -> tuple[Sample, ...]:
    """`limit` of the samples, in the order of ids.

    They are those whose SHA-256 of "<seed>:<name>" is smallest: the same on every machine and version, and a
    larger limit only adds to a smaller one.

    Raises:
        UsageError: `limit` is not within 1…len(samples).
    """
    if not 1 <= limit <= len(samples):
        raise UsageError(f"cannot draw {limit} of {len(samples)} images", fix="choose another --limit")

    def rank(index: int) -> bytes:
        return hashlib.sha256(utf8(f"{seed}:{samples[index].name}")).digest()

    return tuple(samples[i] for i in sorted(sorted(range(len(samples)), key=rank)[:limit]))


def spread_over_classes(dataset: Dataset, limit: int, seed: int = 0) -> tuple[Sample, ...]:
    """`limit` samples that cover the classes evenly: each next one holds the class that is rarest so far.

    Ties go to the sample that `draw` would prefer.

    Raises:
        UsageError: as for `draw`.
    """
    draw(dataset.samples, limit, seed)  # checks the limit
    order = {s.name: hashlib.sha256(utf8(f"{seed}:{s.name}")).digest() for s in dataset.samples}
    classes = {s.name: dataset.classes_in(s) for s in sorted(dataset.samples, key=lambda s: order[s.name])}
    everyone = deque(classes)
    waiting: dict[int, deque[str]] = {}
    for name, present in classes.items():
        for c in present:
            waiting.setdefault(c, deque()).append(name)
    seen: Counter[int] = Counter()
    picked: set[str] = set()
    for _ in range(limit):
        left = [c for c, names in waiting.items() if _skip(names, picked)]
        rarest = min(left, key=lambda c: (seen[c], c), default=None)
        _skip(everyone, picked)
        best = everyone[0] if rarest is None else waiting[rarest][0]
        seen.update(classes[best])
        picked.add(best)
    return tuple(s for s in dataset.samples if s.name in picked)


def _skip(names: deque[str], picked: set[str]) -> bool:
    """Drop picked names from the front; whether one is left."""
    while names and names[0] in picked:
        names.popleft()
    return bool(names)


def read_list(path: Path, dataset: Dataset) -> tuple[Sample, ...]:
    """The samples that a list names, one file name a line; blank lines and lines from # on are skipped.

    Raises:
        DatasetError: the list is missing or empty, or names an image twice or one that is not in the data set.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the image list {path}: {error}", fix="check --images") from error
    by_name = {sample.name: sample for sample in dataset.samples}
    chosen: dict[str, Sample] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        if name not in by_name:
            raise DatasetError(
                f"{path}:{number} names {name!r}, which is not in {dataset.root}",
                fix="write names relative to --data, such as " + dataset.samples[0].name,
            )
        if name in chosen:
            raise DatasetError(f"{path}:{number} names {name!r} a second time", fix="remove the line")
        chosen[name] = by_name[name]
    if not chosen:
        raise DatasetError(f"{path} names no image", fix="write one file name a line")
    order = {sample.name: index for index, sample in enumerate(dataset.samples)}
    return tuple(sorted(chosen.values(), key=lambda s: order[s.name]))
