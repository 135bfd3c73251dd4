"""The fp32 original on some images, run once: what labels and logits of other models are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.jobs.prefetch import prefetch
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.report.sensitivity import Deviation
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig
from fcn_onnx.runtime.segmenter import Labels, Segmenter

KEPT_BYTES = 1 << 28
"""Of images that are kept as the models take them: some sixty of 520×690."""


class Reference:
    """Compares models with their fp32 original.

    Args:
        fp32: the original.
        samples: images; their labels are held in memory, and as many of them as there is room for.
        preprocessing: theirs.
        interface: of the models.
        threads: of each session.
        runtime: what runs all models.
        logits: of how many images, the first, logits are compared too; they are held in memory.

    Attributes:
        samples: the images.
        original: fp32 in a session, run when its labels are first asked for.
    """

    def __init__(
        self,
        fp32: Path | Model,
        samples: Sequence[Sample],
        preprocessing: Preprocessing,
        *,
        interface: Interface = Interface(),
        threads: int = 0,
        runtime: str = DEFAULT_RUNTIME,
        logits: int = 0,
        progress: Progress = SILENT,
    ) -> None:
        self.samples = samples
        self._preprocessing = preprocessing
        self._interface = interface
        self._config = SessionConfig(threads=threads)
        self._runtime = runtime
        self._batches: dict[str, NDArray[np.float32]] = {}
        self._room = KEPT_BYTES
        self._wanted = logits
        self._progress = progress
        self.original = self.opened(fp32)

    @cached_property
    def labels(self) -> list[Labels]:
        """fp32's, by image."""
        return [labels for labels, _ in self._known]

    @cached_property
    def _known(self) -> list[tuple[Labels, NDArray[np.float32] | None]]:
        """fp32's labels and, as far as they are wanted and there are any, logits."""
        found: list[tuple[Labels, NDArray[np.float32] | None]] = []
        count = len(self.samples)
        for sample, batch in self._progress.track(self._read(count), total=count, label="labelling"):
            value = self.original.run(batch)
            scores = self.original.scores(value, sample.name) if len(found) < self._wanted else None
            found.append((self.original.labels(value, sample.name), scores))
        return found

    @property
    def batch(self) -> NDArray[np.float32]:
        """The first image, (1, 3, H, W)."""
        return self._batch(self.samples[0])

    def opened(self, model: Path | Model | onnx.ModelProto) -> Segmenter:
        """A model in a session, as the original runs."""
        return Segmenter(model, self._config, self._interface, self._runtime)

    def labelled(self, model: Path | Model | onnx.ModelProto | Segmenter, progress: Progress = SILENT) -> list[Labels]:
        """What a model of the same interface makes of all the images."""
        segmenter = model if isinstance(model, Segmenter) else self.opened(model)
        read = progress.track(self._read(len(self.samples)), total=len(self.samples), label="judging")
        return [segmenter.labels(segmenter.run(batch), sample.name) for sample, batch in read]

    def of(self, model: Path | Model | onnx.ModelProto, images: int | None = None) -> Deviation:
        """How far a model of the same interface is from the original, on the first images or on all."""
        segmenter = self.opened(model)
        flipped, pixels, errors = 0, 0, []
        for index, (sample, batch) in enumerate(self._read(images or len(self.samples))):
            value, (labels, expected) = segmenter.run(batch), self._known[index]
            flipped += int((segmenter.labels(value, sample.name) != labels).sum())
            pixels += labels.size
            scores = segmenter.scores(value, sample.name) if expected is not None else None
            if scores is not None and expected is not None:
                errors.append(relative_error(scores, expected))
        return Deviation(flipped / pixels, float(np.mean(errors)) if errors else None)

    def _read(self, images: int) -> Iterator[tuple[Sample, NDArray[np.float32]]]:
        return prefetch(self._batch, self.samples[:images])

    def _batch(self, sample: Sample) -> NDArray[np.float32]:
        """An image as the models take it; as many as there is room for are read once for all of them."""
        if sample.name in self._batches:
            return self._batches[sample.name]
        batch = self._preprocessing.read(sample)
        self._room -= batch.nbytes
        if self._room >= 0:
            self._batches[sample.name] = batch
        return batch


def flipped_share(labels: Sequence[Labels], expected: Sequence[Labels]) -> float:
    """The share of the pixels whose label is another."""
    flipped = sum(int((a != b).sum()) for a, b in zip(labels, expected, strict=True))
    return flipped / sum(each.size for each in expected)


def relative_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Σ (found − expected)² / Σ expected²."""
    return float(np.square(found - expected).sum() / np.square(expected).sum())
