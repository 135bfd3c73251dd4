"""sensitivity.json as types: what is measured, what the page is drawn from, and what is read back as up to date."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_onnx.errors import ReportError
from fcn_onnx.jobs.reading import TEXT_BYTES, read_bytes
from fcn_onnx.report import codec

SCHEMA = 2
FILES = ("sensitivity.json", "sensitivity.html")


@dataclass(frozen=True)
class Deviation:
    """How far a model is from its fp32 original on the same images.

    Attributes:
        flipped: share of the pixels whose label is another.
        logits_error: Σ (model − fp32)² / Σ fp32² of the logits, mean over images; None where the model returns labels.
    """

    flipped: float
    logits_error: float | None


@dataclass(frozen=True)
class Layer:
    """A node that multiplies in int8.

    Attributes:
        name: of the node, in the fp32 model after intake.
        op_type: its operator.
        macs_share: of the multiply-accumulates of everything that multiplies; None where the graph does not tell them.
        alone: of the model in which nothing else multiplies in int8.
        without: of the model in which it alone is in fp32, of all that multiply in int8.
    """

    name: str
    op_type: str
    macs_share: float | None
    alone: Deviation
    without: Deviation


@dataclass(frozen=True)
class Tensor:
    """An activation that the int8 model holds in 8 bits.

    Attributes:
        name: in the fp32 model.
        scale, zero_point: of its 8 bits: (q − zero point) · scale.
        alone: of the fp32 model in which this tensor is rounded to 8 bits, and nothing else.
    """

    name: str
    scale: float
    zero_point: int
    alone: Deviation


@dataclass(frozen=True)
class Point:
    """A model on the way from all int8 to fp32.

    Attributes:
        kept: how many layers are in fp32.
        unrounded: of how many of the others, which multiply in int8, the sums stay float32.
        kept_macs_share: share of those in fp32 of the multiply-accumulates; None where the graph does not tell them.
        agreement: share of the pixels with fp32's label.
        speedup: fp32's median time over this model's, run in turns.
    """

    kept: int
    unrounded: int
    kept_macs_share: float | None
    agreement: float
    speedup: float


@dataclass(frozen=True)
class Sensitivity:
    """The result of `sensitivity`.

    Attributes:
        schema: of this file.
        job: digest of all that it depends on.
        model, digest: the fp32 model's file, and what is in it.
        plan: form of the all-int8 model.
        method: how thresholds were chosen.
        ranked_on: images that the layers and tensors are judged on.
        front_on: images that the front is measured on.
        size: (height, width) that the shares of multiply-accumulates are for.
        cpu: that it was measured on.
        threads: of each session.
        whole: of the all-int8 model.
        layers: the most sensitive first.
        tensors: likewise.
        front: from all in int8 to all in fp32.
    """

    schema: int
    job: str
    model: str
    digest: str
    plan: Mapping[str, Any]
    method: str
    ranked_on: tuple[str, ...]
    front_on: tuple[str, ...]
    size: tuple[int, int]
    cpu: str
    threads: int
    whole: Deviation
    layers: tuple[Layer, ...]
    tensors: tuple[Tensor, ...]
    front: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """The object in sensitivity.json and of `sensitivity --json`."""
        return dict(codec.to_json(self))

    @classmethod
    def from_json(cls, value: Any, where: str) -> Sensitivity:
        """What `to_json` gave. Raises ReportError where it is something else."""
        return codec.from_json(cls, value, where)


def found_in(path: Path) -> Sensitivity | None:
    """What a sensitivity.json says; None if there is none, it cannot be read, or its page does not lie beside it."""
    try:
        found = Sensitivity.from_json(json.loads(read_bytes(path, TEXT_BYTES)), str(path))
    except (OSError, ValueError, RecursionError, ReportError):
        return None
    return found if path.with_name(FILES[1]).is_file() else None
