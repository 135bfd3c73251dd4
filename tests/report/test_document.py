"""report.json as types: read back strictly, described by a schema, and older ones drawn again.

`python tests/report/test_document.py` writes docs/report.schema.json anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from toys import pixel_classifier, save, write_coco

from fcn_onnx.cli import main
from fcn_onnx.data.choice import ImageSource
from fcn_onnx.errors import ReportError
from fcn_onnx.evaluation.gates import Gates
from fcn_onnx.report.document import Document, json_schema
from fcn_onnx.stages.options import ValidateOptions
from fcn_onnx.stages.validate import validate

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"
SCHEMA_1 = Path(__file__).with_name("schema-1.json")
"""What version 0.1.0 wrote, but for three of its four galleries."""

KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether `value` is as a JSON Schema says, by those of its words that ours uses."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "oneOf" in schema:
        return sum(fits(value, option, root) for option in schema["oneOf"]) == 1
    if "anyOf" in schema:
        return any(fits(value, option, root) for option in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    if "type" not in schema:
        return True
    if not isinstance(value, KINDS[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return False
    if schema["type"] == "array":
        kinds = schema.get("prefixItems") or [schema["items"]] * len(value)
        return len(kinds) == len(value) and all(fits(v, kind, root) for v, kind in zip(value, kinds, strict=True))
    if schema["type"] == "object":
        known, others = schema.get("properties", {}), schema["additionalProperties"]
        if not set(schema.get("required", ())) <= set(value) or (others is False and not set(value) <= set(known)):
            return False
        return all(fits(v, known.get(key, others), root) for key, v in value.items())
    return True


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Reports of one candidate and of two, as they are on disk."""
    folder = tmp_path_factory.mktemp("document")
    models = [save(pixel_classifier(0, shift=shift), folder / f"m{shift}.onnx") for shift in (0.0, 0.02, 0.05)]
    coco = write_coco(folder / "coco")
    for name, candidates in (("one", models[1:2]), ("two", models[1:])):
        gates = Gates(max_drop=1.0, min_speedup=0.5, confident=True)
        validate(
            ValidateOptions(
                fp32=models[0], int8=candidates, choice=ImageSource(coco), report=folder / name, gates=gates, limit=3
            )
        )
    one, two = (json.loads((folder / name / "report.json").read_text()) for name in ("one", "two"))
    return one, two


def test_the_schema_in_the_docs_is_that_of_the_types() -> None:
    assert json.loads(SCHEMA.read_text()) == json_schema(), f"if it is meant: python {__file__}"


def test_written_reports_are_as_the_schema_says(written: tuple[Any, Any]) -> None:
    schema = json.loads(SCHEMA.read_text())
    for report in written:
        assert report["schema"] == 2
        assert fits(report, schema, schema)
        assert not fits(report | {"images": "5"}, schema, schema)
        assert not fits(report | {"more": 1}, schema, schema)
        assert not fits({key: value for key, value in report.items() if key != "fp32"}, schema, schema)
        assert Document.from_json(report).to_json() == report
    one, two = written
    assert {"int8", "delta", "gate"} <= set(one)
    assert {"int8", "delta", "gate"} <= set(two["candidates"]["m0.05"])


CHANGES: dict[str, tuple[Any, str]] = {
    "images": ("5", "images is '5', not integer"),
    "fp32": ({}, "fp32 has no 'path'"),
    "schema": (3, "is of schema 3, and this version reads 1 and 2"),
    "surplus": (1, "has the key 'surplus'"),
    "classes": ([1], r"classes\[0\] is 1, not string"),
    "command": (False, "command is False, not string"),
    "digests": ({"fp32": "a", "images": "b"}, "digests has no 'job'"),
    "timing": ([], r"timing is \[\], not an object"),
    "delta": (None, "delta is None, not an object"),
}


@pytest.mark.parametrize("key", CHANGES)
def test_what_is_no_report_is_refused(written: tuple[Any, Any], key: str) -> None:
    value, words = CHANGES[key]
    with pytest.raises(ReportError, match=words):
        Document.from_json(written[0] | {key: value})


UNREADABLE = ["", "[]", "{}", "[" * 100_000, '{"schema": [1]}', '{"schema": 1}', '{"schema": 1, "gate": 3}', "\xff"]


@pytest.mark.parametrize("content", UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ReportError, match=r"report\.json"):
        Document.load(path)
    done = CliRunner().invoke(main, ["report", str(path)])
    assert done.exit_code == 2
    assert not path.with_name("report.md").exists()


@pytest.mark.parametrize("kind", ["one", "two"])
def test_parts_of_other_classes_or_models_are_refused(written: tuple[Any, Any], tmp_path: Path, kind: str) -> None:
    """They would be drawn side by side, and cannot be."""
    report = written[kind == "two"]
    row = report if kind == "one" else next(iter(report["candidates"].values()))
    places = (report["fp32"], row["int8"], row["delta"])
    for inside, key in [(place, "per_class_iou") for place in places] + [(row["delta"], "per_class_iou_ci95")]:
        if inside[key] is None:
            continue
        whole = inside[key]
        inside[key] = {("cat" if name == "dog" else name + "s"): value for name, value in whole.items()}
        with pytest.raises(ReportError, match="is not of the report's classes"):
            Document.from_json(report)
        inside[key] = whole
    matrices = report["confusion"]
    for broken in (matrices["fp32"][:-1], [row[:-1] for row in matrices["fp32"]], [[1]], []):
        report["confusion"] = matrices | {"fp32": broken}
        with pytest.raises(ReportError, match="the confusion matrix of 'fp32' is not 21 × 21"):
            Document.from_json(report)
    report["confusion"] = {"fp32": matrices["fp32"]}
    with pytest.raises(ReportError, match="the confusion matrix of"):
        Document.from_json(report)
    report["confusion"] = matrices
    for inside in (report["fp32"], row["int8"], row["delta"]):
        whole = inside["regions"]
        for broken in (None, {key: found for key, found in whole.items() if key != "small"}):
            inside["regions"] = broken
            with pytest.raises(ReportError, match="by region is not of the report's"):
                Document.from_json(report)
        inside["regions"] = whole
    assert Document.from_json(report).to_json() == report


def test_a_report_of_schema_1_is_drawn_again(tmp_path: Path) -> None:
    old = json.loads(SCHEMA_1.read_text())
    assert old["schema"] == 1
    document = Document.load(SCHEMA_1)
    new = document.to_json()
    assert new["schema"] == 2
    changed = {"schema", "gate", "shown", "fp32", "int8", "delta", "regions"}
    assert {key: value for key, value in new.items() if key not in changed} == {
        key: value for key, value in old.items() if key not in changed
    }
    for name in ("fp32", "int8"):
        later = {"runtime": "onnxruntime", "regions": None, "peak_memory_bytes": None, "profile": None}
        assert new[name] == old[name] | {"digest": old["digests"][name]} | later
    assert new["delta"] == old["delta"] | {"regions": None}
    assert new["regions"] is None
    assert new["gate"].items() >= old["gate"].items()
    done = CliRunner().invoke(main, ["report", str(SCHEMA_1), "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    page, markdown = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    assert page.count('<img src="data:image/') == 5
    for text in (page, markdown):
        assert "FAILED (1 % relative allowed). The two mIoUs are over different classes" in text
        assert f"{100 * old['int8']['pixel_accuracy']:.2f} %" in text
        assert old["digests"]["int8"] in text


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(json_schema(), indent=1) + "\n", encoding="utf-8")
