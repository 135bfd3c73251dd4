"""How a model is shown images, and what it tells apart, by what its user, its card and its graph say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx

from fcn_onnx.data.preprocess import GREY, GREY_MEAN, GREY_STD, Preprocessing, Resize
from fcn_onnx.errors import ModelError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.form import image_layout, takes_pixels
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.labels import Meaning, is_label_type, meaning_of
from fcn_onnx.model.shapes import fixed_size

Triple = tuple[float, float, float]


def default_output(names: Sequence[str]) -> str:
    """The output that is read where the user names none, of a model with outputs of these names."""
    return names[0] if len(names) == 1 else "out"


def chosen_output(model: onnx.ModelProto, name: str, interface: Interface = Interface()) -> str:
    """The output that is read: as the user says, else the card, else `default_output`.

    Raises:
        ModelError: the model, called `name`, has no such output.
    """
    names = [value.name for value in model.graph.output]
    wanted = interface.output_name or ModelCard.read_from(model, name).output or default_output(names)
    if wanted not in names:
        raise ModelError(
            f"{name} has the outputs {', '.join(names)}, not {wanted!r}",
            fix="name the one that holds logits or labels with --output-name",
        )
    return wanted


def preprocessing_of(model: onnx.ModelProto, name: str, interface: Interface = Interface()) -> Preprocessing:
    """How photographs are prepared for `model`: as the user says, else its card, else ImageNet's normalisation.

    A model of one size gets images of that size; others what their card says, else short side 520. What its input
    leaves no choice in is its input's: integers are pixels as they are, and one channel is grey.

    Raises:
        ModelError: the card of the model, called `name`, says something that cannot be read, or of three channels what
            a grey one cannot have.
    """
    recorded = ModelCard.read_from(model, name).preprocessing
    try:
        own = Preprocessing() if recorded is None else Preprocessing.from_json(dict(recorded))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the preprocessing recorded in {name} cannot be read: {error}", fix="export the model again"
        ) from error
    grey = image_layout(model).channels == 1
    if grey:
        own = replace(own, mean=GREY_MEAN, std=GREY_STD) if recorded is None else own
    size = fixed_size(model)
    hinted = own.hinted(interface)
    shown = replace(
        hinted,
        resize=Resize(size=size) if size else hinted.resize,
        channels=GREY if grey else hinted.channels,
    )
    if takes_pixels(model):
        return shown.of_pixels()
    if grey and len({*shown.mean}) + len({*shown.std}) > 2:
        raise ModelError(
            f"{name} takes one channel, and is normalised with mean {shown.mean} and std {shown.std}, which are three "
            "numbers",
            fix="say one number three times, such as --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5",
        )
    return shown


def classes_of(
    model: onnx.ModelProto,
    name: str,
    interface: Interface = Interface(),
) -> tuple[str, ...]:
    """Class names of `model` in label order: as the user says, else its card; () where neither does.

    Raises:
        ModelError: the card of the model, called `name`, cannot be read.
    """
    return interface.classes or ModelCard.read_from(model, name).classes


def declared_classes(model: onnx.ModelProto, name: str, interface: Interface = Interface()) -> int | None:
    """How many classes the graph declares scores for, two where it is one channel; None where that is open, or labels.

    Raises:
        ModelError: the card of the model, called `name`, cannot be read.
    """
    values = {value.name: value.type.tensor_type for value in model.graph.output}
    output = interface.output_name or ModelCard.read_from(model, name).output or default_output(list(values))
    kind = values.get(output)
    if kind is None or meaning_of(model, output) is Meaning.LABELS or len(kind.shape.dim) != 4:
        return None
    if is_label_type(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)):
        return None
    channels: int = kind.shape.dim[3 if image_layout(model).channels_last else 1].dim_value
    return max(channels, 2) if channels else None
