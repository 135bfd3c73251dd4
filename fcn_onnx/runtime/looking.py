"""What a model sees in a photograph: labels on the photograph's own grid, found at once or in tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.labelmaps import Labels, on_grid
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.model.tiling import Grid, Tiling
from fcn_onnx.runtime.memory import Room
from fcn_onnx.runtime.segmenter import Segmenter


@dataclass(frozen=True)
class Seen:
    """Of each pixel of a photograph.

    Attributes:
        labels: (H, W) uint8.
        confidence: (H, W) uint8, 255 · probability of the label; None where the model returns labels only.
    """

    labels: Labels
    confidence: NDArray[np.uint8] | None


class Eye:
    """A model that photographs are shown at their own size, or at its one size; or, with tiles, in pieces.

    Args:
        segmenter: the model.
        room: refuses what would not fit into memory.
        tiling: how photographs are cut.

    Attributes:
        preprocessing: of a photograph, or of a tile.
        grid: where tiles lie, None where all is seen at once.

    Raises:
        UsageError: tiles that the model does not take.
    """

    def __init__(self, segmenter: Segmenter, room: Room, tiling: Tiling = Tiling()) -> None:
        self.segmenter = segmenter
        self.grid: Grid | None = tiling.fitted(segmenter.fixed_size, segmenter.network.form.multiple_of)
        size = segmenter.fixed_size if self.grid is None else None
        self.preprocessing: Preprocessing = replace(segmenter.preprocessing, resize=Resize(size=size), pad=None)
        self._room = room

    def look(self, photograph: Image.Image, name: str) -> Seen:
        """Label an RGB photograph, which errors call `name`.

        Raises:
            ImageError: it does not fit into memory.
            ModelError: the model does not run on it, or returns what it should not.
        """
        size = photograph.height, photograph.width
        if self.grid is None:
            return self._seen(photograph, name)
        labels = np.empty(size, np.uint8)
        confidence: NDArray[np.uint8] | None = None
        for rows, columns in self.grid.tiles(*size):
            tile = photograph.crop((columns.start, rows.start, columns.stop, rows.stop))
            seen = self._seen(tile, name)
            there = np.s_[rows.first : rows.last, columns.first : columns.last]
            inside = np.s_[
                rows.first - rows.start : rows.last - rows.start,
                columns.first - columns.start : columns.last - columns.start,
            ]
            labels[there] = seen.labels[inside]
            if seen.confidence is not None:
                confidence = np.empty(size, np.uint8) if confidence is None else confidence
                confidence[there] = seen.confidence[inside]
        return Seen(labels, confidence)

    def _seen(self, picture: Image.Image, name: str) -> Seen:
        size = picture.height, picture.width
        batch = self.preprocessing(picture, name)
        self._room.require((batch.shape[2], batch.shape[3]), name)
        value = self.segmenter.run(batch, self.grid.tile if self.grid and self.grid.fixed else None)
        labels = on_grid(self.segmenter.labels(value, name), size)
        scores = self.segmenter.scores(value, name)
        if scores is None:
            return Seen(labels, None)
        probability = self.segmenter.certainty(scores, name)
        return Seen(labels, on_grid(np.rint(255 * probability).astype(np.uint8), size))
