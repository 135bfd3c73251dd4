"""A segmentation network as its users see it: a photograph goes in, labels come out.

Models differ in layout (NCHW, NHWC), size (any, one), normalisation, and in what they return (logits, labels). All of
that is settled here, once, so that the stages see arrays of labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.errors import ModelError
from fcn_onnx.interface import Interface, classes_of, preprocessing_of
from fcn_onnx.model.files import load_model
from fcn_onnx.runtime import Network, SessionConfig

__all__ = ["Interface", "Labels", "Segmenter", "classes_of", "on_grid", "preprocessing_of"]

Labels = NDArray[np.uint8]


class Segmenter:
    """A model in a session, whose output is read as labels of its classes.

    Args:
        model: a file.
        config: how to run it.
        interface: what the model does not say of itself.

    Raises:
        ModelError: it does not load, does not take images, or it is not clear which output to read.
    """

    def __init__(
        self, model: Path, config: SessionConfig = SessionConfig(), interface: Interface = Interface()
    ) -> None:
        self.network = Network(model, config)
        proto = load_model(model)
        self.preprocessing = preprocessing_of(proto, str(model), interface)
        self.classes = classes_of(proto, str(model), interface)
        self.output = self._choose(interface.output)

    def _choose(self, wanted: str | None) -> str:
        names = self.network.output_names
        if wanted is None and "out" not in names and len(names) == 1:
            return names[0]
        wanted = wanted or "out"
        if wanted not in names:
            raise ModelError(
                f"{self.network.name} has the outputs {', '.join(names)}, not {wanted!r}",
                fix="name the one that holds logits or labels with --output-name",
            )
        return wanted

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The one (height, width) that the model takes; None if it takes any."""
        return self.preprocessing.resize.size if None not in self.network.input_size else None

    def run(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        """The model's own output for a batch (1, 3, H, W), as it returns it."""
        return self.network.run(batch, [self.output])[self.output]

    def scores(self, value: NDArray[Any], image: str) -> NDArray[np.float32] | None:
        """(classes, h, w) float32 logits of what `run` returned for one image; None where the model returns labels.

        Raises:
            ModelError: another number of classes, or values that are not finite.
        """
        if np.issubdtype(value.dtype, np.integer):
            return None
        planes = value[0] if value.ndim == 4 else value
        if self.network.channels_last and planes.ndim == 3:
            planes = planes.transpose(2, 0, 1)
        if planes.ndim != 3 or len(planes) != len(self.classes):
            raise self._wrong(value, image)
        if not (np.isfinite(planes.min()) and np.isfinite(planes.max())):
            raise ModelError(
                f"{self.network.name} returns values that are not finite for {image}",
                fix="the model is broken: export or quantize it again",
            )
        logits: NDArray[np.float32] = planes
        return logits

    def labels(self, value: NDArray[Any], image: str) -> Labels:
        """(h, w) uint8 labels of what `run` returned for one image; the lowest class wins a tie.

        Raises:
            ModelError: see `scores`; or labels that are not of its classes.
        """
        logits = self.scores(value, image)
        if logits is not None:
            return _labels(logits.argmax(0))
        plane = value.squeeze() if value.ndim == 4 else value[0]
        if plane.ndim != 2 or plane.min() < 0 or plane.max() >= len(self.classes):
            raise self._wrong(value, image)
        return _labels(plane)

    def _wrong(self, value: NDArray[Any], image: str) -> ModelError:
        return ModelError(
            f"the output `{self.output}` of {self.network.name} has shape {value.shape} ({value.dtype}, "
            f"{value.min()} … {value.max()}) for {image}",
            fix=f"it should return logits (N, {len(self.classes)}, H, W) or labels (N, H, W) of {len(self.classes)} "
            "classes; name others with --classes",
        )


def _labels(plane: NDArray[Any]) -> Labels:
    labels: Labels = plane.astype(np.uint8)
    return labels


def on_grid(labels: Labels, grid: tuple[int, int]) -> Labels:
    """Labels (h, w) brought to the (height, width) of `grid` by nearest neighbour, (H, W) uint8."""
    if labels.shape == grid:
        return labels
    resized: Labels = np.asarray(Image.fromarray(labels).resize((grid[1], grid[0]), Image.Resampling.NEAREST))
    return resized
