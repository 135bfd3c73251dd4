"""What a model takes, read off its file: the one image among its inputs, and how a picture is made to fit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from fcn_onnx.errors import ModelError, UsageError

Batch = NDArray[np.float32]

KINDS: dict[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
    TensorProto.UINT16: np.uint16,
    TensorProto.UINT32: np.uint32,
    TensorProto.UINT64: np.uint64,
    TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
}
"""What images are taken as. Integers are pixels, 0 … 255, and the model normalises them; int8 does not hold them."""

MEAN_PIXEL = 114
"""The mean of ImageNet's mean colour: what images are padded with for a model that normalises them itself."""


class Layout(NamedTuple):
    """Where the channels of an image batch are, and how many: 3, or 1 where it is grey."""

    channels_last: bool
    channels: int

    @classmethod
    def of(cls, shape: Sequence[object]) -> Layout | None:
        """Of (N, C, H, W) or (N, H, W, C), three channels being looked for first; None where neither is there."""
        if len(shape) != 4:
            return None
        found = ((axis == 3, count) for count in (3, 1) for axis in (1, 3) if shape[axis] == count)
        return next((cls(*one) for one in found), None)


@dataclass(frozen=True)
class InputForm:
    """How a model takes its image batch.

    Attributes:
        model: what errors call the model.
        name: of the input.
        layout: of its channels.
        size: (height, width) in pixels; None where it takes any.
        batch: the one number of images it takes; None where it takes any.
        dtype: one of `KINDS`.
        multiple_of: pixels; both sides are padded to multiples of this.
    """

    model: str
    name: str
    layout: Layout
    size: tuple[int | None, int | None]
    batch: int | None = None
    dtype: type[np.generic] = np.float32
    multiple_of: int = 1

    @property
    def takes_pixels(self) -> bool:
        """Whether it takes whole numbers 0 … 255, and normalises them itself."""
        return issubclass(self.dtype, np.integer)

    def __str__(self) -> str:
        values = f"{self.dtype.__name__} pixels" if self.takes_pixels else "normalised images"
        return f"{values} in {'one channel' if self.layout.channels == 1 else 'three channels'}"

    def noise(self, size: tuple[int, int], seed: int = 0) -> Batch:
        """One random image (1, C, *size), such as photographs are when they are prepared for this model."""
        rng, shape = np.random.default_rng(seed), (1, self.layout.channels, *size)
        if self.takes_pixels:
            return rng.integers(0, 256, shape).astype(np.float32)
        return rng.standard_normal(shape, np.float32)

    @property
    def colour(self) -> int:
        """The mean colour, with which pictures are filled up."""
        return MEAN_PIXEL if self.takes_pixels else 0

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that a picture of this size is padded to."""
        return -(-height // self.multiple_of) * self.multiple_of, -(-width // self.multiple_of) * self.multiple_of

    def padded(self, batch: Batch) -> Batch:
        """(N, C, H, W) with the mean colour to the right and below, which is 0 where images are normalised.

        Raises:
            UsageError: the model takes images of one size, or of another number of channels, than these have.
        """
        if batch.shape[1] != self.layout.channels:
            raise UsageError(
                f"{self.model} takes images of {self.layout.channels} channels, not {batch.shape[1]}",
                fix="run it with what was prepared for it",
            )
        for fixed, got, axis in zip(self.size, batch.shape[2:], ("height", "width"), strict=True):
            if fixed is not None and fixed != got:
                raise UsageError(
                    f"{self.model} takes images of {axis} {fixed}, not {got}",
                    fix="export it without --size, or use a protocol or --size that fits it",
                )
        return self.filled(batch, self.padded_size(*batch.shape[2:]))

    def filled(self, batch: Batch, size: tuple[int, int]) -> Batch:
        """(N, C, H, W) with the mean colour to the right and below, so that it has this (height, width)."""
        below, right = (a - b for a, b in zip(size, batch.shape[2:], strict=True))
        if not (below or right):
            return batch
        return np.pad(batch, ((0, 0), (0, 0), (0, below), (0, right)), constant_values=self.colour)

    def fed(self, batch: Batch) -> NDArray[Any]:
        """What the session gets for (N, C, H, W) float32: padded, of the model's layout and type.

        Pixels are rounded, should an image not be of whole numbers. A model of one batch size gets a single image as
        often as it wants it; the first result is the image's.

        Raises:
            UsageError: a size or a number of images that the model does not take.
        """
        padded = self.padded(batch)
        if self.batch is not None and len(padded) != self.batch:
            if len(padded) != 1:
                raise UsageError(
                    f"{self.model} takes {self.batch} images at a time, not {len(padded)}", fix="give it one at a time"
                )
            padded = np.repeat(padded, self.batch, axis=0)
        ordered = padded.transpose(0, 2, 3, 1) if self.layout.channels_last else padded
        if self.takes_pixels:
            ordered = np.rint(ordered).clip(0, 255)
        return np.ascontiguousarray(ordered, dtype=self.dtype)


def image_input(model: onnx.ModelProto) -> onnx.ValueInfoProto | None:
    """The first input that is no weight (files of IR 3 list those too); None where there is none."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return next((value for value in model.graph.input if value.name not in weights), None)


