"""The file that says what the values of masks mean.

    # R G B      class
    128 64 128   road
    70 70 70     2
    0 0 0        void

A line is a value and what it means: a class by name or label, or `void`. A value is one number, of grey or palette
masks, or three, a colour; a file has one kind. Empty lines, and lines from # on, do not count.
"""

from __future__ import annotations

import re
from pathlib import Path

from fcn_onnx.data.labels import VOID, LabelSpace
from fcn_onnx.data.sets.mask_files import Values
from fcn_onnx.errors import DatasetError, UsageError
from fcn_onnx.jobs.reading import read_text

COLOUR = re.compile(r"(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})\s+(\S.*)", re.ASCII)
NUMBER = re.compile(r"(\d{1,3})\s+(\S.*)", re.ASCII)


def read_label_map(path: Path, space: LabelSpace) -> Values:
    """What each value means, by the form above.

    Raises:
        UsageError: the file cannot be read, or a line of it.
        DatasetError: a line names no class of `space`.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the label map {path} cannot be read: {error}", fix="name a text file") from error
    labels: dict[int, int] = {}
    kinds = set()
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        value, meaning, colour = _split(text, f"{path}:{number}")
        kinds.add(colour)
        if len(kinds) > 1:
            raise UsageError(f"{path}:{number} mixes colours and single numbers", fix="write one kind of value")
        if value in labels:
            raise UsageError(f"{path}:{number} says what a value means a second time", fix="remove a line")
        labels[value] = _label(meaning, space, f"{path}:{number}")
    if not labels:
        raise UsageError(f"{path} says nothing", fix="write a line a value: `R G B class`, or `number class`")
    return Values(labels, colours=kinds == {True}, said_by=str(path))


def _split(text: str, where: str) -> tuple[int, str, bool]:
    """The value, its meaning, and whether it is a colour."""
    colour = COLOUR.fullmatch(text)
    found = colour or NUMBER.fullmatch(text)
    parts = [int(part) for part in found.groups()[:-1]] if found else [VOID + 1]
    if found is None or max(parts) > 255:
        raise UsageError(
            f"{where} is {text[:60]!r}", fix="write `R G B class` or `number class`, with numbers of 0 to 255"
        )
    value = 0
    for part in parts:
        value = value << 8 | part
    return value, found.groups()[-1], colour is not None


def _label(meaning: str, space: LabelSpace, where: str) -> int:
    if meaning in space.names:
        return space.names.index(meaning)
    if meaning == "void":
        return VOID
    if meaning.isascii() and meaning.isdigit() and len(meaning) <= 3 and int(meaning) < len(space.names):
        return int(meaning)
    raise DatasetError(
        f"{where} means {meaning[:60]!r}, which is none of the {len(space.names)} classes "
        f"({', '.join(space.names[:4])}, …)",
        fix="write a class's name or label, or void; --classes names the classes",
    )
