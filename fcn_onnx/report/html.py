"""The report as one self-contained HTML file: no script, no network, readable on a phone, in the dark and on paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from fcn_onnx.report.page import page
from fcn_onnx.report.quantized import quantized_line
from fcn_onnx.report.svg import class_bars, class_changes, confusion_difference, interval_figure, latency_strips
from fcn_onnx.report.table import (
    Report,
    Row,
    cannot_tell,
    coverage_line,
    per_class_rows,
    protocol_line,
    summary_rows,
    verdict,
)

KEYS = '<p class="soft"><span class="key fp32"></span>fp32<span class="key int8"></span>int8</p>'
PICTURES = (
    ("image", "photograph"),
    ("truth", "truth"),
    ("fp32", "fp32"),
    ("int8", "int8"),
    ("disagreement", "where they differ"),
)


def to_html(report: Report) -> str:
    """The whole page."""
    sections = (
        _head(report),
        _accuracy(report),
        _latency(report),
        _classes(report),
        _confusion(report),
        _gallery(report),
        _provenance(report),
    )
    return page(verdict(report), "\n".join(filter(None, sections)))


def _head(report: Report) -> str:
    passed = None if cannot_tell(report) else report["gate"]["passed"]
    state = {True: "verdict passed", False: "verdict failed", None: "verdict"}[passed]
    lines = filter(None, [report["dataset"]["description"], coverage_line(report), *report["notes"]])
    notes = "".join(f"<li>{escape(note)}</li>" for note in lines)
    return (
        "<h1>int8 against fp32</h1>\n"
        f'<p class="{state}">{escape(verdict(report))}</p>\n'
        + _table(
            ("", "fp32", "int8", "change (95 % interval)"),
            summary_rows(report),
            "Changes of scores are in percentage points, int8 − fp32.",
        )
        + f"\n<ul class='soft'>{notes}</ul>"
    )


def _accuracy(report: Report) -> str:
    delta = report["delta"]
    if delta["miou"] is None or delta["miou_ci95"] is None:
        return ""
    interval = [100 * x for x in delta["miou_ci95"]]
    return (
        "<h2>Change of mIoU</h2>\n<figure>"
        + interval_figure(100 * delta["miou"], interval, " points")
        + "<figcaption>int8 − fp32 in percentage points with its 95 % interval: a paired bootstrap-t over the "
        f"{report['images']} images. It covers the choice of images, not of calibration images.</figcaption></figure>"
    )


def _latency(report: Report) -> str:
    series = {name: report[name].get("latency_samples_ms") or [] for name in ("fp32", "int8")}
    if not all(series.values()):
        return ""
    machine = report["machine"]
    return (
        "<h2>Latency</h2>\n<figure>"
        + latency_strips(series)
        + f"<figcaption>The session's time for each scored image, models in turns, {machine['threads']} threads on "
        f"{escape(machine['cpu'])} ({escape(machine['int8_kernel'])} int8 kernels).</figcaption></figure>"
    )


def _classes(report: Report) -> str:
    rows = per_class_rows(report)
    if not rows:
        return ""
    bars = class_bars(report["classes"], report["fp32"]["per_class_iou"], report["int8"]["per_class_iou"])
    return (
        f"<h2>IoU by class</h2>\n{KEYS}\n<figure>{bars}</figure>\n{_class_changes(report)}"
        "<details><summary>As a table</summary>\n"
        + _table(
            ("class", "fp32", "int8", "change (95 % interval)"), rows, "IoU; change in percentage points, int8 − fp32."
        )
        + "</details>"
    )


def _class_changes(report: Report) -> str:
    delta = report["delta"]
    if delta["per_class_iou_ci95"] is None:
        return ""
    changes = class_changes(report["classes"], delta["per_class_iou"], delta["per_class_iou_ci95"])
    return (
        f"<h2>Change by class</h2>\n<figure>{changes}<figcaption>int8 − fp32 of each class's IoU in percentage points, "
        "with its 95 % interval. Of so many intervals, one in twenty misses by chance.</figcaption></figure>\n"
    )


def _confusion(report: Report) -> str:
    confusion = report.get("confusion")
    if not confusion:
        return ""
    return (
        "<h2>What int8 confuses more, or less</h2>\n<figure>"
        + confusion_difference(report["classes"], confusion["fp32"], confusion["int8"])
        + "<figcaption>Row: truth. Column: prediction. Blue: more of the row's pixels than with fp32; orange: fewer. "
        "The depth is relative to the largest change; point at a cell for its number.</figcaption></figure>"
    )


def _gallery(report: Report) -> str:
    if not report["gallery"]:
        return ""
    agreement = {w["name"]: w["agreement"] for w in report["worst_images"]}
    parts = ["<h2>Images that changed most</h2>"]
    for entry in report["gallery"]:
        name = escape(entry["name"])
        share = agreement.get(entry["name"])
        said = "" if share is None else f" — {100 * share:.2f} % of the labels agree"
        pictures = "".join(
            f'<figure><img src="{escape(entry[key])}" alt="{label} of {name}"><figcaption>{label}</figcaption></figure>'
            for key, label in PICTURES
            if entry.get(key, "").startswith("data:image/")
        )
        parts.append(f'<p class="name">{name}{said}</p>\n<div class="gallery">{pictures}</div>')
    return "\n".join(parts)


def _provenance(report: Report) -> str:
    machine = report["machine"]
    facts = [
        ("protocol", protocol_line(report)),
        ("fp32 model", f"{report['fp32']['path']} {report['digests']['fp32']}"),
        ("int8 model", f"{report['int8']['path']} {report['digests']['int8']}"),
        ("quantized", quantized_line(report["int8"]["quantization"])),
        ("images", f"{report['images']}, list {report['digests']['images']}"),
        ("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['platform']}"),
        ("versions", ", ".join(f"{k} {v}" for k, v in report["versions"].items())),
    ]
    rows = "".join(
        f"<tr><th scope='row'>{escape(key)}</th><td class='wrap'>{escape(value)}</td></tr>" for key, value in facts
    )
    command = f"<h2>Repeat it</h2>\n<pre>{escape(report['command'])}</pre>" if report["command"] else ""
    return f"<h2>Where this came from</h2>\n<table>{rows}</table>\n{command}"


def _table(header: Sequence[str], rows: Iterable[Row], caption: str) -> str:
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f"<div class='scroll'><table class='rows'><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
