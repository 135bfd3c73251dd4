"""What a network of unknown make returns: tried on a small image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fcn_onnx.errors import NetworkError, first_line
from fcn_onnx.model.interface import MAX_CLASSES
from fcn_onnx.networks.architecture import AUX, OUT
from fcn_onnx.networks.tracing import EXAMPLE_SIZE, legal_size

LOGITS = "logits"
MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)
RATIOS = (1, 2, 4, 8, 16, 32, 64)
"""Of the input's sides to the output's."""


@dataclass(frozen=True)
class Found:
    """What a network was found to return.

    Attributes:
        channels: of its logits.
        ratios: of its input's sides to those of each head, by name; 1 where they are equal.
        multiple_of: what its sides must be multiples of.
    """

    channels: int
    ratios: Mapping[str, int]
    multiple_of: int


def read_heads(value: Any, name: str | None) -> dict[str, torch.Tensor]:
    """The tensors in what a network returned: `out`, and `aux` where there is a second of as many channels.

    A tensor is `out`; of a tuple or a list the first is, and the second `aux`; of a mapping, or of an object with
    attributes, `name` is, else `out`, `logits`, or the only tensor.

    Raises:
        ValueError: there is no such tensor, or it is not clear which it is.
    """
    if isinstance(value, torch.Tensor):
        return {OUT: value}
    if isinstance(value, tuple | list) and name is None:
        tensors = list(value)
    else:
        fields = value if isinstance(value, Mapping) else vars(value) if hasattr(value, "__dict__") else {}
        known = {str(key): tensor for key, tensor in fields.items() if isinstance(tensor, torch.Tensor)}
        wanted = [name] if name else [OUT, LOGITS, *(known if len(known) == 1 else ())]
        key = next((key for key in wanted if key in known), None)
        if key is None:
            raise ValueError(
                f"{type(value).__name__} of {', '.join(known) or 'no tensor'}"
                + (f", without {name}" if name else ", of which none is out or logits")
            )
        tensors = [known[key], known.get(AUX)]
    if not tensors or not isinstance(tensors[0], torch.Tensor):
        raise ValueError(f"{type(value).__name__} that does not begin with a tensor")
    out, *others = tensors
    second = others[0] if others else None
    if isinstance(second, torch.Tensor) and second.ndim == 4 and second.shape[:2] == out.shape[:2]:
        return {OUT: out, AUX: second}
    return {OUT: out}


def probe(
    network: torch.nn.Module,
    called: str,
    name: str | None,
    size: tuple[int, int] | None,
    multiple_of: int | None,
) -> Found:
    """Run a network on seeded noise and see what it returns.

    Where it takes any size, and fails on odd ones, multiples of powers of two are tried.

    Args:
        called: what errors call it.
        name: see `read_heads`.
        size: the one (height, width) that it takes.
        multiple_of: what its sides must be multiples of, where that is known.

    Raises:
        NetworkError: it fails, or does not return logits, (N, classes, H, W) float32, at any of them.
    """
    first: NetworkError | None = None
    for multiple in (multiple_of or 1,) if size or multiple_of else MULTIPLES:
        image = torch.randn(2, 3, *(size or legal_size(EXAMPLE_SIZE, multiple)))
        try:
            return _tried(network, called, name, image, multiple)
        except NetworkError as error:
            first = first or error
    assert first is not None
    raise first


def _tried(network: torch.nn.Module, called: str, name: str | None, image: torch.Tensor, multiple: int) -> Found:
    shape = "×".join(map(str, image.shape))
    try:
        with torch.no_grad():
            returned = network(image)
    except Exception as error:  # whatever the user's code raises
        raise NetworkError(
            f"{called} fails on images of {shape}: {type(error).__name__}: {first_line(error)}",
            fix="correct it, or say with --size or --multiple-of which sizes it takes",
        ) from error
    try:
        heads = read_heads(returned, name)
    except ValueError as error:
        raise NetworkError(
            f"{called} returns a {error}", fix="name the one with the logits with --output-name, or return a tensor"
        ) from error
    out = heads[OUT]
    ratios = {head: ratio for head, value in heads.items() if (ratio := _ratio(value, image))}
    if out.ndim != 4 or not out.is_floating_point() or len(out) != len(image) or out.shape[1] > MAX_CLASSES:
        raise NetworkError(
            f"{called} returns {str(out.dtype).removeprefix('torch.')} {tuple(out.shape)} for {tuple(image.shape)}",
            fix="have it return logits, (N, classes, H, W); --output-labels makes labels of them",
        )
    if OUT not in ratios:
        raise NetworkError(
            f"{called} returns {out.shape[2]}×{out.shape[3]} for images of {image.shape[2]}×{image.shape[3]}",
            fix="have it return logits of its input's size, or of a half, a quarter, an eighth … of it",
        )
    return Found(int(out.shape[1]), ratios, multiple)


def _ratio(value: torch.Tensor, image: torch.Tensor) -> int | None:
    """Of the image's sides to the value's, rounded either way; None where it is no power of two."""
    found, sides = tuple(value.shape[2:]), tuple(image.shape[2:])
    for ratio in RATIOS:
        if found in (tuple(side // ratio for side in sides), tuple(-(-side // ratio) for side in sides)):
            return ratio
    return None
