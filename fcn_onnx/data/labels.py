"""What labels mean: the names of the classes, and which of them, if any, is where nothing is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.reading import read_text
from fcn_onnx.model.interface import MAX_CLASSES

VOID = 255
"""Label of pixels that no protocol scores; a data set with another one for them maps it to this."""

VOC_CLASSES: tuple[str, ...] = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The 21 classes of PASCAL VOC in label order, background first."""

BACKGROUNDS = frozenset({"background", "unlabelled", "unlabeled", "nothing", "none", "other", "others"})
"""What a first class is called that is where no other is, in small letters without the underscores around it."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelSpace:
    """The labels of a data set or a network.

    Attributes:
        names: of the classes, in label order; different, and 1 to 255 of them.
        background: the label of what is none of the other classes. It is scored like any class; it is no find of a
            picture, and is not drawn. None where every class is something.
        colours: R, G, B of each class; where there are none, the VOC palette's.

    Raises:
        UsageError: too many classes for labels of 8 bits, two of one name, or a background that is none of them.
    """

    names: tuple[str, ...]
    background: int | None = None
    colours: tuple[Colour, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= MAX_CLASSES:
            raise UsageError(
                f"there are {len(self.names)} classes; labels have 8 bits, of which {VOID} is void",
                fix=f"name 1 to {MAX_CLASSES}",
            )
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise UsageError(f"two classes are called {twice!r}", fix="reports go by their names: rename one")
        if self.background is not None and not 0 <= self.background < len(self.names):
            raise UsageError(f"the background is label {self.background} of {len(self.names)}", fix="correct it")
        if self.colours and len(self.colours) != len(self.names):
            raise UsageError(f"there are {len(self.colours)} colours for {len(self.names)} classes", fix="correct them")

    @classmethod
    def of(cls, names: tuple[str, ...]) -> LabelSpace:
        """Of classes of which only the names are known: label 0 is background if it is called so, see `BACKGROUNDS`."""
        first = names[0].strip("_ ").lower() if names else ""
        return cls(names, 0 if first in BACKGROUNDS else None)

    @property
    def nothing(self) -> frozenset[int]:
        """Labels that are no find: void, and the background where there is one."""
        return frozenset({VOID} if self.background is None else {VOID, self.background})

    @property
    def things(self) -> tuple[int, ...]:
        """Labels that are."""
        return tuple(label for label in range(len(self.names)) if label != self.background)


VOC = LabelSpace.of(VOC_CLASSES)


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names from a text file: one a line in label order; empty lines do not count.

    Raises:
        UsageError: the file cannot be read, names fewer than two or more than 255 classes, or one twice.
    """
    try:
        names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the classes in {path} cannot be read: {error}", fix="name a text file, one class a line"
        ) from error
    if not 2 <= len(names) <= MAX_CLASSES or len(set(names)) < len(names):
        raise UsageError(
            f"{path} names {len(names)} classes, {len(set(names))} of them different",
            fix=f"write 2 to {MAX_CLASSES} different names, one a line; labels have 8 bits, of which {VOID} is void",
        )
    return names
