"""Files that are almost what they should be: changed where their structure is, not only in their bytes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import onnx
from google.protobuf.message import Message

Mutation = Callable[[bytes, Random], bytes]

DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 255, 256, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e-300, 1e308),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "0", "NaN", "../../etc/passwd", "/dev/zero", "\0", "a\nb"),
    *("\x1b[2J", "\u202e", "\ud800", "x" * 5000, [], {}, [None], [[]], {"": None}, DEEP, [0] * 3000),
)
INTEGERS = (
    *(0, 1, -1, 2, 3, 7, 12, 255, 256, 4096, 65535, 10**6, 2**31 - 1),
    *(2**31, 2**32, 2**40, 2**62, -(2**31), -(2**62)),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, 0.5, float("nan"), float("inf"), float("-inf"))
STRINGS = (
    *("", "\0", "a" * 4000, "../x", "/etc/passwd", "\x1b[31mred", "ü\u202e"),
    *("input", "out", "Conv", "Loop", "If", "ai.onnx.ml"),
)


def flipped(data: bytes, random: Random) -> bytes:
    """Of any file: bits, bytes and runs of bytes changed, cut, doubled or moved."""
    content = bytearray(data or b"\0")
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        at = random.randrange(len(content) if random.random() < 0.7 else min(64, len(content)))
        length = random.choice((1, 1, 2, 4, 8, 64, 1000))
        match random.randrange(7):
            case 0:
                content[at : at + 1] = bytes([(content[at] if at < len(content) else 0) ^ 1 << random.randrange(8)])
            case 1:
                content[at : at + length] = random.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * length
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = random.randbytes(length)
            case 4:
                content[at:at] = content[at : at + length]
            case 5:
                content = content[: max(1, at)]
            case 6:
                other = random.randrange(len(content) or 1)
                content[at : at + length] = content[other : other + length]
        content = content or bytearray(b"\0")
    return bytes(content)


def json_changed(data: bytes, random: Random) -> bytes:
    """Of JSON: values of other types, keys that go, entries that are doubled."""
    value = json.loads(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        places = list(_places(value))
        if not places:
            break
        inside, key = random.choice(places)
        match random.randrange(5):
            case 0 | 1 | 2:
                inside[key] = random.choice(VALUES)
            case 3:
                del inside[key]
            case 4:
                if isinstance(inside, list):
                    inside.insert(0, inside[key])
                else:
                    inside[random.choice(STRINGS)] = inside[key]
    return json.dumps(value).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    stack = [value]
    while stack:
        inside = stack.pop()
        if isinstance(inside, dict | list) and inside is not DEEP:
            for key, inner in inside.items() if isinstance(inside, dict) else enumerate(inside):
                yield inside, key
                stack.append(inner)


def model_changed(data: bytes, random: Random) -> bytes:
    """Of an ONNX file: fields of its messages, and nodes, names and lengths among them."""
    model = onnx.load_from_string(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        messages = list(_messages(model))
        message = random.choice(messages)
        fields = [f for f in message.DESCRIPTOR.fields if f.name not in ("doc_string",)]
        known = [f for f, _ in message.ListFields()]
        field = random.choice(known if known and random.random() < 0.85 else fields)
        try:
            _change(message, field, random)
        except (TypeError, ValueError, OverflowError, UnicodeError):
            continue  # a value that the field cannot have
    return model.SerializeToString()


def card_changed(data: bytes, random: Random) -> bytes:
    """Of an ONNX file of ours: the JSON in its metadata."""
    model = onnx.load_from_string(data)
    entry = random.choice(model.metadata_props)
    change = json_changed if random.random() < 0.7 and entry.value[:1] in "{[" else flipped
    entry.value = change(entry.value.encode(), random).decode(errors="replace")
    return model.SerializeToString()


def _change(message: Message, field: Any, random: Random) -> None:
    values = {"INT": INTEGERS, "FLO": FLOATS, "STR": STRINGS, "BYT": tuple(s.encode() for s in STRINGS)}
    kind = {1: "FLO", 2: "FLO", 9: "STR", 12: "BYT"}.get(field.type, "INT")
    if not field.is_repeated:
        if field.type == 11 or random.random() < 0.2:
            message.ClearField(field.name)
        elif kind == "BYT" and random.random() < 0.7:
            setattr(message, field.name, flipped(getattr(message, field.name), random))
        else:
            setattr(message, field.name, random.choice(values[kind]))
        return
    entries = getattr(message, field.name)
    if field.type == 11:
        if entries and random.random() < 0.6:
            copy = type(entries[0])()
            copy.CopyFrom(random.choice(entries))
            entries.append(copy)
        if entries:
            del entries[random.randrange(len(entries))]
        return
    choice = random.randrange(4)
    if choice == 0 and entries:
        del entries[random.randrange(len(entries))]
    elif choice == 1 and entries:
        entries[random.randrange(len(entries))] = random.choice(list(entries))
    elif choice == 2 and entries:
        entries[random.randrange(len(entries))] = random.choice(values[kind])
    else:
        entries.append(random.choice(values[kind]))


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == 11:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)


YAML = ("&a", "*a", "!!python/name:os.system", "[", "}", "- -")


def text_changed(data: bytes, random: Random) -> bytes:
    """Of text in lines: words and lines changed, doubled or gone."""
    lines = data.decode().splitlines() or [""]
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(lines))
        match random.randrange(6):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[at])
            case 2:
                lines[at] = str(random.choice(VALUES))[:6000]
            case 3 | 4:
                words = lines[at].replace(":", ": ").split() or [""]
                words[random.randrange(len(words))] = str(random.choice((*VALUES, *YAML)))[:6000]
                lines[at] = " ".join(words)
            case 5:
                lines[at] = lines[at] + random.choice(("\t", "\r", "\0", " \u2028", ": {", ": [1, 2"))
        lines = lines or [""]
    return "\n".join(lines).encode(errors="surrogatepass")


def archive_changed(data: bytes, random: Random) -> bytes:
    """Of a zip archive: the members' content, names and number."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(result, "w") as made:
        members = archive.infolist()
        chosen = random.choice(members)
        for member in members:
            content, name = archive.read(member), member.filename
            if member is chosen:
                match random.randrange(4):
                    case 0:
                        continue
                    case 1:
                        name = random.choice(STRINGS).replace("\0", "") or "empty"
                    case _:
                        content = flipped(content, random)
            made.writestr(name, content, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    return result.getvalue()
