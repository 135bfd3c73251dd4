"""The README.md of a model on the Hugging Face Hub, from the model's card and the report of its validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from fcn_onnx.model.card import ModelCard
from fcn_onnx.report.document import Candidate, Document
from fcn_onnx.report.markdown import HEADER, escaped, markdown_table
from fcn_onnx.report.quantized import quantized_line
from fcn_onnx.report.table import summary_rows
from fcn_onnx.report.verdict import verdict

TASK = "image-segmentation"
TAGS = ("semantic-segmentation", "onnx", "int8", "fcn-onnx")


@dataclass(frozen=True)
class Scored:
    """The report and the candidate in it that the model is."""

    document: Document
    candidate: Candidate


@dataclass(frozen=True)
class Subject:
    """The model that a card is of.

    Attributes:
        name: of the file, without its ending.
        digest: of the file.
        card: what it says of itself.
        base_model: its original's name on the Hub, if the user says one.
        license: likewise.
        datasets: names of data sets on the Hub, likewise.
    """

    name: str
    digest: str
    card: ModelCard
    base_model: str | None = None
    license: str | None = None
    datasets: tuple[str, ...] = ()


def to_model_card(subject: Subject, scored: Scored | None) -> str:
    """The whole file. What neither the model nor the report says is left out, or said to be unknown."""
    import yaml

    head = yaml.safe_dump(_head(subject, scored), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(_body(subject, scored)) + "\n"


def _head(subject: Subject, scored: Scored | None) -> dict[str, Any]:
    head: dict[str, Any] = {"pipeline_tag": TASK, "library_name": "onnx", "tags": list(TAGS)}
    if subject.license:
        head["license"] = subject.license
    if subject.base_model:
        head |= {"base_model": subject.base_model, "base_model_relation": "quantized"}
    if subject.datasets:
        head["datasets"] = list(subject.datasets)
    if scored:
        head["model-index"] = [{"name": subject.name, "results": [_result(subject, scored)]}]
    return head


def _result(subject: Subject, scored: Scored) -> dict[str, Any]:
    document, candidate = scored.document, scored.candidate
    found: Mapping[str, tuple[str, float | None]] = {
        "mean_iou": ("mIoU", candidate.int8.miou),
        "pixel_accuracy": ("pixel accuracy", candidate.int8.pixel_accuracy),
        "label_agreement": ("label agreement with fp32", candidate.delta.label_agreement),
    }
    return {
        "task": {"type": TASK, "name": "semantic segmentation"},
        "dataset": {
            "type": subject.datasets[0] if subject.datasets else document.dataset.kind,
            "name": f"{PurePath(document.dataset.root).name}, {document.images} images, protocol {document.protocol}",
        },
        "metrics": [
            {"type": kind, "name": name, "value": round(value, 6)}
            for kind, (name, value) in found.items()
            if value is not None
        ],
    }


def _body(subject: Subject, scored: Scored | None) -> Iterator[str]:
    card = subject.card
    yield f"# {escaped(subject.name)}"
    what = escaped(card.arch) if card.arch else "a segmentation network"
    yield (
        f"An int8 ONNX model of {what}, quantized and validated with fcn-onnx."
        if scored
        else (f"An int8 ONNX model of {what}, quantized with fcn-onnx.")
    )
    yield "## Scores"
    if scored:
        yield f"**{escaped(verdict(scored.document, scored.candidate))}**"
        yield markdown_table(HEADER, summary_rows(scored.document, scored.candidate))
    else:
        yield "No report of this model was given: nothing is said of its scores."
    yield "## How it was made"
    yield markdown_table(("", ""), _made(card))
    yield "## Where the numbers come from"
    yield markdown_table(("", ""), _sources(subject, scored))


def _made(card: ModelCard) -> Iterator[tuple[str, str]]:
    weights = dict(card.weights or {})
    yield "weights", str(PurePath(str(weights["source"])).name) if weights.get("source") else "the model does not say"
    yield "quantization", quantized_line(card.quantization)
    yield "calibration images", str(len(card.calibration_images) or "the model does not say")
    if card.classes:
        yield "classes", ", ".join(card.classes)
    if card.preprocessing:
        yield "input", ", ".join(f"{key} {value}" for key, value in card.preprocessing.items())
    if card.versions:
        yield "versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())


def _sources(subject: Subject, scored: Scored | None) -> Iterator[tuple[str, str]]:
    yield "this model", subject.digest
    yield "fp32 model", subject.card.source or "the model does not say"
    if scored is None:
        return
    document, machine = scored.document, scored.document.machine
    yield "scores", f"report.json of fcn-onnx validate, job {document.digests.job}"
    yield "protocol", f"{document.protocol}: {document.protocol_description}"
    yield "images", f"{document.images}, {document.digests.images}"
    yield "calibration images left out", str(document.dataset.excluded_calibration_images)
    yield "latencies", f"{machine.cpu}, {machine.threads} threads, {machine.int8_kernel} int8 kernels"
    for note in document.notes:
        yield "note", note
