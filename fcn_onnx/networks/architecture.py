"""What is said of a network that can be exported: one frozen value each. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.errors import UsageError

if TYPE_CHECKING:
    import torch

    State = Mapping[str, torch.Tensor]

Shapes = Mapping[str, tuple[int, ...]]
"""Of a checkpoint: the shape of every tensor by its key."""

OUT, AUX = "out", "aux"


@dataclass(frozen=True)
class WeightsInfo:
    """Where a network's weights came from.

    Attributes:
        source: a file name, the name of published weights, `random (seed N)`, or the factory that made them.
        digest: of the file, of the published file's name, which carries its own hash, or of the values.
        random: nothing was trained.
        format: of the file, such as `MXNet`; None where it was none that was named.
    """

    source: str
    digest: str
    random: bool
    format: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As recorded in the model card."""
        said = {"source": self.source, "digest": self.digest, "random": self.random}
        return said | ({"format": self.format} if self.format else {})


def _unchanged(state: State) -> State:
    return state


def _silent(shapes: Shapes) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network that can be exported. An origin's file in `networks/origins/` has those that it published.

    Attributes:
        name: as `export --arch` takes it.
        description: one line for `--help`.
        origin: whose network it is.
        build: makes it with random weights, of so many classes, with the auxiliary head or without. Its forward takes
            (N, 3, H, W) float32 and returns a mapping with `out` and, if asked for, `aux`, each (N, classes, H, W)
            float32 logits. Imports torch when it is called.
        recognises: whether a checkpoint, as the origin writes it, is of this architecture, whatever its classes.
            Where two recognise the same, it is of the first of them unless the other is asked for.
        lookalikes: networks that have the same keys and compute something else, by a pattern that is sought in the name
            of a checkpoint's file and in the configuration that it holds.
        class_key: key, after `adopt`, of a tensor whose first dimension is the number of classes.
        adopt: the origin's state dict under the module's keys, without what training left in it.
        remarks: what is to be said of a checkpoint with these keys, such as what `adopt` leaves out; a sentence each.
        aliases: other names.
        heads: what it can return.
        aux_by_default: whether the auxiliary head, where it has one, is exported unless the user says otherwise.
        aux_keys: what the keys of the auxiliary head begin with; left unread where that is not wanted.
        default_weights: loads the published weights, as the origin writes them, and says where they came from; None
            where nobody can download any.
        no_weights: why not, and what can be had instead: one clause for the error.
        classes: names in label order.
        other_classes: those of other data sets that its origin trained it on, each of another number.
        preprocessing: what it was trained with, and what its sides must be multiples of.
        protocol: a name in `evaluation.protocols.PROTOCOLS`, by which its published numbers were taken.
        least_side: of an image, in pixels.
        size: (height, width) for which `export --list` counts.
        published: what the origin says it reaches or costs; `--list` shows it beside what is counted.
    """

    name: str
    description: str
    origin: str
    build: Callable[[int, bool], torch.nn.Module]
    recognises: Callable[[Shapes], bool]
    class_key: str
    adopt: Callable[[State], State] = _unchanged
    remarks: Callable[[Shapes], tuple[str, ...]] = _silent
    lookalikes: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    heads: tuple[str, ...] = (OUT, AUX)
    aux_by_default: bool = True
    aux_keys: str = "aux_classifier."
    default_weights: Callable[[], tuple[State, WeightsInfo]] | None = None
    no_weights: str = ""
    classes: tuple[str, ...] = VOC_CLASSES
    other_classes: tuple[tuple[str, ...], ...] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    protocol: str = "torchvision"
    least_side: int = 1
    size: tuple[int, int] = (520, 520)
    published: str = ""

    def heads_for(self, aux: bool | None) -> tuple[str, ...]:
        """The outputs that are exported, where the user asks for the auxiliary head, or not, or does not say.

        Raises:
            UsageError: it has no auxiliary head.
        """
        if aux and AUX not in self.heads:
            raise UsageError(f"{self.name} has no auxiliary head", fix="leave --aux out")
        return self.heads if (self.aux_by_default if aux is None else aux) else (OUT,)


def by_keys(has: Mapping[str, tuple[int | None, ...]], *, lacks: tuple[str, ...] = ()) -> Callable[[Shapes], bool]:
    """Recognise a checkpoint by some of its keys.

    Args:
        has: shapes by key; None stands for any number, such as that of the classes.
        lacks: keys of an architecture that has all of `has` too.
    """

    def recognises(shapes: Shapes) -> bool:
        return all(_fits(shapes.get(key), shape) for key, shape in has.items()) and not shapes.keys() & set(lacks)

    return recognises


def _fits(found: tuple[int, ...] | None, wanted: tuple[int | None, ...]) -> bool:
    return (
        found is not None
        and len(found) == len(wanted)
        and all(b is None or a == b for a, b in zip(found, wanted, strict=True))
    )
