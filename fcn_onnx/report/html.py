"""The report as one self-contained HTML file: no script, no network, readable on a phone, in the dark and on paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from fcn_onnx.report.beside import Link
from fcn_onnx.report.document import FP32, INT8, Candidate, Document, Outcome
from fcn_onnx.report.gallery_page import gallery
from fcn_onnx.report.markup import figure, notes, table
from fcn_onnx.report.page import page
from fcn_onnx.report.pictures import NO_PICTURES, Encoded
from fcn_onnx.report.profile_section import profile_section
from fcn_onnx.report.quantized import quantized_line
from fcn_onnx.report.side_by_side import side_by_side
from fcn_onnx.report.svg import (
    LETTER,
    Bars,
    bar_chart,
    changes_figure,
    class_bars,
    confusion_difference,
    interval_figure,
    latency_strips,
)
from fcn_onnx.report.table import (
    ABSENT,
    REGIONS_HEADER,
    coverage_line,
    flipped,
    per_class_rows,
    protocol_line,
    region_rows,
    regions_line,
    run_by,
    summary_rows,
)
from fcn_onnx.report.verdict import cannot_tell, verdict

TITLE = "int8 against fp32"
HEADER = ("", "fp32", "int8", "change (95 % interval)")
KEYS = '<p class="soft"><span class="key fp32"></span>fp32<span class="key int8"></span>int8</p>'
STATES = {Outcome.PASSED: "verdict passed", Outcome.FAILED: "verdict failed", Outcome.UNDECIDED: "verdict"}


def to_html(document: Document, pictures: Encoded = NO_PICTURES, beside: Sequence[Link] = ()) -> str:
    """The whole page: of one candidate, or a table of several and a section for each.

    Args:
        pictures: those of the galleries; an entry whose picture is not there is drawn without it.
        beside: other pages of the same fp32 model.
    """
    parts = [f"<h1>{TITLE}</h1>"]
    if document.several:
        parts += [*side_by_side(document), notes([document.dataset.description, *document.notes]), _links(beside)]
    for index, (name, candidate) in enumerate(document.candidates.items(), start=1):
        if document.several:
            parts.append(f'<h2 class="candidate" id="candidate-{index}">{escape(name)}</h2>')
        own = [coverage_line(candidate.coverage)]
        lines = own if document.several else [document.dataset.description, *own, *document.notes]
        parts += [_head(document, candidate), notes(lines), "" if document.several else _links(beside)]
        parts += _figures(document, name, candidate, gallery(candidate, pictures, f"line-{index}"))
    parts += [profile_section(document), _provenance(document)]
    (first, *others) = document.candidates.values()
    return page(TITLE if others else verdict(document, first), "\n".join(filter(None, parts)))


def _head(document: Document, candidate: Candidate) -> str:
    gate = candidate.gate
    unsure = not gate.confident and cannot_tell(document, candidate)
    state = "verdict" if unsure or gate.outcome is None else STATES[gate.outcome]
    said = "Changes of scores are in percentage points, int8 − fp32."
    return f'<p class="{state}">{escape(verdict(document, candidate))}</p>\n' + table(
        HEADER, summary_rows(document, candidate), said, kind="rows"
    )


def _links(beside: Sequence[Link]) -> str:
    return "\n".join(
        f'<p class="soft"><a href="{escape(link.target)}">{escape(link.title)}</a>: {escape(link.said)}</p>'
        for link in beside
    )


def _figures(document: Document, name: str, candidate: Candidate, changed: str) -> Iterator[str]:
    """What is drawn of one candidate, under headings of its level."""
    level = "h3" if document.several else "h2"
    for heading, body in (
        ("Change of mIoU", _accuracy(document, candidate)),
        ("Where labels flip", _regions(document, candidate)),
        ("Latency", _latency(document, candidate)),
        ("IoU by class", _classes(document, candidate)),
        ("Change by class", _class_changes(document, candidate)),
        ("What int8 confuses more, or less", _confusion(document, name)),
        ("Images that changed most", changed),
    ):
        if body:
            yield f"<{level}>{heading}</{level}>\n{body}"


def _accuracy(document: Document, candidate: Candidate) -> str:
    delta = candidate.delta
    if delta.miou is None or delta.miou_ci95 is None:
        return ""
    interval = [100 * x for x in delta.miou_ci95]
    return figure(
        interval_figure(100 * delta.miou, interval, " points"),
        "int8 − fp32 in percentage points with its 95 % interval: a paired bootstrap-t over the "
        f"{document.images} images. It covers the choice of images, not of calibration images.",
    )


def _regions(document: Document, candidate: Candidate) -> str:
    """What int8 flips along borders and on objects, drawn, and with the scores there in a table."""
    rows = region_rows(document, candidate)
    deltas = candidate.delta.regions or {}
    bars = [
        Bars(region.description, (1 - agreed,), flipped(deltas[name]))
        for name, region in (document.regions or {}).items()
        if (agreed := deltas[name].label_agreement) is not None
    ]
    if not rows or not bars:
        return ""
    most = max(bar.lengths[0] or 0 for bar in bars)
    room = LETTER * max(len(bar.name) for bar in bars)
    drawing = bar_chart(bars, [("int8", 12)], "share of the labels that int8 flips", most=most * 1.9, left=room)
    said = "Share of the labels that are not fp32's, with its 95 % interval."
    columns = [
        column
        for column in zip(REGIONS_HEADER[:-1], *(row[:-1] for row in rows), strict=True)
        if set(column[1:]) != {ABSENT}
    ]
    head, *shown = zip(*columns, strict=True)
    return figure(drawing, said) + table(head, shown, regions_line(document), kind="cards")


def _latency(document: Document, candidate: Candidate) -> str:
    series = {FP32: document.fp32.latency_samples_ms, INT8: candidate.int8.latency_samples_ms}
    if not all(series.values()):
        return ""
    machine = document.machine
    return figure(
        latency_strips(series),
        f"The session's time for each scored image, models in turns, {machine.threads} threads on {machine.cpu} "
        f"({machine.int8_kernel} int8 kernels).",
    )


def _classes(document: Document, candidate: Candidate) -> str:
    """Every class's IoU drawn, and all numbers of classes in a table."""
    before, after = document.fp32.per_class_iou, candidate.int8.per_class_iou
    if before is None or after is None:
        return ""
    caption = "IoU; change in percentage points, int8 − fp32."
    numbers = table(("class", *HEADER[1:]), per_class_rows(document, candidate), caption, kind="rows")
    return (
        f"{KEYS}\n<figure>{class_bars(document.classes, before, after)}</figure>\n"
        f"<details><summary>As a table</summary>\n{numbers}</details>"
    )


