"""Whether an image fits into the memory that is left, said before the system ends the process."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

from fcn_onnx.errors import ImageError
from fcn_onnx.model.files import load_model
from fcn_onnx.model.liveness import peak_bytes

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")

ALWAYS_FITS = 1_000_000
"""Pixels of an image that is not looked at: it takes less than the network itself."""

OVERHEAD = 1.3
"""What a process takes, over the tensors that are alive at once: kernels have buffers of their own. Measured on the
tiny network and on FCN-ResNet-50, fp32 and int8: 1.0 to 1.25."""

DRAWING = 80
"""Bytes a pixel that decoding, normalising and drawing take besides."""


def available_bytes() -> int | None:
    """Memory that this process may still take without swapping; None where the system does not say.

    That is what Linux calls available, or less where a control group (a container) is limited to less.
    """
    if not MEMINFO.is_file():
        return None
    lines = MEMINFO.read_text(encoding="ascii", errors="replace").splitlines()
    found = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    try:
        limit = int((CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((CGROUP / "memory.current").read_text(encoding="ascii"))
        stat = (CGROUP / "memory.stat").read_text(encoding="ascii").split()
        found.append(max(0, limit - used + int(stat[stat.index("inactive_file") + 1])))  # that is cache, and given back
    except (OSError, ValueError):  # no control groups of version 2, or no limit, which is written `max`
        pass
    return min(found, default=None)


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
