"""Whether an image fits into the memory that is left, said before the system ends the process."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import onnx

from fcn_onnx.errors import ImageError
from fcn_onnx.jobs.limits import read_limits
from fcn_onnx.model.files import load_model, model_bytes
from fcn_onnx.model.liveness import peak_bytes

ALWAYS_FITS = 1_000_000
"""Pixels of an image that is not looked at: it takes less than the network itself."""

OVERHEAD = 1.3
"""What a process takes, over the tensors that are alive at once: kernels have buffers of their own. Measured on the
tiny network and on FCN-ResNet-50, fp32 and int8: 1.0 to 1.25."""

PROCESS = 300_000_000
"""Bytes of a process before its first session: Python, numpy, onnx, onnxruntime and a photograph or two."""

COPIES = 2
"""Of a model's weights: in the session, and packed for its kernels."""

DRAWING = 80
"""Bytes a pixel that decoding, normalising and drawing take besides."""


def available_bytes() -> int | None:
    """Memory that this process may still take without swapping; None where the system does not say.

    That is what Linux calls available, or less where a control group (a container) is limited to less.
    """
    return read_limits().memory_bytes


def worker_bytes(sessions: Sequence[tuple[Path, onnx.ModelProto]], size: tuple[int, int]) -> int:
    """What a process takes that shows images of `size` (height, width) to models, about.

    Args:
        sessions: a file each, and the graph that is run.
    """
    weights = sum(COPIES * model_bytes(path) for path, _ in sessions)
    return PROCESS + weights + sum(int(OVERHEAD * peak_bytes(graph, size)) for _, graph in sessions)


class Room:
    """The memory that a model takes for images of each size.

    Args:
        model: a file; it is read when the first large image comes.
    """

    def __init__(self, model: Path) -> None:
        self._model = model
        self._needed: dict[tuple[int, int], int] = {}

    def require(self, size: tuple[int, int], image: str) -> None:
        """Check that an image, called `image`, can be shown to the model at this (height, width).

        Raises:
            ImageError: it takes more memory than there is; the remedy names a size that fits.
        """
        if size[0] * size[1] <= ALWAYS_FITS or (available := available_bytes()) is None:
            return
        needed = self._bytes(size)
        if needed <= available:
            return
        height, width = (int(side * sqrt(available / needed)) for side in size)
        raise ImageError(
            f"{image} at {size[1]}×{size[0]} pixels takes {needed / 1e9:.1f} GB in {self._model}, and "
            f"{available / 1e9:.1f} GB are available",
            fix=f"scale it to {width}×{height} or less",
        )

    def _bytes(self, size: tuple[int, int]) -> int:
        if size not in self._needed:
            peak = peak_bytes(load_model(self._model), size)
            self._needed[size] = int(OVERHEAD * peak) + DRAWING * size[0] * size[1]
        return self._needed[size]
