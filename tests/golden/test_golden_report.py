"""report.json of one candidate, as users read it: no key goes, none changes its type, and the counts stay.

Keys may be added. The file beside this is of what version 0.1.0 wrote; run as a program, with tests/ on its path, this
prints the same of what is written now.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toys import compare, pixel_classifier, save, write_coco

from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.evaluation.gates import Gates

GOLDEN = Path(__file__).with_name("report.json")


def made(folder: Path) -> Any:
    """The report of two models that differ a little, as JSON."""
    models = [save(pixel_classifier(0, shift=shift), folder / f"{shift}.onnx") for shift in (0.0, 0.05)]
    data = open_dataset(write_coco(folder / "coco"))
    result = compare(*models, data, protocol="torchvision", gates=Gates(max_drop=1.0), command="fcn-onnx validate")
    return json.loads(json.dumps(result.report))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Where each value of a JSON tree lies, and its type; the entries of a list share one place."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}/{key}")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from leaves(inner, f"{path}/[]")
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        yield path, "number" if number else type(value).__name__


def tree(report: Any) -> dict[str, list[str]]:
    """The types that are found at each place."""
    found: dict[str, set[str]] = {}
    for path, kind in leaves(report):
        found.setdefault(path, set()).add(kind)
    return {path: sorted(kinds) for path, kinds in sorted(found.items())}


def numbers(report: Any) -> dict[str, Any]:
    """What does not depend on the machine."""
    models = {
        name: {key: report[name][key] for key in ("miou", "pixel_accuracy", "mean_accuracy", "per_class_iou")}
        for name in ("fp32", "int8")
    }
    delta = {key: report["delta"][key] for key in ("miou", "pixel_accuracy", "label_agreement", "per_class_iou")}
    return models | {"delta": delta} | {key: report[key] for key in ("images", "confusion", "worst_images")}


def test_no_key_goes_and_the_counts_stay(tmp_path: Path) -> None:
    golden, report = json.loads(GOLDEN.read_text(encoding="utf-8")), made(tmp_path)
    assert tree(report).items() >= golden["tree"].items()
    assert numbers(report) == golden["numbers"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        report = made(Path(temporary))
    parts = {"tree": tree(report), "numbers": numbers(report)}
    lines = {name: [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in part.items()] for name, part in parts.items()}
    print("{" + ",\n".join(f'"{name}": {{\n' + ",\n".join(part) + "\n}" for name, part in lines.items()) + "}")  # noqa: T201
