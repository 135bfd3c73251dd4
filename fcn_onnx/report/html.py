"""The report as one self-contained HTML file: no script, no network, readable on a phone, in the dark and on paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from fcn_onnx.report.document import FP32, INT8, Candidate, Document, Outcome
from fcn_onnx.report.page import page
from fcn_onnx.report.pictures import NO_PICTURES, Encoded, data_uri
from fcn_onnx.report.quantized import quantized_line
from fcn_onnx.report.svg import class_bars, class_changes, confusion_difference, interval_figure, latency_strips
from fcn_onnx.report.table import (
    CANDIDATES_HEADER,
    Line,
    candidate_rows,
    candidates_line,
    coverage_line,
    per_class_rows,
    protocol_line,
    run_by,
    summary_rows,
)
from fcn_onnx.report.verdict import cannot_tell, verdict

TITLE = "int8 against fp32"
HEADER = ("", "fp32", "int8", "change (95 % interval)")
KEYS = '<p class="soft"><span class="key fp32"></span>fp32<span class="key int8"></span>int8</p>'
CAPTIONS = (
    ("image", "photograph"),
    ("truth", "truth"),
    ("fp32", "fp32"),
    ("int8", "int8"),
    ("disagreement", "where they differ"),
)
STATES = {Outcome.PASSED: "verdict passed", Outcome.FAILED: "verdict failed", Outcome.UNDECIDED: "verdict"}


def to_html(document: Document, pictures: Encoded = NO_PICTURES) -> str:
    """The whole page: of one candidate, or a table of several and a section for each.

    Args:
        pictures: those of the galleries; an entry whose picture is not there is drawn without it.
    """
    parts = [f"<h1>{TITLE}</h1>", *(_overview(document) if document.several else ())]
    for index, (name, candidate) in enumerate(document.candidates.items(), start=1):
        if document.several:
            parts.append(f'<h2 id="candidate-{index}">{escape(name)}</h2>')
        own = [coverage_line(candidate.coverage)]
        lines = own if document.several else [document.dataset.description, *own, *document.notes]
        parts += [_head(document, candidate), _notes(lines), *_figures(document, name, candidate, pictures)]
    parts.append(_provenance(document))
    (first, *others) = document.candidates.values()
    return page(TITLE if others else verdict(document, first), "\n".join(filter(None, parts)))


def _overview(document: Document) -> Iterator[str]:
    """All candidates in a table whose names lead to their sections."""
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in CANDIDATES_HEADER)
    rows = []
    for index, (name, *cells) in enumerate(candidate_rows(document)):
        first = f'<a href="#candidate-{index}">{escape(name)}</a>' if index else escape(name)
        rows.append(f"<tr><td>{first}</td>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    yield f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    yield f"<p class='soft'>{escape(candidates_line(document))}</p>"
    yield _notes([document.dataset.description, *document.notes])


def _head(document: Document, candidate: Candidate) -> str:
    gate = candidate.gate
    unsure = not gate.confident and cannot_tell(document, candidate)
    state = "verdict" if unsure or gate.outcome is None else STATES[gate.outcome]
    return f'<p class="{state}">{escape(verdict(document, candidate))}</p>\n' + _table(
        HEADER,
        summary_rows(document, candidate),
        "Changes of scores are in percentage points, int8 − fp32.",
    )


def _notes(lines: Iterable[str | None]) -> str:
    notes = "".join(f"<li>{escape(line)}</li>" for line in lines if line)
    return f"<ul class='soft'>{notes}</ul>" if notes else ""


def _figures(document: Document, name: str, candidate: Candidate, pictures: Encoded) -> Iterator[str]:
    """What is drawn of one candidate, under headings of its level."""
    level = "h3" if document.several else "h2"
    for heading, body in (
        ("Change of mIoU", _accuracy(document, candidate)),
        ("Latency", _latency(document, candidate)),
        ("IoU by class", _classes(document, candidate)),
        ("Change by class", _class_changes(document, candidate)),
        ("What int8 confuses more, or less", _confusion(document, name)),
        ("Images that changed most", _gallery(candidate, pictures)),
    ):
        if body:
            yield f"<{level}>{heading}</{level}>\n{body}"


def _accuracy(document: Document, candidate: Candidate) -> str:
    delta = candidate.delta
    if delta.miou is None or delta.miou_ci95 is None:
        return ""
    interval = [100 * x for x in delta.miou_ci95]
    return (
        "<figure>"
        + interval_figure(100 * delta.miou, interval, " points")
        + "<figcaption>int8 − fp32 in percentage points with its 95 % interval: a paired bootstrap-t over the "
        f"{document.images} images. It covers the choice of images, not of calibration images.</figcaption></figure>"
    )


def _latency(document: Document, candidate: Candidate) -> str:
    series = {FP32: document.fp32.latency_samples_ms, INT8: candidate.int8.latency_samples_ms}
    if not all(series.values()):
        return ""
    machine = document.machine
    return (
        "<figure>"
        + latency_strips(series)
        + f"<figcaption>The session's time for each scored image, models in turns, {machine.threads} threads on "
        f"{escape(machine.cpu)} ({escape(machine.int8_kernel)} int8 kernels).</figcaption></figure>"
    )


def _classes(document: Document, candidate: Candidate) -> str:
    """Every class's IoU drawn, and all numbers of classes in a table."""
    before, after = document.fp32.per_class_iou, candidate.int8.per_class_iou
    if before is None or after is None:
        return ""
    caption = "IoU; change in percentage points, int8 − fp32."
    table = _table(("class", *HEADER[1:]), per_class_rows(document, candidate), caption)
    return (
        f"{KEYS}\n<figure>{class_bars(document.classes, before, after)}</figure>\n"
        f"<details><summary>As a table</summary>\n{table}</details>"
    )


