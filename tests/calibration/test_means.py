"""Channel means against numpy, and their laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_onnx.calibration.means import ChannelMeans


def drawn(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (1, 3, int(rng.integers(1, 30)), int(rng.integers(1, 30)))
    return (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4)).astype(np.float32)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_means_are_numpys_and_the_order_does_not_matter(seeds: list[int], random: object) -> None:
    images = [drawn(seed) for seed in seeds]
    parts = [ChannelMeans.of(image) for image in images]
    shuffled = parts[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    def total(found: list[ChannelMeans]) -> ChannelMeans:
        result = found[0]
        for part in found[1:]:
            result = result + part
        return result

    a, b = total(parts), total(shuffled)
    assert (a.images, a.total.tolist()) == (b.images, b.total.tolist())
    literal = np.mean([image.astype(np.float64).mean((0, 2, 3)) for image in images], axis=0)
    largest = max(float(np.abs(image).max()) for image in images)
    assert a.mean() == pytest.approx(literal, abs=1e-6 * largest + 1e-9)
