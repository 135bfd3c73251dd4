"""Whether the fast int8 kernel of this CPU computes what the exact one does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.model.interface import Interface
from fcn_onnx.runtime.onnxruntime import SessionConfig
from fcn_onnx.runtime.segmenter import Segmenter


def changed_labels(
    model: Path, batches: Sequence[NDArray[np.float32]], interface: Interface = Interface(), threads: int = 0
) -> NDArray[np.int64]:
    """How many labels of each batch differ between onnxruntime's fast and its exact int8 kernel, (N,) int64."""
    fast, exact = (
        [segmenter.labels(segmenter.run(batch), "a batch") for batch in batches]
        for segmenter in (
            Segmenter(model, SessionConfig(threads=threads, exact_int8=exact_int8), interface)
            for exact_int8 in (False, True)
        )
    )
    return np.array([(a != b).sum() for a, b in zip(fast, exact, strict=True)], np.int64)
