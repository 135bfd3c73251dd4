"""What a user says of a model that does not say it itself, and what follows for how it is shown images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

import onnx

from fcn_onnx.data.preprocess import CHANNELS, Preprocessing, Resize
from fcn_onnx.data.sample import VOC_CLASSES
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.shapes import fixed_size

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Interface:
    """What a user says of a model that does not say it itself; None leaves it to the model.

    Attributes:
        mean, std: of the input's normalisation, (x / 255 − mean) / std, for R, G, B.
        output: the output that holds logits or labels; by default `out`, or the only one.
        channels: `RGB` or `BGR`, the order in which the model takes them.
        classes: names in label order, background first; by default what its card says, else VOC's 21.
        multiple_of: both sides of its input must be multiples of this; images are padded to it.

    Raises:
        UsageError: a value that no model can have.
    """

    mean: Triple | None = None
    std: Triple | None = None
    output: str | None = None
    channels: str | None = None
    classes: tuple[str, ...] | None = None
    multiple_of: int | None = None

    def __post_init__(self) -> None:
        for option, values in (("--mean", self.mean), ("--std", self.std)):
            if values is not None and not (len(values) == 3 and all(map(isfinite, values))):
                raise UsageError(f"{option} {_joined(values)} is not three finite numbers", fix="correct it")
        if self.std is not None and min(self.std) <= 0:
            raise UsageError(f"--std {_joined(self.std)} holds a number that is not positive", fix="correct it")
        if self.channels is not None and self.channels not in CHANNELS:
            raise UsageError(f"--channels {self.channels!r} is no order", fix=f"choose one of: {', '.join(CHANNELS)}")
        if self.multiple_of is not None and self.multiple_of < 1:
            raise UsageError(f"--multiple-of {self.multiple_of} is not positive", fix="give it a size in pixels")


def _joined(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)


def default_output(names: Sequence[str]) -> str:
    """The output that is read where the user names none, of a model with outputs of these names."""
    return names[0] if len(names) == 1 else "out"


def preprocessing_of(model: onnx.ModelProto, name: str, interface: Interface = Interface()) -> Preprocessing:
    """How photographs are prepared for `model`: as the user says, else its card, else ImageNet's normalisation.

    A model of one size gets images of that size; others what their card says, else short side 520.

    Raises:
        ModelError: the card of the model, called `name`, says something that cannot be read.
    """
    recorded = ModelCard.read_from(model, name).preprocessing
    try:
        own = Preprocessing() if recorded is None else Preprocessing.from_json(dict(recorded))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the preprocessing recorded in {name} cannot be read: {error}", fix="export the model again"
        ) from error
    size = fixed_size(model)
    return replace(
        own,
        resize=Resize(size=size) if size else own.resize,
        mean=interface.mean or own.mean,
        std=interface.std or own.std,
        channels=interface.channels or own.channels,
        multiple_of=interface.multiple_of or own.multiple_of,
    )


def classes_of(
    model: onnx.ModelProto,
    name: str,
    interface: Interface = Interface(),
    default: tuple[str, ...] = VOC_CLASSES,
) -> tuple[str, ...]:
    """Class names of `model` in label order: as the user says, else its card, else `default`.

    Raises:
        ModelError: the card of the model, called `name`, cannot be read.
    """
    return interface.classes or ModelCard.read_from(model, name).classes or default


def default_classes(channels: int | None) -> tuple[str, ...]:
    """What the classes of a model of so many channels are called where nothing names them.

    VOC's for 21 or an unknown number; background and foreground for one or two; else `class 0`, `class 1`, ….
    """
    if channels in (None, len(VOC_CLASSES)):
        return VOC_CLASSES
    return ("background", "foreground") if channels <= 2 else tuple(f"class {i}" for i in range(channels))
