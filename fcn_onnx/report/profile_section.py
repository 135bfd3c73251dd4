"""Where the time of each row goes, as a section of the report: a figure and a table by operator, all layers behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from fcn_onnx.report.document import FP32, Document, Row
from fcn_onnx.report.markup import table
from fcn_onnx.report.profile import (
    BETWEEN,
    HEADER,
    LAYERS_HEADER,
    Profile,
    layer_rows,
    operator_rows,
    profile_line,
)
from fcn_onnx.report.svg import LABEL, WIDTH, svg
from fcn_onnx.report.table import megabytes

TITLE = "Where the time goes"
SAID = (
    "Each layer's time by the runtime's own clock, on the first image, in a session of its own; what is fused is one "
    "layer. Multiply-accumulates are those that the file says. The peak is that of one large matrix product or "
    "convolution in the same runtime, with the same threads."
)


def profiled_rows(document: Document) -> dict[str, Row]:
    """The rows that have a profile, by name."""
    rows = {FP32: document.fp32} | {name: candidate.int8 for name, candidate in document.candidates.items()}
    return {name: row for name, row in rows.items() if row.profile is not None}


def profile_section(document: Document) -> str:
    """HTML of the section; nothing where no row has a profile."""
    rows = profiled_rows(document)
    if not rows:
        return ""
    most = max(row.profile.milliseconds for row in rows.values() if row.profile)
    parts = [f"<h2>{TITLE}</h2>\n<p class='soft'>{SAID}</p>"]
    for name, row in rows.items():
        parts += _of(name, row, most)
    return "\n".join(parts)


def profile_lines(document: Document) -> Iterator[tuple[str, Sequence[Sequence[str]]]]:
    """For Markdown: what each table is of, and the table by operator, its header first."""
    for name, row in profiled_rows(document).items():
        if row.profile is not None:
            yield _said(name, row, row.profile), [("operator", *HEADER[1:]), *operator_rows(row.profile)]


def _said(name: str, row: Row, profile: Profile) -> str:
    memory = "" if row.peak_memory_bytes is None else f"; peak memory of the session {megabytes(row.peak_memory_bytes)}"
    return f"{name}, in {row.runtime}: {profile_line(profile)}{memory}"


def _of(name: str, row: Row, most_ms: float) -> Iterator[str]:
    profile = row.profile
    if profile is None:
        return
    yield f"<h3>{escape(name)}</h3>"
    yield f"<figure>{operator_bars(name, profile, most_ms)}</figure>"
    yield table(("operator", *HEADER[1:]), operator_rows(profile), _said(name, row, profile), texts=1)
    layers = table(LAYERS_HEADER, layer_rows(profile), "In the order in which they run.", texts=2)
    yield f"<details><summary>All {len(profile.layers)} layers</summary>\n{layers}</details>"


def operator_bars(name: str, profile: Profile, most_ms: float) -> str:
    """A bar for each operator's milliseconds, int8 ones in int8's colour, all figures to the scale of `most_ms`."""
    row, left = 22, 2 * LABEL
    reach = WIDTH - left - 90
    spent = [(one.op_type, one.milliseconds, one.int8) for one in profile.operators]
    parts = []
    for index, (op_type, milliseconds, int8) in enumerate([*spent, (BETWEEN, max(0.0, profile.between_ms), False)]):
        top, width = index * row, milliseconds / most_ms * reach if most_ms else 0.0
        parts.append(f'<text x="{left - 8}" y="{top + 15}" text-anchor="end">{escape(op_type)}</text>')
        kind = "int8" if int8 else "fp32"
        parts.append(f'<rect class="{kind}" x="{left}" y="{top + 4}" width="{width:.1f}" height="14" rx="1"/>')
        parts.append(f'<text class="soft" x="{left + width + 6:.1f}" y="{top + 15}">{milliseconds:.2f} ms</text>')
    return svg((len(spent) + 1) * row + 4, f"Milliseconds of each operator of {name}", parts)