def _class_changes(document: Document, candidate: Candidate) -> str:
    delta = candidate.delta
    if delta.per_class_iou is None or delta.per_class_iou_ci95 is None:
        return ""
    return figure(
        changes_figure(document.classes, delta.per_class_iou, delta.per_class_iou_ci95),
        "int8 − fp32 of each class's IoU in percentage points, with its 95 % interval. Of so many intervals, one in "
        "twenty misses by chance.",
    )


def _confusion(document: Document, name: str) -> str:
    if not document.confusion:
        return ""
    return figure(
        confusion_difference(document.classes, document.confusion[FP32], document.confusion[name]),
        "Row: truth. Column: prediction. Blue: more of the row's pixels than with fp32; orange: fewer. The depth is "
        "relative to the largest change; point at a cell for its number.",
    )


def _provenance(document: Document) -> str:
    machine, fp32 = document.machine, document.fp32
    facts = [("protocol", protocol_line(document)), ("fp32 model", f"{fp32.path} {fp32.digest}{run_by(fp32)}")]
    for name, candidate in document.candidates.items():
        int8 = candidate.int8
        facts.append((name if document.several else "int8 model", f"{int8.path} {int8.digest}{run_by(int8)}"))
        facts.append(("quantized", quantized_line(candidate.int8.quantization)))
    facts += [
        ("images", f"{document.images}, list {document.digests.images}"),
        ("machine", f"{machine.cpu}, {machine.cores} cores, {machine.platform}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in document.versions.items())),
    ]
    rows = "".join(
        f"<tr><th scope='row' class='wrap'>{escape(key)}</th><td class='wrap'>{escape(value)}</td></tr>"
        for key, value in facts
    )
    command = f"<h2>Repeat it</h2>\n<pre>{escape(document.command)}</pre>" if document.command else ""
    return f"<h2>Where this came from</h2>\n<table>{rows}</table>\n{command}"
