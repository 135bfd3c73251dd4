"""An archive of arrays is numpy's, byte for byte, and one that is made in parts is the same."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fcn_onnx.jobs.arrays import npz


class Cut:
    """An array, three of its rows at a time."""

    def __init__(self, whole: NDArray[np.int64]) -> None:
        self.whole, self.shape, self.dtype = whole, whole.shape, whole.dtype

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        return (self.whole[start : start + 3] for start in range(0, len(self.whole), 3))


def test_an_archive_is_that_of_numpy_whether_an_array_is_whole_or_in_parts() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (1000, 4, 5))
    arrays = {"names": np.array(["a.jpg", "b/ü.jpg"]), "counts": counts, "none": np.zeros((0, 3))}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    assert npz(arrays) == stream.getvalue()
    assert npz({**arrays, "counts": Cut(counts)}) == stream.getvalue()
