"""Truth and predictions brought to the grid that is scored: each protocol's origin rounds positions its own way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.labelmaps import Labels
from fcn_onnx.data.labels import VOID
from fcn_onnx.data.opencv import resize_nearest
from fcn_onnx.data.sample import Dataset, Sample

Truth = NDArray[Any]


def resized_label_map(dataset: Dataset, sample: Sample, grid: tuple[int, int]) -> Truth:
    """(H, W) uint8 truth resized to `grid` by PIL's nearest neighbour, as torchvision's transforms do."""
    labels = dataset.label_map(sample)
    if labels.shape == grid:
        return labels
    image = Image.fromarray(labels).resize((grid[1], grid[0]), Image.Resampling.NEAREST)
    return np.asarray(image)


def opencv_label_map(dataset: Dataset, sample: Sample, grid: tuple[int, int]) -> Truth:
    """(H, W) uint8 truth resized to `grid` by OpenCV's INTER_NEAREST."""
    return resize_nearest(dataset.label_map(sample), grid)


def wrapped_label_map(dataset: Dataset, sample: Sample, grid: tuple[int, int]) -> Truth:
    """The same modulo the number of classes: with 21, void (255) is scored as class 3, bird.

    That is what TI's figures of COCOSeg21 were computed with, so it is kept for them alone.
    """
    return opencv_label_map(dataset, sample, grid) % np.uint8(len(dataset.label_space.names))


def native_multilabel(dataset: Dataset, sample: Sample, grid: tuple[int, int]) -> Truth:
    """(C, H, W) bool truth at the image's own size, which `grid` is."""
    return dataset.multilabel(sample)


def no_truth(dataset: Dataset, sample: Sample, grid: tuple[int, int]) -> Truth:
    """(H, W) uint8, void everywhere."""
    return np.full(grid, VOID, np.uint8)


def torch_nearest(labels: Labels, grid: tuple[int, int]) -> Labels:
    """Labels (h, w) brought to `grid` as torch's `interpolate(mode="nearest")` does: floor(place · scale), in float32.

    `ATen/native/UpSample.h`, `nearest_neighbor_compute_source_index`.
    """
    rows, columns = (
        np.minimum((np.arange(n, dtype=np.float32) * (np.float32(side) / np.float32(n))).astype(np.int64), side - 1)
        for side, n in zip(labels.shape, grid, strict=True)
    )
    resized: Labels = labels[rows[:, None], columns]
    return resized
