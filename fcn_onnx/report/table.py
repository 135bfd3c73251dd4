"""The rows and the sentences that the terminal, the Markdown and the HTML report share."""

from __future__ import annotations

from collections.abc import Sequence

from fcn_onnx.report.document import Candidate, Coverage, Document, Row
from fcn_onnx.report.regions import Region, RegionDelta

Line = tuple[str, str, str, str]
ABSENT = "–"
FLOAT_NODES_SHOWN = 6
REGIONS_HEADER = ("where", "of all pixels", "fp32", "int8", "change (95 % interval)", "labels flipped")
CANDIDATES_HEADER = ("int8 model", "mIoU", "change (95 % interval)", "label agreement", "speed-up", "size")


def summary_rows(document: Document, candidate: Candidate) -> list[Line]:
    """(what, fp32, int8, change) for each measure; fractions are shown in percent, changes in percentage points."""
    a, b, delta = document.fp32, candidate.int8, candidate.delta
    speedup = f"{delta.speedup:.2f}×{interval(delta.speedup_ci95, 1, '×', signed=False)}"
    agreement = interval(delta.label_agreement_ci95, 100, " %", signed=False).strip()
    rows = [
        ("mIoU", percent(a.miou), percent(b.miou), change(delta.miou, delta.miou_ci95)),
        (
            "pixel accuracy",
            percent(a.pixel_accuracy),
            percent(b.pixel_accuracy),
            change(delta.pixel_accuracy, delta.pixel_accuracy_ci95),
        ),
    ]
    if a.mean_accuracy is not None:
        rows.append(("mean class accuracy", percent(a.mean_accuracy), percent(b.mean_accuracy), ""))
    rows.append(("label agreement", "", percent(delta.label_agreement), agreement))
    rows += [
        (f"latency {key}", _ms(getattr(a.latency_ms, key)), _ms(getattr(b.latency_ms, key)), note)
        for key, note in (("p50", speedup), ("p90", ""), ("p99", ""), ("mean", ""))
    ]
    rows.append(("images a second", _rate(a), _rate(b), ""))
    if a.peak_memory_bytes is not None and b.peak_memory_bytes is not None:
        less = f"{a.peak_memory_bytes / max(1, b.peak_memory_bytes):.2f}× less"
        rows.append(("peak memory", megabytes(a.peak_memory_bytes), megabytes(b.peak_memory_bytes), less))
    rows.append(("size", megabytes(a.size_bytes), megabytes(b.size_bytes), f"{delta.size_ratio:.2f}× smaller"))
    return rows


def candidate_rows(document: Document) -> list[tuple[str, ...]]:
    """A row of `CANDIDATES_HEADER` for each candidate, in the order given; fp32 first."""
    fp32 = document.fp32
    rows: list[tuple[str, ...]] = [("fp32", percent(fp32.miou), "", "", "", megabytes(fp32.size_bytes))]
    for name, candidate in document.candidates.items():
        int8, delta = candidate.int8, candidate.delta
        rows.append(
            (
                name,
                percent(int8.miou),
                change(delta.miou, delta.miou_ci95),
                percent(delta.label_agreement) + interval(delta.label_agreement_ci95, 100, " %", signed=False),
                f"{delta.speedup:.2f}×{interval(delta.speedup_ci95, 1, '×', signed=False)}",
                megabytes(int8.size_bytes),
            )
        )
    return rows


def candidates_line(document: Document) -> str:
    """What the table of candidates is of."""
    decided = all(candidate.delta.miou_ci95 for candidate in document.candidates.values())
    return (
        f"Protocol {document.protocol}, the same {document.images} images for all; those that any candidate was "
        "calibrated on are left out. Changes are in percentage points, int8 − fp32; speed-ups are of turns with fp32."
        + ("" if decided else " These are too few images for intervals: which candidate is better, they cannot tell.")
    )


def protocol_line(document: Document) -> str:
    """The protocol, and the size that images were shown at where that is not the protocol's."""
    shown = document.shown
    told = (
        ""
        if shown.resize == shown.protocol_resize
        else f" Shown at {shown.resize}, the one size that the models take, not at {shown.protocol_resize}."
    )
    return f"{document.protocol}: {document.protocol_description}.{told}"


def per_class_rows(document: Document, candidate: Candidate) -> list[Line]:
    """(class, fp32 IoU, int8 IoU, change with its interval) in label order; empty under a protocol without classes."""
    a, b, delta = document.fp32.per_class_iou, candidate.int8.per_class_iou, candidate.delta
    if a is None or b is None:
        return []
    changes, intervals = delta.per_class_iou or {}, delta.per_class_iou_ci95 or {}
    return [
        (name, percent(a[name]), percent(b[name]), change(changes.get(name), intervals.get(name)))
        for name in document.classes
    ]


