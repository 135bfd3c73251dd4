"""Whether two models can be compared: they must mean the same by a label, and be shown the same picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.errors import ModelError
from fcn_onnx.evaluation.protocols import Protocol
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.interface import Interface

OPTIONS: Mapping[str, str] = {"mean": "--mean", "std": "--std", "channels": "--channels"}
"""What a card says of the input whatever the protocol, and the option that settles it for all models."""


def common_classes(cards: Mapping[str, ModelCard], interface: Interface = Interface()) -> tuple[str, ...]:
    """Class names in label order that hold for all models: as the user says, else their cards; () where none says any.

    Args:
        cards: by the name of the file.

    Raises:
        ModelError: two cards have different classes, and the user says nothing.
    """
    if interface.classes:
        return interface.classes
    said = {name: card.classes for name, card in cards.items() if card.classes}
    first = next(iter(said), "")
    for name, classes in said.items():
        if classes != said[first]:
            raise ModelError(
                f"{_classes(first, said[first], classes)}, and {_classes(name, classes, said[first])}",
                fix="compare models of the same classes, or name what the labels of all mean with --classes",
            )
    return said.get(first, ())


def require_one_input(cards: Mapping[str, ModelCard], interface: Interface = Interface()) -> None:
    """Raise ModelError if two cards contradict each other on what the network is shown, and no option settles it.

    All models see the same array, so it can be right for one of them only.
    """
    said = {name: card.preprocessing for name, card in cards.items() if card.preprocessing}
    first = next(iter(said), "")
    for name, preprocessing in said.items():
        differing = [
            key for key in OPTIONS if getattr(interface, key) is None and said[first].get(key) != preprocessing.get(key)
        ]
        if differing:
            raise ModelError(
                f"{first} takes {_values(said[first], differing)}, and {name} {_values(preprocessing, differing)}",
                fix="both are shown the same input: compare models that take the same, or say what it is with "
                + " and ".join(OPTIONS[key] for key in differing),
            )


def shown_note(rules: Protocol, shown: Preprocessing) -> str | None:
    """Says so where images are shown at another size than the protocol's; None where they are not."""
    if shown.resize == rules.resize:
        return None
    return (
        f"the models take images of {shown.resize} only and are shown every image at that size, not at protocol "
        f"{rules.name}'s ({rules.resize}): scores of this protocol elsewhere are no comparison"
    )


def _classes(name: str, classes: tuple[str, ...], others: tuple[str, ...]) -> str:
    """The model and its classes: how many, and where they first differ from the other model's."""
    at = next((i for i, (a, b) in enumerate(zip(classes, others, strict=False)) if a != b), None)
    where = f"label {at} is {classes[at]!r}" if at is not None else f"the last is {classes[-1]!r}"
    return f"{name} says that it has {len(classes)} classes ({where})"


def _values(preprocessing: Mapping[str, Any], keys: list[str]) -> str:
    return ", ".join(f"{key} {_joined(preprocessing.get(key))}" for key in keys)


def _joined(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
