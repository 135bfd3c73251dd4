"""Several int8 models of one fp32 model in one table: which to ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from fcn_onnx.report.markdown import markdown_table
from fcn_onnx.report.page import page
from fcn_onnx.report.table import Report, change, interval, megabytes, percent

HEADER = ("int8 model", "mIoU", "change (95 % interval)", "label agreement", "speed-up", "size")
CANNOT_TELL = "which candidate is better, they cannot tell"
TITLE = "int8 candidates against fp32"


def candidate_rows(reports: Mapping[str, Report]) -> list[tuple[str, ...]]:
    """A row for each candidate, by name, in the order given; fp32 first."""
    first = next(iter(reports.values()))["fp32"]
    rows: list[tuple[str, ...]] = [("fp32", percent(first["miou"]), "", "", "", megabytes(first["size_bytes"]))]
    for name, report in reports.items():
        int8, delta = report["int8"], report["delta"]
        rows.append(
            (
                name,
                percent(int8["miou"]),
                change(delta["miou"], delta["miou_ci95"]),
                percent(delta["label_agreement"]) + interval(delta["label_agreement_ci95"], 100, " %", signed=False),
                f"{delta['speedup']:.2f}×{interval(delta['speedup_ci95'], 1, '×', signed=False)}",
                megabytes(int8["size_bytes"]),
            )
        )
    return rows


def candidates_to_json(reports: Mapping[str, Report]) -> dict[str, Any]:
    """`candidates.json`: each candidate's delta, and where its own report is."""
    first = next(iter(reports.values()))
    return {
        "schema": first["schema"],
        "protocol": first["protocol"],
        "images": first["images"],
        "candidates": [
            {"name": name, "report": f"{name}/report.json", "int8": report["int8"], "delta": report["delta"]}
            for name, report in reports.items()
        ],
    }


def candidates_to_markdown(reports: Mapping[str, Report]) -> str:
    """The table, and a line on what it is of."""
    return f"# {TITLE}\n\n{markdown_table(HEADER, candidate_rows(reports))}\n\n{_said(reports)}\n"


def candidates_to_html(reports: Mapping[str, Report]) -> str:
    """A self-contained page that links to each candidate's own report."""
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in HEADER)
    body = "".join("<tr>" + "".join(_cells(row, row[0] in reports)) + "</tr>" for row in candidate_rows(reports))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    said = f"<p class='soft'>{escape(_said(reports))}</p>"
    return page(TITLE, f"<h1>{TITLE}</h1>\n<div class='scroll'>{table}</div>\n{said}")


def _cells(row: Sequence[str], linked: bool) -> list[str]:
    name = escape(row[0])
    first = f"<a href='{name}/report.html'>{name}</a>" if linked else name
    return [f"<td>{first}</td>", *(f"<td>{escape(cell)}</td>" for cell in row[1:])]


def _said(reports: Mapping[str, Report]) -> str:
    first = next(iter(reports.values()))
    return (
        f"Protocol {first['protocol']}, the same {first['images']} images for all; those that any candidate was "
        "calibrated on are left out. Changes are in percentage points, int8 − fp32; speed-ups are of turns with fp32."
        + ("" if first["delta"]["miou_ci95"] else f" These are too few images for intervals: {CANNOT_TELL}.")
    )
