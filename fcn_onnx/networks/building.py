"""A network with its weights, ready to be traced, and what its file will say of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.errors import MissingDependencyError, WeightsError
from fcn_onnx.jobs.artifact import digest_bytes, digest_file
from fcn_onnx.networks.architecture import AUX, OUT, Architecture, Shapes, WeightsInfo
from fcn_onnx.networks.families import get_architecture, recognising
from fcn_onnx.networks.names import Asked, asked_count, means, name_classes

if TYPE_CHECKING:
    import torch

    from fcn_onnx.networks.architecture import State
    from fcn_onnx.networks.checkpoints.checkpoint import Checkpoint

PUBLISHED, RANDOM = "DEFAULT", "none"
"""What `--weights` may say instead of naming a file."""

RANDOM_SEED = 0
RANDOM_NAME = f"random (seed {RANDOM_SEED}), batch norm settled on noise"
RANDOM_VERSION = 2
"""Raised where the same seed comes to mean other weights."""
SHOWN = 5


@dataclass(frozen=True)
class Built:
    """A network and what is known of it.

    Attributes:
        name: of the architecture, or of the factory that made it.
        network: in evaluation mode, float32. (N, 3, H, W) → a mapping with `heads`, each (N, channels, H, W) logits.
        heads: `out`, and `aux` where it is exported.
        channels: of each head: the number of classes, or 1 where that is the score of the second of two.
        classes: names in label order.
        preprocessing: how photographs are shown to it.
        weights: where they came from.
        protocol: by which its origin measured; None where there is no origin.
        least_side: of an image, in pixels.
        notes: what was found, assumed or left out.
    """

    name: str
    network: torch.nn.Module
    heads: tuple[str, ...]
    channels: int
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    weights: WeightsInfo
    protocol: str | None = None
    least_side: int = 1
    notes: tuple[str, ...] = ()


def require_torch() -> None:
    """Raise MissingDependencyError unless torch imports."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"export needs torch, which does not import: {error}", fix="pip install 'fcn-onnx[export]'"
        ) from error


def names_file(weights: str) -> bool:
    """Whether `--weights` names a checkpoint."""
    return weights not in (PUBLISHED, RANDOM)


def build_network(arch: str | None, weights: str, *, aux: bool | None = None, classes: Asked = None) -> Built:
    """A network of the table.

    Args:
        arch: a name in `families.NAMES`; None to recognise the checkpoint.
        weights: `DEFAULT` (published), `none` (random, seeded), or a checkpoint.
        aux: with the auxiliary head or without; None as its origin has it, and without where the weights have none.
        classes: their names or number; None as many as the weights are for.

    Raises:
        UsageError: no such architecture, or head.
        WeightsError: the weights cannot be had, read, or do not fit.
        MissingDependencyError: torch or torchvision is not installed.
    """
    architecture = get_architecture(arch) if arch else None
    asked_count(classes)
    require_torch()
    from fcn_onnx.networks.checkpoints.prefixes import unprefixed
    from fcn_onnx.networks.checkpoints.reading import read_checkpoint
    from fcn_onnx.networks.randomness import settle
    from fcn_onnx.networks.weights import load_into

    state: State | None
    path = Path(weights)
    read = read_checkpoint(path) if names_file(weights) else None
    if read is not None:
        read = unprefixed(read, path.name, lambda state: any(recognising(shapes_of(state))))
        state, info = read.state, WeightsInfo(path.name, digest_file(path), random=False, format=read.format)
        architecture = _architecture_of(read, path.name, architecture)
    elif architecture is None:
        raise WeightsError("no checkpoint is named whose network could be recognised", fix="name one, or --arch NAME")
    else:
        state, info = _weights_by_name(architecture, weights)
    heads, notes = architecture.heads_for(aux), _remarks(read, architecture, named=bool(arch)) if read else ()
    state = None if state is None else architecture.adopt(state)
    headless = state is not None and not any(key.startswith(architecture.aux_keys) for key in state)
    if headless and aux is None and AUX in heads:
        heads = (OUT,)
        notes = (*notes, f"the weights of {info.source} have no auxiliary head, and none is exported")
    channels = _channels(architecture, state, classes, info.source)
    known = (read.classes if read else (), architecture.classes, *architecture.other_classes)
    names, assumed = name_classes(channels, classes, *known)
    network = _seeded(architecture, channels, aux=AUX in heads)
    if state is None:
        settle(network, architecture.preprocessing.multiple_of)
    else:
        load_into(network, state, info.source, aux=AUX in heads, aux_keys=architecture.aux_keys)
    return Built(
        name=architecture.name,
        network=network.float().eval(),
        heads=heads,
        channels=channels,
        classes=names,
        preprocessing=architecture.preprocessing,
        weights=info,
        protocol=architecture.protocol,
        least_side=architecture.least_side,
        notes=(*notes, *assumed),
    )


