"""The report as Markdown: for a pull request, a commit or a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fcn_onnx.jobs.text import one_line, visible
from fcn_onnx.report.document import Candidate, Document
from fcn_onnx.report.profile_section import SAID, TITLE, profile_lines
from fcn_onnx.report.quantized import quantized_line
from fcn_onnx.report.table import (
    CANDIDATES_HEADER,
    REGIONS_HEADER,
    candidate_rows,
    candidates_line,
    coverage_line,
    flip_rows,
    per_class_rows,
    protocol_line,
    region_rows,
    regions_line,
    run_by,
    summary_rows,
)
from fcn_onnx.report.verdict import verdict

HEADER = ("", "fp32", "int8", "change (95 % interval)")


def to_markdown(document: Document) -> str:
    """The whole report: verdict, table, classes of each candidate, and where it came from."""
    parts = ["# int8 against fp32"]
    if document.several:
        parts += [markdown_table(CANDIDATES_HEADER, candidate_rows(document)), escaped(candidates_line(document))]
        if flips := flip_rows(document):
            parts.append(markdown_table([*map(escaped, flips[0])], flips[1:]))
        parts += _about(document)
    for name, candidate in document.candidates.items():
        if document.several:
            parts.append(f"## {escaped(name)}")
        parts.append(f"**{escaped(verdict(document, candidate))}**")
        parts.append(markdown_table(HEADER, summary_rows(document, candidate)))
        line = coverage_line(candidate.coverage)
        if not document.several:
            parts += _about(document, line)
        elif line:
            parts.append(f"- {escaped(line)}")
        parts += _details(document, candidate)
    parts += _profiles(document)
    parts += ["## Where this came from", markdown_table(("", ""), _facts(document))]
    if document.command:
        parts += [f"Repeat it with:\n\n```\n{one_line(document.command)}\n```"]
    return "\n\n".join(parts) + "\n"


def _profiles(document: Document) -> Iterator[str]:
    """Where the time of each row goes, by operator."""
    for index, (said, (header, *rows)) in enumerate(profile_lines(document)):
        if index == 0:
            yield f"## {TITLE}\n\n{SAID}"
        yield escaped(said)
        yield markdown_table(header, rows)


def _about(document: Document, coverage: str | None = None) -> Iterator[str]:
    """What was scored, and what a reader must know of it."""
    yield (
        f"Protocol {escaped(protocol_line(document))} {document.images} images. "
        "Changes of scores are in percentage points, int8 − fp32."
    )
    for note in filter(None, [document.dataset.description, coverage, *document.notes]):
        yield f"- {escaped(note)}"


def _details(document: Document, candidate: Candidate) -> Iterator[str]:
    """Classes and images of one candidate."""
    level = "###" if document.several else "##"
    if found := region_rows(document, candidate):
        yield f"{level} At borders, and by size of object"
        yield escaped(regions_line(document))
        yield markdown_table(REGIONS_HEADER, found)
    if rows := per_class_rows(document, candidate):
        yield f"{level} IoU by class"
        yield markdown_table(("class", *HEADER[1:]), rows)
    if candidate.worst_images:
        yield f"{level} Images that changed most"
        changed = [(image.name, f"{100 * image.agreement:.2f} %") for image in candidate.worst_images]
        yield markdown_table(("image", "label agreement"), changed)


def _facts(document: Document) -> Iterator[tuple[str, str]]:
    machine = document.machine
    yield "CPU", f"{machine.cpu}, {machine.threads} threads, {machine.int8_kernel} int8 kernels"
    yield "versions", ", ".join(f"{name} {version}" for name, version in document.versions.items())
    yield "fp32", f"{document.fp32.path} `{document.fp32.digest}`{run_by(document.fp32)}"
    for name, candidate in document.candidates.items():
        yield name, f"{candidate.int8.path} `{candidate.int8.digest}`{run_by(candidate.int8)}"
        yield "quantized", quantized_line(candidate.int8.quantization)
    yield "images", f"`{document.digests.images}`"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells hold no markup of their own."""
    align = ["---", *["---:"] * (len(header) - 1)]
    lines = [list(header), align, *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def escaped(text: str) -> str:
    """File names are not to be trusted: no markup, no new rows, no HTML, nothing that a terminal obeys."""
    text = visible(text.replace("\n", " ").replace("\r", " "))
    for sign in "\\|*_[]`":
        text = text.replace(sign, "\\" + sign)
    return text.replace("<", "&lt;").replace(">", "&gt;")
