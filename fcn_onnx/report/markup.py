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
) -> str:
    """A table that scrolls by itself where it is too wide.

    Args:
        kind: `rows` where each row is a small table of its own on a phone.
        links: what the first cells lead to, of the last rows; those before lead nowhere.
    """
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in header)
    lines = [list(map(escape, row)) for row in rows]
    for line, target in zip(reversed(lines), reversed(links), strict=False):
        line[0] = f'<a href="{escape(target)}">{line[0]}</a>'
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    whole = f"{said}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f"<div class='scroll'><table class='{kind}'>{whole}</table></div>"


def figure(drawing: str, caption: str) -> str:
    """A drawing, which is HTML, and what it shows."""
    return f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>"


def notes(lines: Iterable[str | None]) -> str:
    """A list of those that are there; nothing if none is."""
    found = "".join(f"<li>{escape(line)}</li>" for line in lines if line)
    return f"<ul class='soft'>{found}</ul>" if found else ""
