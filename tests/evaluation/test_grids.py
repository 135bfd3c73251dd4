"""Labels on other grids, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fcn_onnx.evaluation.grids import torch_nearest


@pytest.mark.parametrize("side", [3, 6, 11, 96, 128])
def test_torchs_nearest_neighbour_at_every_size(side: int) -> None:
    """Positions are float32's: 3 · 0.3333 may be below 1, or not."""
    labels = np.arange(side, dtype=np.uint8)[:, None]
    for places in range(1, 700):
        values = torch.from_numpy(labels).float()[None, None]
        expected = torch.nn.functional.interpolate(values, size=(places, 1), mode="nearest")[0, 0].numpy()
        assert np.array_equal(torch_nearest(labels, (places, 1)), expected)
