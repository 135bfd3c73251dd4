"""A segmentation network as its users see it: a photograph goes in, labels come out.

Models differ in layout (NCHW, NHWC), size (any, one, multiples of 32), batch, type, normalisation, and in what they
return (logits, probabilities, labels). All of
that is settled here, once, so that the stages see arrays of labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.data.label_spaces import default_classes
from fcn_onnx.data.labelmaps import Labels, likeliest, on_grid
from fcn_onnx.errors import ModelError
from fcn_onnx.model.interface import MAX_CLASSES, Interface
from fcn_onnx.model.labels import Axes, Meaning, Shape, is_label_type, meaning_of
from fcn_onnx.model.model import Model
from fcn_onnx.model.taps import path_to
from fcn_onnx.runtime.interface import chosen_output, classes_of, preprocessing_of
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig

__all__ = ["Interface", "Labels", "Segmenter", "classes_of", "likeliest", "on_grid", "preprocessing_of"]

MADE = "the model"
"""What errors call a model that is in no file."""

SLACK = 0.1
"""By which probabilities may leave [0, 1]: 8 bits, and cubic upsampling, overshoot."""


class Segmenter:
    """A model in a session, one of whose outputs is computed and read as labels of its classes.

    Args:
        model: a file, one that is open, or a model that is in none.
        config: how to run it.
        interface: what the model does not say of itself.
        runtime: a name in `RUNTIMES`.

    Attributes:
        named: class names in label order, as the user or the model says them; else empty.
        classes: those, or what is assumed: see `default_classes`.
        output: the output that is read.
        meaning: of its values.

    Raises:
        ModelError: it does not load, does not take images, it is not clear which output to read, or that is declared
            for another number of classes, or for more than 255.
    """

    def __init__(
        self,
        model: Path | Model | onnx.ModelProto,
        config: SessionConfig = SessionConfig(),
        interface: Interface = Interface(),
        runtime: str = DEFAULT_RUNTIME,
    ) -> None:
        model = Model.open(model) if isinstance(model, Path) else model
        proto, source, name = (
            (model.proto, model.path, model.name) if isinstance(model, Model) else (model, model, MADE)
        )
        self.preprocessing = preprocessing_of(proto, name, interface)
        self.output = chosen_output(proto, name, interface)
        source = path_to(proto, self.output) if len(proto.graph.output) > 1 else source
        self.network = Network(source, config, name=name, multiple_of=self.preprocessing.multiple_of, runtime=runtime)
        self._declared, dtype = self.network.declared(self.output)
        self.meaning = Meaning.LABELS if is_label_type(dtype) else meaning_of(proto, self.output)
        self.named = classes_of(proto, name, interface)
        self.classes = self.named or default_classes(self._channels())
        if len(self.classes) > MAX_CLASSES:
            raise ModelError(
                f"{self.network.name} tells {len(self.classes)} classes apart, and labels are stored in 8 bits",
                fix=f"use a model of {MAX_CLASSES} classes at most",
            )
        if self.knows_classes and self.axes(self._declared) is None:
            raise self._wrong(f"is declared as {_shown(self._declared)}")

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The one (height, width) that the model takes; None if it takes any."""
        return self.preprocessing.resize.size if None not in self.network.input_size else None

    @property
    def knows_classes(self) -> bool:
        """Whether the graph declares for how many classes it has scores, which has then been checked."""
        return self._channels() is not None

    def require_classes(self, value: NDArray[Any]) -> None:
        """Check the shape of what `run` returned. Raises ModelError where it is not one of so many classes."""
        if self.axes(value.shape) is None:
            raise self._wrong(f"has shape {value.shape}")

    def run(self, batch: NDArray[np.float32], size: tuple[int, int] | None = None) -> NDArray[Any]:
        """The model's own output for a batch (1, 3, H, W): what belongs to the picture, otherwise as it returns it.

        Args:
            size: the (height, width) that it is filled up to first.
        """
        filled = batch if size is None else self.network.form.filled(batch, size)
        return self.cropped(self.network.run(filled, [self.output])[self.output], batch, size)

    def cropped(
        self, value: NDArray[Any], batch: NDArray[np.float32], size: tuple[int, int] | None = None
    ) -> NDArray[Any]:
        """Of an output for `batch`, the part that belongs to its picture and not to what it was filled up with.

        An output of fewer pixels than the input is cut at the same share of its sides, rounded up.
        """
        axes = self.axes(value.shape)
        if axes is None:
            return value  # `scores` or `labels` will say what is wrong with it
        kept: list[slice] = [slice(None)] * value.ndim
        if axes.batch is not None:
            kept[axes.batch] = slice(len(batch))
        height, width = batch.shape[2:]
        for axis, own, shown in zip(
            (axes.rows, axes.columns),
            (height, width),
            size or self.network.form.padded_size(height, width),
            strict=True,
        ):
            kept[axis] = slice(-(-value.shape[axis] * own // shown))
        return value[tuple(kept)]

    def scores(self, value: NDArray[Any], image: str) -> NDArray[np.float32] | None:
        """(classes, h, w) float32 of what `run` returned for one image; None where the model returns labels.

        They are what `meaning` says. One channel of two classes becomes two: logits z are (0, z), and probabilities p
        are (1 - p, p), so that class 1 is chosen where z > 0 and where p > 0.5.

        Raises:
            ModelError: another number of classes, or values that are not finite.
        """
        if self.meaning is Meaning.LABELS:
            return None
        axes = self.axes(value.shape)
        if axes is None:
            raise self._wrong(f"has shape {value.shape} {_summary(value)} for {image}")
        planes = axes.first(value)
        if not (np.isfinite(planes.min()) and np.isfinite(planes.max())):
            raise ModelError(
                f"{self.network.name} returns values that are not finite for {image}",
                fix="the model is broken: export or quantize it again",
            )
        scores: NDArray[np.float32] = planes.astype(np.float32, copy=False)
        if len(planes) == len(self.classes):
            return scores
        others = 1 - scores if self.meaning is Meaning.PROBABILITIES else np.zeros_like(scores)
        both: NDArray[np.float32] = np.concatenate([others, scores])
        return both

    def labels(self, value: NDArray[Any], image: str) -> Labels:
        """(h, w) uint8 labels of what `run` returned for one image; the lowest class wins a tie.

        Raises:
            ModelError: see `scores`; or labels that are not of its classes.
        """
        scores = self.scores(value, image)
        if scores is not None:
            return likeliest(scores)
        axes = self.axes(value.shape)
        plane = None if axes is None else axes.first(value)[0]
        if plane is None or plane.min() < 0 or plane.max() >= len(self.classes) or (plane != np.rint(plane)).any():
            raise self._wrong(f"has shape {value.shape} {_summary(value)} for {image}")
        return _labels(plane)

    def certainty(self, scores: NDArray[np.float32], image: str) -> NDArray[np.float32]:
        """The probability of each pixel's label, (h, w) float32 in [0, 1], from what `scores` returned.

        Raises:
            ModelError: probabilities, by the graph, that are none.
        """
        if self.meaning is Meaning.PROBABILITIES and (scores.min() < -SLACK or scores.max() > 1 + SLACK):
            raise ModelError(
                f"the output `{self.output}` of {self.network.name} should be probabilities, by its graph, and lies in "
                f"{scores.min():.3g} … {scores.max():.3g} for {image}",
                fix="name the output that holds logits or probabilities with --output-name",
            )
        return self.meaning.certainty(scores)

    def _channels(self) -> int | None:
        """How many channels of scores the graph declares; None where that is open, or it returns labels."""
        if self.meaning is Meaning.LABELS or len(self._declared) != 4:
            return None
        return self._declared[3 if self.network.channels_last else 1]

    def axes(self, shape: Shape) -> Axes | None:
        """Where the classes lie in an output; a model of two may return one channel, that of the second."""
        last = self.network.channels_last
        if self.meaning is Meaning.LABELS:
            return Axes.of(shape, 1, channels_last=last)
        axes = Axes.of(shape, len(self.classes), channels_last=last)
        return Axes.of(shape, 1, channels_last=last) if axes is None and len(self.classes) == 2 else axes

    def _wrong(self, found: str) -> ModelError:
        count = len(self.classes)
        way_out = (
            "of one channel, --classes names two: the background and what the channel scores"
            if self._channels() == 1
            else "name as many with --classes as it has, or another output with --output-name"
        )
        return ModelError(
            f"the output `{self.output}` of {self.network.name} {found}",
            fix=f"it should be logits (N, {count}, H, W) or labels (N, H, W) of {count} classes; {way_out}",
        )


def _shown(shape: Shape) -> str:
    return f"({', '.join('?' if d is None else str(d) for d in shape)})"


def _summary(value: NDArray[Any]) -> str:
    return f"({value.dtype}, {value.min()} … {value.max()})"


def _labels(plane: NDArray[Any]) -> Labels:
    labels: Labels = plane.astype(np.uint8)
    return labels
