"""Text of others, such as file and class names, as a terminal may show it, and not too much of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves the cursor, colours, turns the direction of text or ends a line, but for the line feed; and bytes of a
file's name that are no character."""


def visible(text: str) -> str:
    r"""The text with control characters as `\x1b` and the like, which a terminal would obey; lines stay lines."""
    return _CONTROLS.sub(lambda found: _escaped(found[0]), text)


def one_line(text: str) -> str:
    r"""The same of text that stands in one line, a cell or a name: line feeds as `\n`."""
    return visible(text).replace("\n", "\\n")


def utf8(text: str) -> bytes:
    r"""The text in UTF-8; a byte of a file's name that is no character becomes `\udcXX`, which JSON reads again."""
    return text.encode(errors="backslashreplace")


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def listed(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
