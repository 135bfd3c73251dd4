"""How far models are from their fp32 original, by labels and by logits, from one run over a few images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.quantization.output_error import relative_error
from fcn_onnx.report.sensitivity import Deviation
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.segmenter import Labels, Segmenter


class Deviations:
    """Compares models with their fp32 original, which is run once.

    Args:
        fp32: the original.
        samples: images; their inputs, and what fp32 makes of them, are held in memory.
        preprocessing: theirs.
        interface: of the models.
        threads: of each session.
        logits: whether these are compared too.
    """

    def __init__(
        self,
        fp32: Model,
        samples: Sequence[Sample],
        preprocessing: Preprocessing,
        *,
        interface: Interface = Interface(),
        threads: int = 0,
        logits: bool = True,
    ) -> None:
        self._samples = samples
        self._interface = interface
        self._config = SessionConfig(threads=threads)
        self._logits = logits
        self._batches = [preprocessing.read(sample) for sample in samples]
        original = self.opened(fp32)
        self._reference = [self._seen(original, index) for index in range(len(samples))]

    @property
    def batch(self) -> NDArray[np.float32]:
        """The first image, (1, 3, H, W)."""
        return self._batches[0]

    def opened(self, model: Model | onnx.ModelProto) -> Segmenter:
        """A model in a session, as the others are run."""
        return Segmenter(model, self._config, self._interface)

    def of(self, model: onnx.ModelProto) -> Deviation:
        """Those of a model of the same interface."""
        segmenter = self.opened(model)
        flipped, pixels, errors = 0, 0, []
        for index, (labels, logits) in enumerate(self._reference):
            own, scores = self._seen(segmenter, index)
            flipped += int((own != labels).sum())
            pixels += labels.size
            if logits is not None and scores is not None:
                errors.append(relative_error(scores, logits))
        return Deviation(flipped / pixels, float(np.mean(errors)) if errors else None)

    def _seen(self, segmenter: Segmenter, index: int) -> tuple[Labels, NDArray[np.float32] | None]:
        """Labels of an image, and its logits if they are wanted and there are any."""
        value, name = segmenter.run(self._batches[index]), self._samples[index].name
        return segmenter.labels(value, name), segmenter.scores(value, name) if self._logits else None
