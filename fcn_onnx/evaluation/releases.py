"""A report against a later one: whether the two can be held against each other, and what has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.data.labels import LabelSpace
from fcn_onnx.errors import ReportError, UsageError
from fcn_onnx.evaluation.comparison import Interval, paired_change, speedup_interval
from fcn_onnx.evaluation.gates import Estimate, Gates
from fcn_onnx.evaluation.metrics import Metric, Ratios
from fcn_onnx.evaluation.protocols import get_protocol
from fcn_onnx.evaluation.result import bounds, drop, relative_percent
from fcn_onnx.report.change import Change, Measured, Release
from fcn_onnx.report.document import FP32, Candidate, Document, Row
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME

Arrays = Mapping[str, NDArray[Any]]
CLOSE = 1e-9
SAME = "validate both releases on the same images under the same protocol (--images LIST names them)"


@dataclass(frozen=True)
class Side:
    """One of the two reports.

    Attributes:
        path: its report.json.
        document: what that holds.
        arrays: what was counted of each image, from the images.npz beside it; None where there is none.
    """

    path: Path
    document: Document
    arrays: Arrays | None

    @property
    def candidates(self) -> dict[str, str]:
        """By the name of the file, without its ending, and the runtime: what each candidate is called in the report."""
        rows = {name: found.int8 for name, found in self.document.candidates.items()}
        plain = DEFAULT_RUNTIME
        return {
            Path(row.path).stem + ("" if row.runtime == plain else f" ({row.runtime})"): name
            for name, row in rows.items()
        }

    @property
    def names(self) -> NDArray[Any]:
        """Of the images, (N,) text. Raises ReportError where `arrays` has none."""
        found = (self.arrays or {}).get("names")
        if found is None or found.dtype.kind != "U":
            raise self._foreign()
        return found

    def counts(self, name: str, metric: Metric) -> NDArray[np.int64]:
        """(N, columns) of a row.

        Raises:
            ReportError: they are not there, or not what the report's scores were made of.
        """
        counts = self._array(f"counts_{name}")
        said = self.document.fp32 if name == FP32 else self.document.candidates[name].int8
        if counts.shape != (self.document.images, metric.columns) or not _close(metric, counts, said):
            raise self._foreign()
        return counts

    def agreement(self, name: str) -> Ratios:
        """Pixels with fp32's label over those compared, (N, 1) each. Raises ReportError as for `counts`."""
        pairs = self._array(f"agreement_{name}" if self.document.several else "agreement")
        said = self.document.candidates[name].delta.label_agreement
        if pairs.shape != (self.document.images, 2) or abs(pairs[:, 0].sum() / pairs[:, 1].sum() - said) > CLOSE:
            raise self._foreign()
        return Ratios(*(column[:, None] for column in pairs.T.astype(np.float64)))

    def _array(self, name: str) -> NDArray[Any]:
        found = (self.arrays or {}).get(name)
        if found is None or found.dtype != np.int64:
            raise self._foreign()
        return found

    def _foreign(self) -> ReportError:
        return ReportError(
            f"the images.npz beside {self.path} is of another report",
            fix="put the one there that validate wrote with it, or remove it (there are no intervals then)",
        )


def compare_releases(old: Side, new: Side, gates: Gates) -> Change:
    """Hold each candidate of `new` against that of `old` which it takes the place of.

    Reports of one candidate each are of that one; else candidates go by the names of their files.

    Args:
        gates: `max_drop` of int8's mIoU from the older to the newer, `min_speedup` of the older int8 model's latency
            over the newer's, `min_agreement` of the newer with its fp32.

    Raises:
        ReportError: the reports differ in what makes scores comparable, or their arrays are not theirs.
        UsageError: a gate on what the two do not tell.
    """
    require_comparable(old, new)
    _require_gates(old, new, gates)
    pairs = _pairs(old, new)
    paired = old.arrays is not None and new.arrays is not None
    return Change(
        old=str(old.path),
        new=str(new.path),
        protocol=new.document.protocol,
        images=new.document.images,
        candidates={name: _release(old, new, names, gates, paired) for name, names in pairs.items()},
        notes=tuple(_notes(old, new)),
    )