def region_rows(document: Document, candidate: Candidate) -> list[tuple[str, ...]]:
    """A row of `REGIONS_HEADER` for each region that has pixels; empty for an older report."""
    before, after, deltas = document.fp32.regions or {}, candidate.int8.regions or {}, candidate.delta.regions or {}
    return [
        (
            said_region(region),
            percent(region.pixels_share),
            percent(before[name]),
            percent(after[name]),
            change(deltas[name].score, deltas[name].score_ci95),
            flipped(deltas[name]),
        )
        for name, region in _there(document).items()
    ]


def flip_rows(document: Document) -> list[tuple[str, ...]]:
    """A heading, and a row for each candidate: what share of the labels of each region it flips; empty likewise."""
    regions = _there(document)
    if not regions:
        return []
    rows: list[tuple[str, ...]] = [("labels flipped", *(region.description for region in regions.values()))]
    for name, candidate in document.candidates.items():
        deltas = candidate.delta.regions or {}
        rows.append((name, *(flipped(deltas[region], bounds=False) for region in regions)))
    return rows


def regions_line(document: Document) -> str:
    """What the numbers of regions are."""
    if not all(region.by_truth for region in (document.regions or {}).values()):
        return "Borders and objects are those of fp32's labels, as there is no truth; nothing is scored."
    return (
        "Along borders, the mIoU of these pixels alone; on objects, of each class's pixels the share that is found: "
        "both are means over the classes that the truth holds there. An object is a connected piece of one class."
    )


def said_region(region: Region) -> str:
    """`small objects (under 32² px): 41`."""
    return region.description + ("" if region.objects is None else f": {region.objects:,}")


def _there(document: Document) -> dict[str, Region]:
    """The regions that have pixels."""
    return {name: region for name, region in (document.regions or {}).items() if region.pixels_share}


def flipped(delta: RegionDelta, *, bounds: bool = True) -> str:
    """The share of labels that are not fp32's, with its interval or without."""
    if delta.label_agreement is None:
        return ABSENT
    ends = delta.label_agreement_ci95 if bounds else None
    turned = None if ends is None else (1 - ends[1], 1 - ends[0])
    return percent(1 - delta.label_agreement) + interval(turned, 100, " %", signed=False)


def coverage_line(found: Coverage | None) -> str | None:
    """What of the int8 model its runtime really runs in int8, and what not; None where it is no int8 model."""
    if found is None:
        return None
    share = "" if found.int8_macs_share is None else f", {100 * found.int8_macs_share:.2f} % of the MACs"
    rounded = [f"{name}: {oddity}" for name, oddity in (found.rounded_nodes or {}).items()]
    rest = "; ".join(filter(None, [*rounded, _in_fp32(found)]))
    return f"{found.int8_convs} of {found.convs} convolutions run in int8{share}" + (f" ({rest})" if rest else "")


def _in_fp32(coverage: Coverage) -> str:
    """What multiplies in fp32, the costliest first."""
    if coverage.float_nodes is None:  # an older report names convolutions only
        return "; ".join(f"{name}: {reason}" for name, reason in coverage.float_convs.items())
    nodes = sorted(coverage.float_nodes.items(), key=lambda item: -(item[1].macs_share or 0))
    shown = [
        f"{name}, {node.op_type}, {percent(node.macs_share)}: {node.reason}" for name, node in nodes[:FLOAT_NODES_SHOWN]
    ]
    rest = len(nodes) - len(shown)
    return "; ".join([*shown, f"and {rest} more"] if rest else shown)


def run_by(row: Row) -> str:
    """What ran the model, to stand behind its name; nothing of the usual one."""
    return "" if row.runtime == "onnxruntime" else f", in {row.runtime}"


def percent(fraction: float | None) -> str:
    """0.2061 → 20.61 %."""
    return ABSENT if fraction is None else f"{100 * fraction:.2f} %"


def points(fraction: float | None) -> str:
    """−0.0012 → −0.12 percentage points."""
    return ABSENT if fraction is None else f"{100 * fraction:+.2f}"


def megabytes(size_bytes: int) -> str:
    """Decimal megabytes."""
    return f"{size_bytes / 1e6:.1f} MB"


def _rate(row: Row) -> str:
    """Of images one after the other, each at its latency."""
    return f"{1e3 / row.latency_ms.mean:.2f}" if row.latency_ms.mean > 0 else ABSENT


def _ms(value: float) -> str:
    return f"{value:.1f} ms"


def change(fraction: float | None, bounds: Sequence[float] | None) -> str:
    """A change in percentage points and, where there is one, its interval."""
    return points(fraction) + ("" if fraction is None else interval(bounds, 100, "", signed=True))


def interval(bounds: Sequence[float] | None, factor: float, unit: str, *, signed: bool) -> str:
    """` (low … high)`, each times `factor`, to stand behind a value; nothing where there is no interval."""
    if bounds is None:
        return ""
    low, high = (factor * x for x in bounds)
    return f" ({low:+.2f} … {high:+.2f}{unit})" if signed else f" ({low:.2f} … {high:.2f}{unit})"
