"""report.json as types: what `validate` fills, every page is drawn from, and an old report is read back as.

A report is of one fp32 model and of one candidate or several. In the file one candidate lies flat beside `fp32`
(`int8`, `delta`, `gate`, …), several in `candidates`, by name. Fractions, not percent, unless a name says so; a delta
is int8 − fp32, a ratio fp32/int8. None is what cannot be computed, or was not measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from fcn_onnx.errors import ReportError
from fcn_onnx.jobs.reading import read_text
from fcn_onnx.jobs.typed import shown
from fcn_onnx.report import codec
from fcn_onnx.report.consistent import require_consistent
from fcn_onnx.report.older import upgraded
from fcn_onnx.report.profile import Profile
from fcn_onnx.report.regions import Region, RegionDelta

SCHEMA = 2
FP32, INT8 = "fp32", "int8"
"""What the reference is called, and the candidate where there is only one."""

MAX_BYTES = 256 << 20
"""Of a `report.json`; that of 5,000 images and 150 classes has a few million."""

Interval = tuple[float, float]
Matrix = tuple[tuple[int, ...], ...]
ByClass = Mapping[str, float | None]


class Outcome(StrEnum):
    """Of a gate."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds over the scored images."""

    p50: float
    p90: float
    p99: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model in a runtime.

    Attributes:
        path, digest, size_bytes: of the file, the latter two with its external data.
        per_class_iou: by class; None under a protocol without classes.
        regions: the measure of each of the report's `regions`.
        latency_samples_ms: the session's time for each image, in their order.
        quantization: the plan in the model's card.
        peak_memory_bytes, profile: of a session of its own, with `--profile`.
    """

    path: str
    digest: str
    runtime: str = "onnxruntime"
    miou: float | None
    pixel_accuracy: float | None
    mean_accuracy: float | None
    per_class_iou: ByClass | None
    regions: ByClass | None = None
    latency_ms: Latency
    latency_samples_ms: tuple[float, ...] = ()
    size_bytes: int
    quantization: Mapping[str, Any] | None
    peak_memory_bytes: int | None = None
    profile: Profile | None = None


@dataclass(frozen=True, kw_only=True)
class Delta:
    """int8 against fp32, with 95 % intervals over the choice of images; None below five of them."""

    miou: float | None
    miou_relative_percent: float | None
    miou_ci95: Interval | None
    pixel_accuracy: float | None
    pixel_accuracy_ci95: Interval | None = None
    label_agreement: float
    label_agreement_ci95: Interval | None = None
    per_class_iou: ByClass | None
    per_class_iou_ci95: Mapping[str, Interval | None] | None = None
    regions: Mapping[str, RegionDelta] | None = None
    speedup: float
    speedup_ci95: Interval | None
    size_ratio: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """One gate that was set.

    Attributes:
        gate: the option's name, such as `max_drop`, whose unit all numbers have.
        bound: what is allowed, or wanted.
        value, ci95: what was measured, and its 95 % interval.
        outcome: by the interval with `--confident`, else by `value`.
        certain: whether the interval lies on one side of the bound.
        images_to_decide: some so many images would, if the value stays and the interval shrinks as 1/√n.
    """

    gate: str
    bound: float
    value: float | None
    ci95: Interval | None
    outcome: Outcome
    certain: bool
    images_to_decide: int | None


@dataclass(frozen=True, kw_only=True)
class Gate:
    """All gates of a candidate.

    Attributes:
        max_drop_percent: the relative loss of mIoU that is allowed; None where `--max-drop` was not given.
        drop_percent, drop_percent_ci95: that loss, gate or not.
        passed: whether all gates passed; None without one, or where they are undecided.
        certain: whether all intervals lie on one side of their bounds; None without a gate.
        outcome: failed if any gate failed, else undecided if any is.
        confident: whether intervals decide.
        checks: a gate each.
    """

    max_drop_percent: float | None
    drop_percent: float | None
    drop_percent_ci95: Interval | None = None
    passed: bool | None
    certain: bool | None = None
    outcome: Outcome | None
    confident: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class OneSided:
    """Classes in no truth that one model alone predicts, by which, and the change over the classes that compare."""

    predicted_by: Mapping[str, str]
    common_classes: int
    miou_common_classes: float


@dataclass(frozen=True, kw_only=True)
class FloatNode:
    """A node that multiplies in fp32."""

    op_type: str
    macs_share: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What of an int8 model its runtime runs in int8; `float_nodes` is None in older reports."""

    int8_convs: int
    convs: int
    int8_macs_share: float | None
    float_convs: Mapping[str, str]
    float_nodes: Mapping[str, FloatNode] | None = None
    rounded_nodes: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class ChangedImage:
    """An image, and the share of its labels that fp32 and int8 agree on."""

    name: str
    agreement: float


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Of one image: each names an array of `images.npz`, in schema 1 it is a data URI; `truth` is None if unknown."""

    name: str
    image: str
    truth: str | None
    fp32: str
    int8: str
    disagreement: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A row that is held against fp32, and all that is said of the two."""

    int8: Row
    delta: Delta
    gate: Gate
    one_sided_classes: OneSided | None
    coverage: Coverage | None
    worst_images: tuple[ChangedImage, ...]
    gallery: tuple[Pictures, ...]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Where the pass spent its time, in seconds over all images and models."""

    loading_seconds: float
    session_seconds: float
    scoring_seconds: float


@dataclass(frozen=True, kw_only=True)
class Data:
    """What was scored."""

    kind: str
    root: str
    description: str
    excluded_calibration_images: int
    included_calibration_images: int
    limit: int | None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The size that images were shown at, and the protocol's own."""

    resize: str = ""
    protocol_resize: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What latencies are of."""

    cpu: str
    cores: int
    threads: int
    flags: tuple[str, ...]
    int8_kernel: str
    platform: str


@dataclass(frozen=True, kw_only=True)
class Digests:
    """Of the models, the images and the whole job; `int8` where there is one candidate (each row has its own)."""

    fp32: str
    int8: str | None = None
    images: str
    job: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """The whole report."""

    schema: int = SCHEMA
    protocol: str
    protocol_description: str
    images: int
    fp32: Row
    candidates: Mapping[str, Candidate]
    classes: tuple[str, ...]
    absent_classes: tuple[str, ...]
    regions: Mapping[str, Region] | None = None
    confusion: Mapping[str, Matrix] | None
    timing: Timing
    versions: Mapping[str, str]
    dataset: Data
    preprocessing: Mapping[str, Any]
    shown: Shown = Shown()
    machine: Machine
    digests: Digests
    command: str | None
    notes: tuple[str, ...]

    @property
    def several(self) -> bool:
        """Whether candidates are told apart by name."""
        return self.candidates.keys() != {INT8}

    def _repr_html_(self) -> str:
        from fcn_onnx.report.notebook import document_html  # is made of this

        return document_html(self)

    def to_json(self) -> dict[str, Any]:
        """The object of `report.json` and `validate --json`."""
        report: dict[str, Any] = {}
        for key, value in codec.to_json(self).items():
            report |= {key: value} if key != "candidates" or self.several else value[INT8]
        return report

    @classmethod
    def from_json(cls, value: Any, where: str = "the report") -> Self:
        """The document that `to_json` made `value` of, or version 0.1.0 wrote.

        Raises:
            ReportError: it is not of schema 1 or 2.
        """
        schema = value.get("schema") if isinstance(value, Mapping) else None
        if type(schema) is not int or schema not in (1, SCHEMA):
            said = "does not say its schema" if schema is None else f"is of schema {shown(schema)}"
            raise ReportError(f"{where} {said}, and this version reads 1 and {SCHEMA}", fix=codec.FIX)
        if schema == 1:
            value = upgraded(value, where)
        if "candidates" not in value:
            own = {field.name for field in fields(Candidate)}
            only = {key: inner for key, inner in value.items() if key in own}
            value = {key: inner for key, inner in value.items() if key not in own} | {"candidates": {INT8: only}}
        document = codec.from_json(cls, value, where)
        require_consistent(document, FP32, where)
        return document

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a `report.json`. Raises ReportError if it is not one."""
        try:
            value = json.loads(read_text(path, MAX_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise ReportError(f"{path} cannot be read: {error}", fix=codec.FIX) from error
        return cls.from_json(value, str(path))


def json_schema() -> dict[str, Any]:
    """JSON Schema of what `Document.to_json` returns: one candidate flat, or several by name."""
    definitions: dict[str, Any] = {}
    several, one = codec.schema_of(Document, definitions), codec.schema_of(Candidate, definitions)
    several["properties"]["schema"] = {"const": SCHEMA}
    several["required"].insert(0, "schema")
    properties = {key: value for key, value in several["properties"].items() if key != "candidates"}
    required = [key for key in several["required"] if key != "candidates"]
    flat = {**several, "properties": properties | one["properties"], "required": required + one["required"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "report.json of fcn-onnx",
        "oneOf": [{"title": "one candidate", **flat}, {"title": "several candidates", **several}],
        "$defs": definitions,
    }
