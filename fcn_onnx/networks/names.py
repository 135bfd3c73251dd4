"""What a user's network and the classes of any network are called."""

from __future__ import annotations

from fcn_onnx.data.label_spaces import default_classes
from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.errors import UsageError
from fcn_onnx.model.interface import MAX_CLASSES

Asked = tuple[str, ...] | int | None
"""What a user says of the classes: their names, how many, or nothing."""


EXAMPLE = "my_unet:build, where my_unet.py lies here and build() returns a torch.nn.Module"


def factory_parts(place: str) -> tuple[str, str]:
    """The module and the name in `package.module:factory`.

    Raises:
        UsageError: it is written otherwise.
    """
    module, _, name = place.partition(":")
    if not all(part.isidentifier() for part in f"{module}.{name}".split(".")):
        raise UsageError(f"--network {place} is not package.module:factory", fix=f"write it as {EXAMPLE}")
    return module, name


def asked_count(asked: Asked) -> int | None:
    """How many classes the user wants; None if they do not say.

    Raises:
        UsageError: more than labels in 8 bits tell apart, or fewer than two.
    """
    count = len(asked) if isinstance(asked, tuple) else asked
    if count is not None and not 2 <= count <= MAX_CLASSES:
        raise UsageError(f"--classes says {count}", fix=f"2 to {MAX_CLASSES} classes can be told apart")
    return count


def means(channels: int, count: int) -> bool:
    """Whether so many channels are scores of so many classes: one channel is the score of the second of two."""
    return max(channels, 2) == count


def name_classes(channels: int, asked: Asked, *known: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names for the classes of a network of so many channels, and what has been assumed, in words.

    Args:
        asked: what the user says; its number fits the channels.
        known: names that somebody else gives, the surest first; those of another number are passed over.
    """
    if isinstance(asked, tuple):
        return asked, ()
    for names in known:
        if means(channels, len(names)):
            return names, ()
    names = default_classes(channels)
    if names == VOC_CLASSES:
        return names, (f"{len(names)} classes, taken to be VOC's (--classes FILE names others)",)
    return names, (f"{len(names)} classes, called {names[0]}, {names[1]}, … (--classes FILE names them)",)
