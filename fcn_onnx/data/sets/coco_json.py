"""A COCO instances file as JSON whose fields are of the types that the rest of the program takes them for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fcn_onnx.data.images import MAX_PIXELS
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import DatasetError
from fcn_onnx.jobs.artifact import digest_bytes
from fcn_onnx.jobs.reading import read_bytes, refusal
from fcn_onnx.jobs.typed import shown

MAX_BYTES = 2 << 30
"""COCO's largest, of 2017's training images, has 0.45 GB."""

Record = Mapping[str, Any]
ImageId = int | str


def read_coco(source: Path) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """`images`, `annotations` and `categories`, each field that is read of the type that it should be; and the digest.

    Segmentations are left to `decode_mask`, as most are never looked at.

    Raises:
        DatasetError: the file is missing, not JSON, not of that form, or has a field of another type.
    """
    content, digest = _loaded(source)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not _is_records(content.get(key)):
            raise DatasetError(f"{source} has no list {key!r}: not a COCO instances file", fix="name another file")
    for index, record in enumerate(content["categories"]):
        _check(record, f"category {index}", source, {"id": _is_id}, {"name": _is_text})
    for record in content["annotations"]:
        name = f"annotation {shown(record.get('id', '?'))}"
        _check(record, name, source, {"image_id": _is_id, "category_id": _is_id}, {"area": _is_area})
    return dict(content), digest


def _loaded(source: Path) -> tuple[Any, str]:
    """The file's JSON, and its digest: it may have half a gigabyte, and is read once."""
    try:
        data = read_bytes(source, MAX_BYTES)
        return json.loads(data), digest_bytes(data)
    except FileNotFoundError as error:
        raise DatasetError(f"no such annotations: {source}", fix="name the instances_*.json") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{source} is not JSON: {error}", fix="fetch the annotations again") from error


def listed_images(
    records: Iterable[Record], root: Path, source: Path
) -> tuple[dict[ImageId, tuple[int, int]], tuple[Sample, ...]]:
    """(height, width) by id, and the samples in the order of ids, numbers first.

    Raises:
        DatasetError: an image is not described, listed twice, too large, no file, or not in `root`.
    """
    sizes: dict[ImageId, tuple[int, int]] = {}
    samples: list[Sample] = []
    missing: list[str] = []
    folder = root.resolve()
    for index, record in enumerate(records):
        if not {"id", "file_name", "height", "width"} <= set(record):
            raise DatasetError(f"{source} has an image without id, file_name or size", fix="correct the file")
        wanted = {"id": _is_id, "file_name": _is_text, "height": _is_side, "width": _is_side}
        _check(record, f"image {index}", source, wanted)
        name, key, size = record["file_name"], record["id"], (record["height"], record["width"])
        if key in sizes:
            raise DatasetError(f"{source} lists image {key} twice", fix="correct the file")
        if size[0] * size[1] > MAX_PIXELS:
            raise DatasetError(
                f"{source} says that {name!r} has {size[1]}×{size[0]} pixels, more than the limit of {MAX_PIXELS:,}",
                fix="scale it down first",
            )
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise DatasetError(f"{source} names {name!r}, which leaves {root}", fix="correct the file")
        why = refusal(root / pure, folder)
        if why == "is missing":
            missing.append(name)
        elif why is not None:
            raise DatasetError(f"{source} names {name!r}, which {why}", fix="put an ordinary file there")
        sizes[key] = size
        samples.append(Sample(key, pure.as_posix(), root / pure))
    if missing:
        raise DatasetError(
            f"{source} lists {len(missing)} images that are not in {root}, first {missing[0]!r}",
            fix="complete the folder, or use annotations of what is there (--annotations)",
        )
    return sizes, tuple(sorted(samples, key=lambda sample: (isinstance(sample.id, str), sample.id)))


Test = Callable[[Any], bool]


def _check(
    record: Record, name: str, source: Path, required: Mapping[str, Test], optional: Mapping[str, Test] | None = None
) -> None:
    """Raise DatasetError unless the fields of a record pass their tests."""
    for key, test in required.items():
        if key not in record:
            raise DatasetError(f"{name} of {source} has no {key}", fix="correct the file")
        if not test(record[key]):
            raise _wrong(key, record, name, source)
    for key, test in (optional or {}).items():
        if key in record and not test(record[key]):
            raise _wrong(key, record, name, source)


def _wrong(key: str, record: Record, name: str, source: Path) -> DatasetError:
    return DatasetError(f"{name} of {source} has the {key} {shown(record[key])}", fix="correct the file")


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_id(value: Any) -> bool:
    return type(value) in (int, str)


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_side(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_area(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(min(value, 1e18)) and value >= 0
