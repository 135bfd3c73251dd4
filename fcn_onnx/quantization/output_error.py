"""How far an int8 model's output is from fp32's, as one number that moves long before a label does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import UsageError
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig
from fcn_onnx.runtime.segmenter import Segmenter


class OutputError:
    """Compares int8 models with their fp32 original, which is run once.

    Args:
        fp32: the original.
        samples: calibration images; their inputs and outputs are held in memory.
        preprocessing: theirs.
        interface: of the models.
        threads: of each session.
        runtime: what runs all models.

    Raises:
        UsageError: the model returns labels, which are right or wrong but not near.
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
    ) -> None:
        self._samples = samples
        self._interface = interface
        self._config = SessionConfig(threads=threads)
        self._runtime = runtime
        self._batches = [preprocessing.read(sample) for sample in samples]
        self._reference = self._logits(fp32)

    def __call__(self, model: Path | onnx.ModelProto) -> float:
        """Σ (int8 − fp32)² / Σ fp32² of the logits, mean over images."""
        pairs = zip(self._logits(model), self._reference, strict=True)
        return float(np.mean([relative_error(a, b) for a, b in pairs]))

    def _logits(self, model: Path | Model | onnx.ModelProto) -> list[NDArray[np.float32]]:
        segmenter = Segmenter(model, self._config, self._interface, self._runtime)
        found = []
        for sample, batch in zip(self._samples, self._batches, strict=True):
            logits = segmenter.scores(segmenter.run(batch), sample.name)
            if logits is None:
                raise UsageError(
                    f"{segmenter.network.name} returns labels, whose error cannot be lowered by degrees",
                    fix="quantize without --refine, or a model that returns logits",
                )
            found.append(logits)
        return found


def relative_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Σ (found − expected)² / Σ expected²."""
    return float(np.square(found - expected).sum() / np.square(expected).sum())