def _class_changes(document: Document, candidate: Candidate) -> str:
    delta = candidate.delta
    if delta.per_class_iou is None or delta.per_class_iou_ci95 is None:
        return ""
    return (
        f"<figure>{class_changes(document.classes, delta.per_class_iou, delta.per_class_iou_ci95)}"
        "<figcaption>int8 − fp32 of each class's IoU in percentage points, with its 95 % interval. Of so many "
        "intervals, one in twenty misses by chance.</figcaption></figure>"
    )


def _confusion(document: Document, name: str) -> str:
    if not document.confusion:
        return ""
    return (
        "<figure>"
        + confusion_difference(document.classes, document.confusion[FP32], document.confusion[name])
        + "<figcaption>Row: truth. Column: prediction. Blue: more of the row's pixels than with fp32; orange: fewer. "
        "The depth is relative to the largest change; point at a cell for its number.</figcaption></figure>"
    )


def _gallery(candidate: Candidate, pictures: Encoded) -> str:
    agreement = {image.name: image.agreement for image in candidate.worst_images}
    parts = []
    for entry in candidate.gallery:
        name, share = escape(entry.name), agreement.get(entry.name)
        said = "" if share is None else f" — {100 * share:.2f} % of the labels agree"
        drawn = ((data_uri(getattr(entry, key), pictures), caption) for key, caption in CAPTIONS)
        figures = "".join(
            f'<figure><img src="{escape(uri)}" alt="{caption} of {name}"><figcaption>{caption}</figcaption></figure>'
            for uri, caption in drawn
            if uri
        )
        if figures:
            parts.append(f'<p class="name">{name}{said}</p>\n<div class="gallery">{figures}</div>')
    return "\n".join(parts)


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
        f"<tr><th scope='row'>{escape(key)}</th><td class='wrap'>{escape(value)}</td></tr>" for key, value in facts
    )
    command = f"<h2>Repeat it</h2>\n<pre>{escape(document.command)}</pre>" if document.command else ""
    return f"<h2>Where this came from</h2>\n<table>{rows}</table>\n{command}"


def _table(header: Sequence[str], rows: Iterable[Line], caption: str) -> str:
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f"<div class='scroll'><table class='rows'><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