def require_comparable(old: Side, new: Side) -> None:
    """Raise ReportError, naming what differs, where the scores of two reports are not of the same task."""
    before, after = old.document, new.document
    differs: str | None = None
    if before.protocol != after.protocol:
        differs = f"the protocol: {before.protocol} and {after.protocol}"
    elif before.classes != after.classes:
        at = next((i for i, (a, b) in enumerate(zip(before.classes, after.classes, strict=False)) if a != b), None)
        where = "" if at is None else f", label {at} is {before.classes[at]!r} and {after.classes[at]!r}"
        differs = f"the classes: {len(before.classes)} and {len(after.classes)}{where}"
    elif before.digests.images != after.digests.images:
        differs = f"the images: {before.images} and {after.images}" + (
            ", by name or content" if before.images == after.images else ""
        )
    elif (before.fp32.pixel_accuracy is None) != (after.fp32.pixel_accuracy is None):
        differs = "the truth: one of them has none"
    elif (of_old := _truth(before)) != (of_new := _truth(after)):
        differs = "the truth" + (f": pixels of {_first(after.classes, of_old, of_new)}" if of_old and of_new else "")
    if differs:
        raise ReportError(f"{old.path} and {new.path} cannot be compared, as they differ in {differs}", fix=SAME)


def _truth(document: Document) -> tuple[int, ...] | None:
    """Scored pixels of each class of the truth, which no prediction changes; None where the report has no matrix."""
    matrix = (document.confusion or {}).get(FP32)
    return None if matrix is None else tuple(map(sum, matrix))


def _first(classes: tuple[str, ...], old: tuple[int, ...], new: tuple[int, ...]) -> str:
    name, a, b = next((n, a, b) for n, a, b in zip(classes, old, new, strict=True) if a != b)
    return f"{name}, {a:,} and {b:,}"


def _require_gates(old: Side, new: Side, gates: Gates) -> None:
    if gates.max_drop is not None and new.document.fp32.pixel_accuracy is None:
        raise UsageError("--max-drop is of scores, and the reports have none", fix="give --min-agreement instead")
    if gates.min_speedup is not None and (where := _machine(old)) != (there := _machine(new)):
        raise UsageError(
            f"--min-speedup is of one machine, and the reports are of two: {where}; {there}",
            fix="validate both releases on one machine, or leave it out",
        )


def _pairs(old: Side, new: Side) -> dict[str, tuple[str, str]]:
    """What the candidates are called in both reports, by the name that the change has for them."""
    before, after = old.candidates, new.candidates
    if len(before) == len(after) == 1:
        return {next(iter(new.document.candidates)): (next(iter(before.values())), next(iter(after.values())))}
    common = {stem: (before[stem], name) for stem, name in after.items() if stem in before}
    if not common:
        raise ReportError(
            f"{old.path} has the candidates {', '.join(before)}, and {new.path} {', '.join(after)}",
            fix="candidates of several are matched by the names of their files: validate them under the same names",
        )
    return common


def _release(old: Side, new: Side, names: tuple[str, str], gates: Gates, paired: bool) -> Release:
    before, after = (side.document.candidates[name] for side, name in zip((old, new), names, strict=True))
    changes = _intervals(old, new, names) if paired else {}
    measures = _measures(old.document, new.document, before, after, changes)
    miou = measures["int8_miou"]
    speedup = _speedup(before.int8, after.int8)
    found = {
        "max_drop": drop(miou.change, miou.change_ci95, miou.old),
        "min_agreement": Estimate(after.delta.label_agreement, after.delta.label_agreement_ci95),
        "min_speedup": Estimate(*speedup),
    }
    classes_before, classes_after = before.int8.per_class_iou, after.int8.per_class_iou
    return Release(
        measures=measures,
        miou_relative_percent=None if not miou.old or miou.change is None else relative_percent(miou.change, miou.old),
        per_class_iou=None
        if classes_before is None or classes_after is None
        else {name: _minus(classes_after.get(name), classes_before.get(name)) for name in new.document.classes},
        speedup=speedup[0],
        speedup_ci95=speedup[1],
        gate=gates.judge(found, new.document.images),
    )


