"""Who is compared, and whether that can be: all must mean the same by a label, and be shown the same picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Self

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset
from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.evaluation.protocol import Protocol
from fcn_onnx.evaluation.protocols import PROTOCOLS, TORCHVISION
from fcn_onnx.evaluation.scoring import Entrant
from fcn_onnx.model.card import ModelCard
from fcn_onnx.model.graph import is_quantized
from fcn_onnx.model.interface import Interface
from fcn_onnx.model.model import Model
from fcn_onnx.report.document import FP32, INT8
from fcn_onnx.runtime.seam import DEFAULT_RUNTIME
from fcn_onnx.runtime.segmenter import Segmenter

OPTIONS: Mapping[str, str] = {"mean": "--mean", "std": "--std", "channels": "--channels"}
"""What a card says of the input whatever the protocol, and the option that settles it for all models."""


@dataclass(frozen=True)
class Contestant:
    """One of the models, as it was found on disk.

    Attributes:
        entrant: its row.
        digest: of the file, and of its external data.
        card: what it says of itself.
        size_bytes: likewise.
        quantized: whether anything in it is in 8 bits.
    """

    entrant: Entrant
    digest: str
    size_bytes: int
    card: ModelCard
    quantized: bool

    @classmethod
    def of(cls, name: str, model: Model, runtime: str = DEFAULT_RUNTIME) -> Self:
        """What is known of an open model, without what is in it. Raises ModelError if its card cannot be read."""
        entrant = Entrant(name, model.path, runtime)
        return cls(entrant, model.digest, model.size_bytes, model.card, is_quantized(model.proto))

    @property
    def name(self) -> str:
        """Of its row."""
        return self.entrant.name

    @property
    def path(self) -> Path:
        """The file."""
        return self.entrant.model

    @property
    def runtime(self) -> str:
        """What runs it."""
        return self.entrant.runtime


@dataclass(frozen=True)
class Contestants:
    """A reference that is not quantized, and its candidates."""

    fp32: Contestant
    candidates: tuple[Contestant, ...]

    @classmethod
    def of(cls, fp32: Model, candidates: Sequence[Model], runtimes: Sequence[str] = (DEFAULT_RUNTIME,)) -> Self:
        """Each of the candidates in each of the runtimes; see `names_of` for what they are called.

        Args:
            runtimes: the reference is run by the first.

        Raises:
            UsageError: there is no candidate, or two rows would have one name.
            ModelError: a card cannot be read, or the reference is quantized.
        """
        names = names_of([candidate.path for candidate in candidates], runtimes)
        reference = Contestant.of(FP32, fp32, runtimes[0])
        if reference.quantized:
            raise ModelError(
                f"{fp32.name} is quantized, and --fp32 is the reference", fix="name the fp32 model, or swap the two"
            )
        rows = zip(names, product(candidates, runtimes), strict=True)
        return cls(reference, tuple(Contestant.of(name, *row) for name, row in rows))

    @property
    def all(self) -> tuple[Contestant, ...]:
        """The reference first."""
        return self.fp32, *self.candidates

    @property
    def files(self) -> tuple[Contestant, ...]:
        """Of the candidates, one for each file."""
        return tuple({candidate.path: candidate for candidate in self.candidates}.values())

    @property
    def others(self) -> tuple[Contestant, ...]:
        """Of those, the ones that are not the reference itself (an A/A control)."""
        return tuple(candidate for candidate in self.files if candidate.digest != self.fp32.digest)

    def classes(self, interface: Interface) -> tuple[str, ...]:
        """Class names as the user says, else as the models do; () where none says any.

        Raises:
            ModelError: the models contradict each other, in what they are shown or in what labels mean.
        """
        cards = {str(model.path): model.card for model in self.all}
        require_one_input(cards, interface)
        return common_classes(cards, interface)

    def agreed(self, dataset: Dataset, interface: Interface) -> Interface:
        """The interface of all, with the data set's classes.

        Raises:
            ModelError: the models contradict each other, or their classes are not the data set's.
        """
        own, labelled = self.classes(interface), dataset.label_space.names
        if own and own != labelled:
            raise ModelError(
                f"the models label {len(own)} classes ({', '.join(own[:4])}, …), and {dataset.root} was opened for "
                f"{len(labelled)} ({', '.join(labelled[:4])}, …)",
                fix="open the data set with the models' classes, or name what the labels mean with --classes",
            )
        return replace(interface, classes=labelled)

    def protocol(self, asked: str | None) -> tuple[str, str | None]:
        """The name of the protocol, and why it is that one where nobody asked for one: fp32's, else torchvision's.

        Raises:
            ModelError: fp32's card names one that is not in the table.
        """
        if asked is not None:
            return asked, None
        own = self.fp32.card.protocol
        if own is None:
            return TORCHVISION, f"protocol {TORCHVISION}, as neither --protocol nor the card of {self.fp32.path} says"
        if own not in PROTOCOLS:
            raise ModelError(
                f"the card of {self.fp32.path} names the protocol {own!r}, which is not known here",
                fix=f"say --protocol, one of: {', '.join(PROTOCOLS)}",
            )
        others = [
            f"; that of {m.path} says {m.card.protocol}" for m in self.others if m.card.protocol not in (None, own)
        ]
        return own, f"protocol {own}, as the card of {self.fp32.path} says{''.join(others)}"

    def fitted(self, segmenters: Sequence[Segmenter], rules: Protocol) -> Fitted:
        """The protocol at the models' size, and how all are shown an image: normalised as the first card that says so
        does, fp32's foremost, at the protocol's size or at the one size that the models take.

        Args:
            segmenters: of `all`.

        Raises:
            ModelError: the models take images of different sizes.
        """
        sizes = {segmenter.fixed_size for segmenter in segmenters} - {None}
        if len(sizes) > 1:
            names = " and ".join(str(m.path) for m, s in zip(self.all, segmenters, strict=True) if s.fixed_size)
            raise ModelError(f"{names} take images of different sizes", fix="compare models of one size")
        if len({(s.preprocessing.divisor, s.preprocessing.planes) for s in segmenters}) > 1:
            raise ModelError(
                " and ".join(f"{segmenter.network.name} takes {segmenter.network.form}" for segmenter in segmenters),
                fix="all are shown the same input: compare models that take the same",
            )
        fixed = sizes.pop() if sizes else None
        speaker = next((i for i, model in enumerate(self.all) if model.card.preprocessing), 0)
        own = segmenters[speaker].preprocessing
        said = fixed or own.resize.size
        sized = rules.of_size(said)
        shown = sized.shown(own, fixed)
        if fixed:
            why = "the models take no other size"
        else:
            why = (
                f"the card of {self.all[speaker].path} says"
                if said
                else "neither the models nor their cards say a size"
            )
        note = None
        if rules.of_network:
            note = f"images are shown at {shown.resize}, as {why}"
        elif shown.resize != rules.resize:
            note = (
                f"the models take images of {shown.resize} only and are shown every image at that size, not at "
                f"protocol {rules.name}'s ({rules.resize}): scores of this protocol elsewhere are no comparison"
            )
        return Fitted(sized, shown, note)


class Fitted(NamedTuple):
    """A protocol for networks of a size, how they are shown images, and what a reader must know of that."""

    rules: Protocol
    shown: Preprocessing
    note: str | None


def names_of(candidates: Sequence[Path], runtimes: Sequence[str] = (DEFAULT_RUNTIME,)) -> tuple[str, ...]:
    """What the rows of these models in these runtimes are called, in the order of their product.

    One model is `int8`, several go by their files; in several runtimes each is `<name>@<runtime>`.

    Raises:
        UsageError: that does not tell them apart.
    """
    if not candidates:
        raise UsageError("no int8 model to compare with fp32", fix="name one with --int8")
    names = (INT8,) if len(candidates) == 1 else tuple(path.stem for path in candidates)
    if len(set(names)) < len(names):
        raise UsageError("two candidates have the same file name, and the report goes by it", fix="rename one")
    if FP32 in names:
        raise UsageError("a candidate is called fp32, as the reference is in the report", fix="rename it")
    return tuple(f"{name}@{runtime}" for name in names for runtime in runtimes) if len(runtimes) > 1 else names


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


def _classes(name: str, classes: tuple[str, ...], others: tuple[str, ...]) -> str:
    """The model and its classes: how many, and where they first differ from the other model's."""
    at = next((i for i, (a, b) in enumerate(zip(classes, others, strict=False)) if a != b), None)
    where = f"label {at} is {classes[at]!r}" if at is not None else f"the last is {classes[-1]!r}"
    return f"{name} says that it has {len(classes)} classes ({where})"


def _values(preprocessing: Mapping[str, Any], keys: list[str]) -> str:
    return ", ".join(f"{key} {_joined(preprocessing.get(key))}" for key in keys)


def _joined(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
