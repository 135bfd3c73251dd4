"""How a model is shown images, and what it tells apart, by what its user, its card and its graph say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx

from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import ModelError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.shapes import fixed_size

Triple = tuple[float, float, float]


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
    hinted = own.hinted(interface)
    return replace(hinted, resize=Resize(size=size)) if size else hinted


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