def image_layout(model: onnx.ModelProto) -> Layout:
    """Of its image input; three channels first where it declares no number that is known."""
    image = image_input(model)
    shape = [d.dim_value for d in image.type.tensor_type.shape.dim] if image else []
    return Layout.of(shape) or Layout(channels_last=False, channels=3)


def takes_pixels(model: onnx.ModelProto) -> bool:
    """Whether its image input is of whole numbers."""
    image = image_input(model)
    kind = KINDS.get(image.type.tensor_type.elem_type) if image else None
    return kind is not None and issubclass(kind, np.integer)


def require_float32(model: onnx.ModelProto, name: str) -> None:
    """Calibration and quantization read float32 activations and weights.

    Raises:
        ModelError: the model, called `name`, computes in float16 or bfloat16, wholly or in part.
    """
    half = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
    graph = model.graph
    found = [(value.name, value.type.tensor_type.elem_type) for value in (*graph.input, *graph.output)]
    found += [(tensor.name, tensor.data_type) for tensor in graph.initializer]
    found += [
        (node.output[0], attribute.i)
        for node in graph.node
        if node.op_type == "Cast"
        for attribute in node.attribute
        if attribute.name == "to"
    ]
    tensor, kind = next(((t, half[k]) for t, k in found if k in half), ("", ""))
    if kind:
        raise ModelError(
            f"{name} computes in {kind} ({tensor}), and int8 is made from float32",
            fix="name the float32 model it was made from (`fcn-onnx export` without --fp16)",
        )


_ARITHMETIC = frozenset({"Sub", "Add", "Mul", "Div"})
_REORDERING = frozenset({"Cast", "Identity", "Transpose", "Gather"})


def own_normalisation(model: onnx.ModelProto) -> str | None:
    """The node by which the graph normalises its input before anything else, as text; None where it does not.

    That is arithmetic with constants of one value, or one a channel, or a BatchNormalization.
    """
    image = image_input(model)
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            sizes[node.output[0]] = int(np.prod(node.attribute[0].t.dims))
    tensor = image.name if image else ""
    while True:
        readers = [node for node in model.graph.node if tensor in node.input]
        inner = [node for node in readers if node.op_type not in {"Shape", "Constant"}]
        if len(inner) != 1:
            return None
        (node,) = inner
        others = [sizes.get(name) for name in node.input if name != tensor]
        constant = node.op_type in _ARITHMETIC and others and all(size in (1, 3) for size in others)
        if constant or node.op_type == "BatchNormalization":
            return f"{node.op_type} {node.name or node.output[0]}"
        if node.op_type not in _REORDERING:
            return None
        tensor = node.output[0]
