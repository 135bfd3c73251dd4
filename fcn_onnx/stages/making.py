"""Making int8 models for one `quantize`: trials to measure, and the one that gets the name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.calibration.table import RangeTable
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import QuantizationError
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.files import save_model
from fcn_onnx.model.interface import Interface
from fcn_onnx.quantization.backends import Goal, Images
from fcn_onnx.quantization.kernels import changed_labels
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.quantization.proving import Made
from fcn_onnx.quantization.saturation import Saturation
from fcn_onnx.quantization.writing import Quantized, make_int8, write_int8
from fcn_onnx.runtime.onnxruntime import Network
from fcn_onnx.stages.naming import log_path

PROOF_IMAGES = 4


@dataclass(frozen=True)
class Work:
    """What all steps of one `quantize` need to know.

    Attributes:
        model, output: files.
        backend, method: names.
        preprocessing: of the calibration images.
        samples: those images; none where a table brings the ranges.
        images: digest by name of the images behind the ranges.
        interface: of the model, where it does not say it itself.
        threads: of each session; 0 means all cores.
        saturates: whether this CPU's fast int8 kernel can.
        job: digest of everything that the result depends on.
        progress: gets what is to be told.
    """

    model: Path
    output: Path
    backend: str
    method: str
    preprocessing: Preprocessing
    samples: Sequence[Sample]
    images: Mapping[str, str]
    interface: Interface
    threads: int
    saturates: bool
    job: str
    progress: Progress

    def make(self, plan: Plan, source: RangeTable | Images, goal: Goal | None = None) -> Made:
        return make_int8(
            self.model,
            plan,
            source,
            method=self.method,
            preprocessing=self.preprocessing.to_json(),
            calibration_images=self.images,
            log=log_path(self.output),
            backend=self.backend,
            job=self.job,
            goal=goal,
            classes=self.interface.classes or (),
            output_name=self.interface.output_name,
        )

    def trial(self, plan: Plan, table: RangeTable, path: Path) -> Path:
        """A model to measure, of which nothing is proved."""
        save_model(self.make(plan, table).int8, path)
        return path

    def write(self, plan: Plan, table: RangeTable) -> Quantized:
        """The model that gets the name, once everything is proved of it."""
        compare = partial(self._compare_kernels, plan, table) if plan.pair_safe and self.saturates else None
        return write_int8(self.make(plan, table), self.output, compare)

    def write_tuned(self, plan: Plan, goal: Goal | None) -> Quantized:
        """The model of a backend that observes the images itself; what it is not, nobody else says."""
        result = write_int8(self.make(plan, self._fed(), goal), self.output)
        if result.proof and (names := result.proof.undone):
            self.progress.note(
                f"onnxruntime rounds {len(names)} layers that {self.backend} keeps in fp32: {', '.join(names)}"
            )
        return result

    def batches(self) -> Iterator[NDArray[np.float32]]:
        return (self.preprocessing.read(sample.path) for sample in self.samples)

    def _fed(self) -> Images:
        """The calibration images as the model takes them."""
        form = Network(self.model, multiple_of=self.preprocessing.multiple_of).form
        shapes = [form.padded(batch).shape[2:] for batch in self.batches()]
        height, width = max(shapes, key=lambda shape: shape[0] * shape[1])

        def fed() -> Iterator[NDArray[np.float32]]:
            return (form.fed(batch).astype(np.float32, copy=False) for batch in self.batches())

        return Images(len(shapes), fed, (height, width))

    def _compare_kernels(self, plan: Plan, table: RangeTable, model: Path) -> Saturation:
        """Run `model` on the fast and on the exact kernel, and one with unsafe pairs beside it.

        Raises:
            QuantizationError: the two kernels disagree.
        """
        batches = [batch for _, batch in zip(range(PROOF_IMAGES), self.batches(), strict=False)]
        size = batches[0].shape if batches else (1, 3, *(self.preprocessing.resize.size or (256, 320)))
        batches.append(np.random.default_rng(0).uniform(-4, 4, size).astype(np.float32))
        changed = changed_labels(model, batches, self.interface, self.threads)
        if changed.any():
            raise QuantizationError(
                f"{int(changed.sum())} labels of {self.output} differ between the fast and the exact int8 kernel",
                fix="report this with the model; the session option session.x64quantprecision=1 is exact",
            )
        with scratch() as folder:
            unsafe = self.trial(replace(plan, pair_safe=False), table, Path(folder, "unsafe.onnx"))
            would = changed_labels(unsafe, batches, self.interface, self.threads)
        shown = would[: len(batches) - 1] if len(batches) > 1 else would
        pixels = sum(batch.shape[2] * batch.shape[3] for batch in batches[: len(shown)])
        return Saturation(len(batches), int(changed.sum()), float(shown.sum() / pixels))