def _seeded(architecture: Architecture, channels: int, *, aux: bool) -> torch.nn.Module:
    """The network with the random weights of our seed; the caller's random numbers go on as they were."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        return architecture.build(channels, aux)


def shapes_of(state: State) -> Shapes:
    """The shape of every tensor by its key."""
    return {key: tuple(value.shape) for key, value in state.items()}


def _architecture_of(read: Checkpoint, source: str, wanted: Architecture | None) -> Architecture:
    """The architecture that a checkpoint is of.

    Raises:
        WeightsError: it is of another one than `wanted`, or of none that is known, where none is wanted; or it says of
            itself that it is of one that merely has the same keys.
    """
    found = _recognised(shapes_of(read.state), source, wanted)
    for pattern, other in found.lookalikes.items():
        if re.search(pattern, source) or re.search(pattern, read.config):
            raise WeightsError(
                f"{source} is of {other}, which has the keys of {found.name} and computes something else",
                fix="bring that network with --network",
            )
    return found


def _remarks(read: Checkpoint, architecture: Architecture, named: bool) -> tuple[str, ...]:
    """What is to be said of a checkpoint; also of other architectures with the same keys, where none is named."""
    shapes = shapes_of(read.state)
    twins = [one.name for one in recognising(shapes) if one is not architecture and not named]
    others = (f"{' and '.join(twins)} has the same keys: --arch says so where it is meant",) if twins else ()
    return (*read.notes, *architecture.remarks(shapes), *others)


def _recognised(shapes: Shapes, source: str, wanted: Architecture | None) -> Architecture:
    """The architecture that has these keys; raises WeightsError where none has, or another than is wanted."""
    if wanted is not None and wanted.recognises(shapes):
        return wanted
    found = next(recognising(shapes), None)
    if wanted is None and found is None:
        shown = ", ".join(list(shapes)[:SHOWN]) + (" …" if len(shapes) > SHOWN else "")
        raise WeightsError(
            f"{source} is a checkpoint of no network that is known here; its keys are {shown}",
            fix="say which it is with --arch NAME (--list shows them), or bring your own with --network",
        )
    if wanted is not None and found is not None:
        raise WeightsError(
            f"{source} holds no weights of {wanted.name}: these are the keys of {found.name}",
            fix=f"use --arch {found.name}",
        )
    return found or wanted  # type: ignore[return-value]  # one of them there is


def _weights_by_name(architecture: Architecture, weights: str) -> tuple[State | None, WeightsInfo]:
    """The published state dict, as its origin writes it, and where it came from; None for random weights."""
    if weights == RANDOM:
        return None, WeightsInfo(RANDOM_NAME, digest_bytes(f"{RANDOM_NAME} {RANDOM_VERSION}".encode()), random=True)
    if architecture.default_weights is None:
        raise WeightsError(
            f"there are no published weights of {architecture.name} to download: {architecture.no_weights}",
            fix="name a checkpoint with --weights FILE, or take random ones with --weights none",
        )
    return architecture.default_weights()


def _channels(architecture: Architecture, state: State | None, asked: Asked, source: str) -> int:
    """Channels of the heads: as many as the weights have, else as asked for, else as the origin has.

    Raises:
        WeightsError: the weights have another number than is asked for.
    """
    count = asked_count(asked)
    if state is None or architecture.class_key not in state:
        return count or len(architecture.classes)
    channels = int(state[architecture.class_key].shape[0])
    if count is not None and not means(channels, count):
        raise WeightsError(
            f"the weights of {source} are for {channels} classes, and --classes says {count}",
            fix="leave --classes out, or bring weights of so many classes",
        )
    return channels