def _measures(
    old: Document, new: Document, before: Candidate, after: Candidate, intervals: Mapping[str, Interval | None]
) -> dict[str, Measured]:
    pairs: dict[str, tuple[float | None, float | None]] = {}
    for key in ("miou", "pixel_accuracy"):
        pairs[f"fp32_{key}"] = getattr(old.fp32, key), getattr(new.fp32, key)
        pairs[f"int8_{key}"] = getattr(before.int8, key), getattr(after.int8, key)
    pairs["label_agreement"] = before.delta.label_agreement, after.delta.label_agreement
    pairs["speedup"] = before.delta.speedup, after.delta.speedup
    for name, (a, b) in {"fp32": (old.fp32, new.fp32), "int8": (before.int8, after.int8)}.items():
        pairs[f"{name}_latency_ms"] = a.latency_ms.p50, b.latency_ms.p50
        pairs[f"{name}_size_bytes"] = a.size_bytes, b.size_bytes
    return {
        name: Measured(old=a, new=b, change=_minus(b, a), change_ci95=intervals.get(name))
        for name, (a, b) in pairs.items()
    }


def _intervals(old: Side, new: Side, names: tuple[str, str]) -> dict[str, Interval | None]:
    """Of the change of each score, paired over the images."""
    if not np.array_equal(old.names, new.names):
        raise ReportError(f"the images.npz beside {old.path} and {new.path} name other images", fix=SAME)
    metric = _metric(new.document)
    changes = {"label_agreement": paired_change(old.agreement(names[0]), new.agreement(names[1]))}
    if new.document.fp32.pixel_accuracy is None:
        return {"label_agreement": bounds(changes["label_agreement"])}
    for row, (before, after) in {"fp32": (FP32, FP32), "int8": names}.items():
        a, b = old.counts(before, metric), new.counts(after, metric)
        changes[f"{row}_miou"] = paired_change(metric.ious(a), metric.ious(b), metric.leaves_absent_out)
        changes[f"{row}_pixel_accuracy"] = paired_change(metric.accuracy(a), metric.accuracy(b))
    return {name: bounds(found) for name, found in changes.items()}


def _metric(document: Document) -> Metric:
    space = LabelSpace.of(document.classes)
    return get_protocol(document.protocol, space).of_kind(document.dataset.kind).metric


def _close(metric: Metric, counts: NDArray[np.int64], said: Row) -> bool:
    found = metric.scores(counts)
    pairs = ((found.miou, said.miou), (found.pixel_accuracy, said.pixel_accuracy))
    return all(b is None or abs(a - b) < CLOSE for a, b in pairs)


def _speedup(before: Row, after: Row) -> tuple[float, Interval | None]:
    """The older model's median latency over the newer's, image by image where both reports have the times."""
    slow, fast = (np.array(row.latency_samples_ms) for row in (before, after))
    if not len(slow) or len(slow) != len(fast):
        return before.latency_ms.p50 / after.latency_ms.p50, None
    ratio, interval = speedup_interval(slow, fast)
    return ratio, bounds(interval)


def _minus(new: float | None, old: float | None) -> float | None:
    return None if new is None or old is None else new - old


def _machine(side: Side) -> str:
    machine = side.document.machine
    return f"{machine.cpu}, {machine.threads} threads, {machine.int8_kernel} int8 kernels"


def _notes(old: Side, new: Side) -> Iterator[str]:
    """What a reader must know."""
    before, after = old.document, new.document
    if before.digests.fp32 != after.digests.fp32:
        yield "the fp32 models are two: a change may be theirs"
    if _machine(old) != _machine(new):
        yield f"latencies are of two machines, and no comparison: {_machine(old)}; {_machine(new)}"
    else:
        yield "latencies are of two runs, which on a shared machine differ by more than an interval says"
    moved = [
        f"{name} {before.versions.get(name, 'none')} → {after.versions.get(name, 'none')}"
        for name in sorted({*before.versions, *after.versions})
        if before.versions.get(name) != after.versions.get(name)
    ]
    if moved:
        yield f"made with other versions: {', '.join(moved)}"
    if before.shown != after.shown or before.preprocessing != after.preprocessing:
        yield "the networks were shown the images in two ways (size or normalisation)"
    missing = [str(side.path) for side in (old, new) if side.arrays is None]
    if missing:
        yield f"no images.npz beside {' and '.join(missing)}: changes of scores have no interval"
    rest = sorted({*old.candidates} ^ {*new.candidates})
    if rest and (before.several or after.several):
        yield f"in one of the reports only: {', '.join(rest)}"
