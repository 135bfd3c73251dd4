"""Pieces of HTML that several parts of a page are made of; all text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    *,
    kind: str = "",
    links: Sequence[str] = (),
    texts: int = 0,
) -> str:
    """A table that scrolls by itself where it is too wide.

    Args:
        kind: what becomes of it on a phone: of `rows`, four columns at most, the first cell stands above the others; of
            `cards`, each cell has a line, with its column's heading; others scroll.
        links: what the first cells lead to, of the last rows; those before lead nowhere.
        texts: how many of the first columns are text, which may break anywhere.
    """
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in header)
    lines = [list(map(escape, row)) for row in rows]
    for line, target in zip(reversed(lines), reversed(links), strict=False):
        line[0] = f'<a href="{escape(target)}">{line[0]}</a>'
    kinds = [" class='wrap'" if index < texts else "" for index in range(len(header))]
    if kind == "cards":
        kinds[1:] = [f' data-label="{escape(cell)}"' for cell in header[1:]]
    body = "".join(
        "<tr>" + "".join(f"<td{own}>{cell}</td>" for own, cell in zip(kinds, line, strict=True)) + "</tr>"
        for line in lines
    )
    said = f"<caption><span>{escape(caption)}</span></caption>" if caption else ""
    whole = f"{said}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f"<div class='scroll'><table class='{kind}'>{whole}</table></div>"


def figure(drawing: str, caption: str) -> str:
    """A drawing, which is HTML, and what it shows."""
    return f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>"


def notes(lines: Iterable[str | None]) -> str:
    """A list of those that are there; nothing if none is."""
    found = "".join(f"<li>{escape(line)}</li>" for line in lines if line)
    return f"<ul class='soft'>{found}</ul>" if found else ""
