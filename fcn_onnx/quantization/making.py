"""int8 models of one fp32 model: what does not change from one to the next is made once.

A search makes dozens of them, which differ in a few ranges or in what stays fp32. The model is taken in once, each
weight is rounded once for each form of it, and what a library quantizes is the graph with a stand-in for each weight.
All of it happens in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import QuantizationError
from fcn_onnx.jobs.artifact import FORM_VERSION, versions
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.model.passes.unused import drop_unused
from fcn_onnx.quantization.backends.draft import Draft, Goal, Images
from fcn_onnx.quantization.backends.table import get_backend
from fcn_onnx.quantization.corrections import Rounding, correct_biases, mean_shifts
from fcn_onnx.quantization.fixed_point import fixed_point_weight, round_biases
from fcn_onnx.quantization.keeping import kept_layers, shield
from fcn_onnx.quantization.narrowing import narrowed
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.quantization.products import quantize_products
from fcn_onnx.quantization.reference import Reference
from fcn_onnx.quantization.unrounded import leave_unrounded, read_floats
from fcn_onnx.quantization.weights import QuantizedWeight, Request, quantize_weights
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig


@dataclass(frozen=True)
class Calibrated:
    """The images behind the ranges.

    Attributes:
        samples: none where a table brings the ranges.
        preprocessing: theirs.
        digests: by name.
    """

    samples: Sequence[Sample]
    preprocessing: Preprocessing
    digests: Mapping[str, str]

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """The samples, (1, C, H, W) float32 each."""
        return (self.preprocessing.read(sample) for sample in self.samples)


@dataclass(frozen=True)
class Made:
    """An int8 model in memory, that nothing is proved of yet.

    Attributes:
        fp32: what it was made from.
        int8: the model, with its card.
        card: that.
        plan: its form.
        tuned: whether the backend chose weights, and what stays fp32, by itself.
        multiple_of: what the sides of its images must be, if anything.
        runtime: what is to run it.
    """

    fp32: Model
    int8: onnx.ModelProto
    card: ModelCard
    plan: Plan
    tuned: bool
    multiple_of: int | None
    runtime: str = DEFAULT_RUNTIME


class Maker:
    """Makes int8 models of one fp32 model.

    Args:
        fp32: the model.
        images: behind the ranges; for the card, or for a backend that observes them itself.
        interface: of the model, where it does not say it itself.
        backend: a name in `BACKENDS`.
        job: digest of everything that the result depends on, for the card.
        threads: of each session, and that round weights; 0 means all cores.
        runtime: what is to run the models.
    """

    def __init__(
        self,
        fp32: Model,
        images: Calibrated,
        *,
        interface: Interface = Interface(),
        backend: str = "onnxruntime",
        job: str = "",
        threads: int = 0,
        runtime: str = DEFAULT_RUNTIME,
    ) -> None:
        self.fp32 = fp32
        self.images = images
        self.interface = interface
        self.backend = backend
        self.config = SessionConfig(threads=threads)
        self.runtime = runtime
        self.job = job
        self._weights: dict[Request, QuantizedWeight] = {}
        self._shifts: dict[Rounding, NDArray[np.float64]] = {}

    def make(self, plan: Plan, table: RangeTable) -> Made:
        """The int8 model of this form with these ranges.

        Raises:
            QuantizationError: the backend fails.
        """
        table = narrowed(self.fp32.taken, table)
        weights = self._rounded(plan, table)
        draft = Draft(
            self._drafted(plan, table, weights),
            table.method,
            Path(),
            table,
            {name: weight.scale for name, weight in weights.items()},
        )
        quantized = get_backend(self.backend).load()(draft, plan)
        quantized = quantize_products(quantized, self.fp32.taken.model, plan, table, self._weights)
        if plan.kept or plan.unrounded:
            quantized = leave_unrounded(read_floats(quantized, plan), plan, table, weights)
            drop_unused(quantized.graph)
        quantized = shield(quantized, kept_layers(self.fp32.taken.model, plan))
        _put(weights, quantized)
        return self._made(quantized, plan, table.method, tuned=False)

    def reference(self, samples: Sequence[Sample], *, logits: int = 0, progress: Progress = SILENT) -> Reference:
        """fp32 on these images, as what models made here are compared with; see `Reference`."""
        return Reference(
            self.fp32,
            samples,
            self.images.preprocessing,
            interface=self.interface,
            threads=self.config.threads,
            runtime=self.runtime,
            logits=logits,
            progress=progress,
        )

    def rounding(self, plan: Plan, table: RangeTable) -> dict[str, tuple[QuantizedWeight, NDArray[np.float64] | None]]:
        """The weight of each convolution in int8, and what is taken off its bias for it, by the node's name."""
        table, model = narrowed(self.fp32.taken, table), self.fp32.taken.model
        weights = self._rounded(plan, table)
        shifts = mean_shifts(model, weights, table.means, self._shifts, self.config.thread_count)
        return {
            node.name: (weights[node.input[1]], shifts.get(node.name) if plan.bias_correction else None)
            for node in model.graph.node
            if node.op_type == "Conv" and node.input[1] in weights
        }

    def tune(self, plan: Plan, method: str, log: Path, goal: Goal | None) -> Made:
        """The int8 model of a backend that observes the images itself.

        Args:
            method: the backend's own.
            log: gets what a chatty library says.
            goal: for a backend that tunes by itself.

        Raises:
            QuantizationError: the backend fails.
        """
        draft = Draft(self.fp32.taken.model, method, log, images=self._fed(), goal=goal)
        return self._made(get_backend(self.backend).load()(draft, plan), plan, method, tuned=True)

    def _rounded(self, plan: Plan, table: RangeTable) -> dict[str, QuantizedWeight]:
        model = self.fp32.taken.model
        convs = {node.name for node in model.graph.node if node.op_type == "Conv"}
        return quantize_weights(
            model,
            table,
            frozenset(convs - set(plan.float_nodes) | set(plan.unrounded)),
            per_channel=plan.per_channel,
            pair_safe=plan.pair_safe,
            rule=fixed_point_weight if plan.power_of_two else None,
            known=self._weights,
            threads=self.config.thread_count,
        )

    def _drafted(self, plan: Plan, table: RangeTable, weights: Mapping[str, QuantizedWeight]) -> onnx.ModelProto:
        """The fp32 model with a stand-in for each of the weights, and with its biases corrected."""
        model = self.fp32.taken.model
        draft = self.fp32.taken.typed()
        for tensor in model.graph.initializer:
            if tensor.name in weights:
                shape = (-1, *[1] * (len(tensor.dims) - 1))
                tensor = numpy_helper.from_array(weights[tensor.name].scale.reshape(shape), tensor.name)
            draft.graph.initializer.append(tensor)
        if plan.power_of_two:
            round_biases(draft, weights, table)
        if plan.bias_correction:
            threads = self.config.thread_count
            correct_biases(draft, mean_shifts(model, weights, table.means, self._shifts, threads))
        return draft

    def _made(self, int8: onnx.ModelProto, plan: Plan, method: str, *, tuned: bool) -> Made:
        int8.producer_name = "fcn-onnx"
        said = {"backend": self.backend, "method": method}
        card = replace(self._card, quantization=plan.to_json() | said)
        card.write_to(int8)
        return Made(self.fp32, int8, card, plan, tuned, self.images.preprocessing.multiple_of, self.runtime)

    @cached_property
    def _card(self) -> ModelCard:
        """All of the card that every model made here has."""
        own = self.fp32.card
        return replace(
            own,
            job=self.job,
            source=self.fp32.digest,
            calibration_images=self.images.digests,
            preprocessing=self.images.preprocessing.to_json(),
            classes=self.interface.classes or own.classes,
            output=self.interface.output_name or own.output,
            versions=versions(),
            form=FORM_VERSION,
        )

    def _fed(self) -> Images:
        """The calibration images as the model takes them."""
        form = Network(self.fp32.path, multiple_of=self.images.preprocessing.multiple_of).form
        shapes = [form.padded(batch).shape[2:] for batch in self.images.batches()]
        height, width = max(shapes, key=lambda shape: shape[0] * shape[1])

        def fed() -> Iterator[NDArray[Any]]:
            return (form.fed(batch) for batch in self.images.batches())

        return Images(len(shapes), fed, (height, width))


def _put(weights: Mapping[str, QuantizedWeight], int8: onnx.ModelProto) -> None:
    """Weights in the place of their stand-ins: as int8, or as float32 where the graph quantizes them itself.

    Raises:
        QuantizationError: the backend gave one another scale than it was told.
    """
    scales = {f"{name}_scale": weight.scale for name, weight in weights.items()}
    rounded = {f"{name}_quantized": weight.q for name, weight in weights.items()}
    for tensor in int8.graph.initializer:
        if tensor.name in rounded:
            tensor.CopyFrom(numpy_helper.from_array(rounded[tensor.name], tensor.name))
        elif tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].values(), tensor.name))
        elif tensor.name in scales and (numpy_helper.to_array(tensor) != scales[tensor.name]).any():
            raise QuantizationError(
                f"the backend changed the scale of {tensor.name.removesuffix('_scale')}",
                fix="report this with the model and onnxruntime's version",
            )
