"""The report as Markdown: for a pull request, a commit or a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fcn_onnx.jobs.text import one_line, visible
from fcn_onnx.report.quantized import quantized_line
from fcn_onnx.report.table import Report, coverage_line, per_class_rows, protocol_line, summary_rows, verdict

HEADER = ("", "fp32", "int8", "change (95 % interval)")


def to_markdown(report: Report) -> str:
    """The whole report: verdict, table, classes, where it came from."""
    machine, data = report["machine"], report["dataset"]
    parts = [
        "# int8 against fp32",
        f"**{_escape(verdict(report))}**",
        markdown_table(HEADER, summary_rows(report)),
        f"Protocol {_escape(protocol_line(report))} {report['images']} images. "
        "Changes of scores are in percentage points, int8 − fp32.",
        *(
            f"- {_escape(note)}"
            for note in filter(None, [data["description"], coverage_line(report), *report["notes"]])
        ),
    ]
    if rows := per_class_rows(report):
        parts += ["## IoU by class", markdown_table(("class", *HEADER[1:]), rows)]
    if report["worst_images"]:
        changed = [(w["name"], f"{100 * w['agreement']:.2f} %") for w in report["worst_images"]]
        parts += ["## Images that changed most", markdown_table(("image", "label agreement"), changed)]
    facts = [
        ("CPU", f"{machine['cpu']}, {machine['threads']} threads, {machine['int8_kernel']} int8 kernels"),
        ("versions", ", ".join(f"{k} {v}" for k, v in report["versions"].items())),
        ("fp32", f"{report['fp32']['path']} `{report['digests']['fp32']}`"),
        ("int8", f"{report['int8']['path']} `{report['digests']['int8']}`"),
        ("quantized", quantized_line(report["int8"]["quantization"])),
        ("images", f"`{report['digests']['images']}`"),
    ]
    parts += ["## Where this came from", markdown_table(("", ""), facts)]
    if report["command"]:
        parts += [f"Repeat it with:\n\n```\n{one_line(report['command'])}\n```"]
    return "\n\n".join(parts) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells hold no markup of their own."""
    align = ["---", *["---:"] * (len(header) - 1)]
    lines = [list(header), align, *([_escape(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escape(text: str) -> str:
    """File names are not to be trusted: no markup, no new rows, no HTML, nothing that a terminal obeys."""
    text = visible(text.replace("\n", " ").replace("\r", " "))
    for sign in "\\|*_[]`":
        text = text.replace(sign, "\\" + sign)
    return text.replace("<", "&lt;").replace(">", "&gt;")
