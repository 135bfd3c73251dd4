"""int8 models of one fp32 model that are made and measured in turn; nothing is measured twice."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from math import isnan, nan
from pathlib import Path

import onnx

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.jobs.journal import Journal
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.files import save_model
from fcn_onnx.quantization.keeping import kept_layers, require_kept
from fcn_onnx.quantization.making import Made, Maker
from fcn_onnx.quantization.plan import Plan, keep_float
from fcn_onnx.quantization.reference import Reference
from fcn_onnx.report.sensitivity import Deviation


@dataclass(frozen=True)
class Trials:
    """Makes and measures int8 models of one fp32 model; what was measured is in the journal, and not measured again.

    Attributes:
        maker: of the models.
        plan: form of the all-int8 one.
        table: its ranges.
        journal: keeps every number.
        progress: is told of each.
    """

    maker: Maker
    plan: Plan
    table: RangeTable
    journal: Journal
    progress: Progress

    def planned(self, kept: Collection[str], unrounded: Collection[str] = ()) -> Plan:
        """The plan with these layers in fp32 too, and those unrounded, each in graph order."""
        fp32 = self.maker.fp32.taken
        names = [node.name for node in fp32.model.graph.node]
        first, second = ([name for name in names if name in chosen] for chosen in (kept, unrounded))
        return keep_float(self.plan, fp32, first, second)

    def made(self, kept: Collection[str], unrounded: Collection[str] = ()) -> Made:
        """Its model."""
        return self.maker.make(self.planned(kept, unrounded), self.table)

    def proven(self, kept: Collection[str], unrounded: Collection[str] = ()) -> onnx.ModelProto:
        """The same, of which onnxruntime does run in fp32, and in int8, what it is told to.

        Raises:
            QuantizationError: it does not.
        """
        made, fp32 = self.made(kept, unrounded), self.maker.fp32.taken.model
        with scratch() as folder:
            save_model(made.int8, Path(folder, "kept.onnx"))
            require_kept(fp32, Path(folder, "kept.onnx"), kept_layers(fp32, made.plan), made.plan.unrounded)
        return made.int8

    def deviation(
        self, key: str, reference: Reference, model: Callable[[], onnx.ModelProto], images: int | None = None
    ) -> Deviation:
        """How far a model is from fp32; it is made only if that is not known under `key`."""
        measured = cache(lambda: reference.of(model(), images))
        flipped = self.journal.memo(f"flipped:{key}", lambda: measured().flipped)
        error = self.journal.memo(f"error:{key}", lambda: _number(measured().logits_error))
        return Deviation(flipped, None if isnan(error) else error)


def _number(value: float | None) -> float:
    """As the journal keeps it: no number is NaN."""
    return nan if value is None else value
