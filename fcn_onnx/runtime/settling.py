"""What a model leaves open is settled before any work, and said: normalisation, sides, batch, classes.

A model of ours says all of it in its card, and none of this is needed; of another file, what nobody said is assumed or
tried out, and the user reads which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import lcm
from typing import TypeVar

import numpy as np

from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.jobs.progress import Progress
from fcn_onnx.model.form import image_layout, own_normalisation, takes_pixels
from fcn_onnx.model.interface import CHANNELS, Interface
from fcn_onnx.model.model import Model
from fcn_onnx.runtime.interface import preprocessing_of
from fcn_onnx.runtime.network import Network
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.segmenter import Segmenter

T = TypeVar("T")

LARGEST_MULTIPLE = 128
TRIED = 128
"""Pixels of the sides of what a network of any size is tried on."""


def settle(
    models: Sequence[Model], interface: Interface, progress: Progress, *, config: SessionConfig = SessionConfig()
) -> Interface:
    """What is true of `models`, which are shown the same images: `interface`, and what was found out.

    The first model whose card says how images are prepared speaks for all; where none does, the first is tried out.

    Raises:
        ModelError: one cannot be read or run, or returns another number of classes than `interface` or its card names.
    """
    for model in models:
        _require_sayable(model, interface)
    _say_input(models[0], progress)
    known = [model for model in models if model.card.preprocessing is not None]
    if not known:
        return _tried(models[0], interface, progress, config)
    said = [preprocessing_of(model.proto, model.name) for model in known]
    multiples = lcm(*(own.multiple_of for own in said if own.multiple_of))
    if interface.multiple_of is None and multiples > 1:
        interface = replace(interface, multiple_of=multiples)
    if len(known) < len(models):  # some say nothing, and are shown what the others are
        interface = replace(
            interface,
            mean=interface.mean or _one({own.mean for own in said if own.divisor != 1}),
            std=interface.std or _one({own.std for own in said if own.divisor != 1}),
            channels=interface.channels or _one({own.channels for own in said if own.channels in CHANNELS}),
        )
    output = _one({model.card.output for model in models if model.card.output})
    if all(any(value.name == output for value in model.proto.graph.output) for model in models):
        interface = replace(interface, output_name=interface.output_name or output)
    for model in models if interface.classes else ():
        Segmenter(model, config, interface)
    return interface


def _one(said: set[T]) -> T | None:
    """What all say, if they agree."""
    return next(iter(said)) if len(said) == 1 else None


def _tried(model: Model, interface: Interface, progress: Progress, config: SessionConfig) -> Interface:
    """A model without a card, run on an empty image."""
    segmenter = Segmenter(model, config, interface)
    _say_normalisation(model, interface, progress)
    form = segmenter.network.form
    if interface.multiple_of is None:
        interface = replace(interface, multiple_of=tried_multiple(segmenter.network, progress))
    if form.batch is not None and form.batch > 1:
        progress.note(
            f"{model.name} takes {form.batch} images at a time: each is given {form.batch} times, and latencies are "
            "those of a batch"
        )
    if not segmenter.named:
        progress.note(f"{model.name} does not name its classes: {_listed(segmenter.classes)}; --classes says otherwise")
    if not segmenter.knows_classes:
        height, width = (own or TRIED for own in form.size)
        fitting = Segmenter(model, config, interface)
        fitting.require_classes(fitting.run(np.zeros((1, form.layout.channels, height, width), np.float32)))
    return interface


def _say_normalisation(model: Model, interface: Interface, progress: Progress) -> None:
    if takes_pixels(model.proto) or (interface.mean is not None and interface.std is not None):
        return
    used = preprocessing_of(model.proto, model.name, interface)
    progress.note(
        f"{model.name} does not say how its input is normalised: (x / 255 - mean) / std is assumed, with mean "
        f"{_numbers(used.mean)} and std {_numbers(used.std)}, which ImageNet's networks take; --mean and --std say "
        "otherwise"
    )
    if node := own_normalisation(model.proto):
        progress.note(
            f"WARNING: the graph of {model.name} starts by normalising its input itself ({node}), so that it is done "
            "twice: if it takes 0 … 1, give --mean 0,0,0 --std 1,1,1; if 0 … 255, "
            "--std 0.00392157,0.00392157,0.00392157"
        )


def _require_sayable(model: Model, interface: Interface) -> None:
    """Raise UsageError where the user says of the input what it has no room for."""
    said: dict[str, object] = {"--mean": interface.mean, "--std": interface.std} if takes_pixels(model.proto) else {}
    if image_layout(model.proto).channels == 1:
        said["--channels"] = interface.channels
    for option, value in said.items():
        if value is not None:
            what = "has one channel" if option == "--channels" else "takes pixels 0 … 255 and normalises them itself"
            raise UsageError(f"{model.name} {what}, which contradicts {option}", fix=f"leave {option} out")


def _say_input(model: Model, progress: Progress) -> None:
    """What is unusual about the input, and done about it."""
    if takes_pixels(model.proto):
        progress.note(f"{model.name} takes pixels 0 … 255 as they are: nothing is normalised before it")
    if image_layout(model.proto).channels == 1:
        progress.note(f"{model.name} takes one channel: photographs are made grey, 0.299 R + 0.587 G + 0.114 B")


def known_multiple(model: Model) -> int | None:
    """What the card of `model` says its sides must be multiples of; 1 if it says that it takes any, None if nothing."""
    said = model.card.preprocessing is not None
    return preprocessing_of(model.proto, model.name).multiple_of or 1 if said else None


def tried_multiple(network: Network, progress: Progress) -> int | None:
    """What the sides of a network of any size must be multiples of, by running it; None if of nothing, or not found."""
    if network.form.size != (None, None):
        return None
    found = find_multiple(network)
    if found is None:
        progress.note(
            f"{network.name} runs on no size that was tried, multiples of up to {LARGEST_MULTIPLE} among them: "
            "--multiple-of says what its sides must be"
        )
    elif found > 1:
        progress.note(
            f"{network.name} runs where both sides are multiples of {found}: images are padded to that with the mean "
            "colour, to the right and below, and the result is cropped (--multiple-of says otherwise)"
        )
        return found
    return None


def find_multiple(network: Network) -> int | None:
    """The smallest power of two, up to 128, for which the network runs where both sides are multiples; None if none.

    Each is tried at the two sizes (128 + m) × (128 - m) and (128 - m) × (128 + m). Over m one side is 2ᵏ + 1 and the
    other 2ᵏ - 1, so that what halves them, rounding up or down, meets an odd number at every further level.
    """
    multiple = 1
    while multiple <= LARGEST_MULTIPLE:
        larger, smaller = LARGEST_MULTIPLE + multiple, max(LARGEST_MULTIPLE - multiple, multiple)
        if all(_runs(network, size) for size in ((larger, smaller), (smaller, larger))):
            return multiple
        multiple *= 2
    return None


def _runs(network: Network, size: tuple[int, int]) -> bool:
    try:
        network.run(np.zeros((1, network.form.layout.channels, *size), np.float32))
    except ModelError:
        return False
    return True


def _numbers(values: tuple[float, float, float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def _listed(classes: tuple[str, ...]) -> str:
    if len(classes) <= 2:
        return " and ".join(classes)
    return f"{len(classes)} are called {classes[0]}, {classes[1]}, …, {classes[-1]}"
