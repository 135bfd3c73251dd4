"""How a model is shown images, and what it tells apart, by what its user, its card and its graph say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx

from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.errors import ModelError
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.labels import Meaning, is_label_type, meaning_of
from fcn_onnx.model.shapes import channels_last, fixed_size

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
    channels: int = kind.shape.dim[3 if channels_last(model) else 1].dim_value
    return max(channels, 2) if channels else None
