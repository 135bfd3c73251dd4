"""A torch network of the user's own: `--network package.module:factory`."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import reduce
from importlib import import_module
from pathlib import Path

import torch

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.errors import MissingDependencyError, NetworkError, UsageError, first_line
from fcn_onnx.jobs.artifact import digest_file
from fcn_onnx.model.interface import InputHints
from fcn_onnx.networks.architecture import AUX, OUT, WeightsInfo
from fcn_onnx.networks.building import PUBLISHED, RANDOM_SEED, Built, names_file
from fcn_onnx.networks.checkpoints.checkpoint import Checkpoint
from fcn_onnx.networks.checkpoints.prefixes import unprefixed
from fcn_onnx.networks.checkpoints.reading import read_checkpoint
from fcn_onnx.networks.names import EXAMPLE, Asked, asked_count, factory_parts, means, name_classes
from fcn_onnx.networks.probing import Found, probe, read_heads
from fcn_onnx.networks.torchvision_compat import import_torchvision
from fcn_onnx.networks.weights import load_into


def build_own(
    place: str,
    weights: str,
    *,
    aux: bool,
    classes: Asked,
    output_name: str | None,
    size: tuple[int, int] | None,
    hints: InputHints,
) -> Built:
    """The network that the user's code makes, wrapped so that it returns logits of its input's size by name.

    Args:
        place: `package.module:factory`, a module or something that returns one when called; found from the working
            folder too. Its code runs.
        weights: `DEFAULT` or `none`, what the factory gives, after torch was seeded; or a checkpoint.
        aux: with the second head that it returns.
        classes: their names or number.
        output_name: what is read of what it returns by name.
        size: the one (height, width) that it takes; None if it takes any.
        hints: how it takes photographs.

    Raises:
        UsageError: there is no such module or name.
        NetworkError: it fails, or does not return logits.
        WeightsError: the checkpoint cannot be read or does not fit.
    """
    count = asked_count(classes)
    with _importable_here(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        network = _made(place).cpu().float().eval()
        info, read = _load(network, place, weights)
        found = probe(network, f"--network {place}", output_name, size, hints.multiple_of)
    if count is not None and not means(found.channels, count):
        raise NetworkError(
            f"--network {place} returns {found.channels} channels, and --classes says {count}",
            fix="leave --classes out, or name as many classes as it has",
        )
    if aux and AUX not in found.ratios:
        raise NetworkError(f"--network {place} returns no second head", fix="leave --aux out")
    heads = (OUT, AUX) if aux else (OUT,)
    names, assumed = name_classes(found.channels, classes, _stated_names(network), read.classes if read else ())
    return Built(
        name=factory_parts(place)[1].rpartition(".")[2],
        network=_named_outputs(network, output_name, heads, found),
        heads=heads,
        channels=found.channels,
        classes=names,
        preprocessing=Preprocessing(multiple_of=found.multiple_of if found.multiple_of > 1 else None),
        weights=info,
        notes=(*(read.notes if read else ()), *assumed, *_notes(found, heads, hints)),
    )


def _made(place: str) -> torch.nn.Module:
    module_name, name = factory_parts(place)
    with suppress(MissingDependencyError):
        import_torchvision()  # first, by us: beside a torch of another build nobody else can, and timm wants it
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _failed(f"the module {module_name}", "does not import", error) from error
        raise UsageError(
            f"--network {place}: there is no module {error.name} in {Path.cwd()} or among the installed packages",
            fix=f"name it as {EXAMPLE}",
        ) from error
    except (Exception, SystemExit) as error:
        raise _failed(f"the module {module_name}", "does not import", error) from error
    try:
        factory = reduce(getattr, name.split("."), module)
    except AttributeError as error:
        public = [key for key in vars(module) if not key.startswith("_") and callable(vars(module)[key])]
        raise UsageError(
            f"--network {place}: {module_name} ({module.__file__}) has no {name}",
            fix=f"it has {', '.join(public) or 'nothing that could be called'}",
        ) from error
    if isinstance(factory, torch.nn.Module):
        return factory
    if not callable(factory):
        raise UsageError(
            f"--network {place} is a {type(factory).__name__}", fix="name a torch.nn.Module, or what returns one"
        )
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise _failed(f"{place}()", "raises", error) from error
    if not isinstance(made, torch.nn.Module):
        raise UsageError(f"--network {place} returns a {type(made).__name__}", fix="have it return a torch.nn.Module")
    return made


def _failed(what: str, how: str, error: BaseException) -> NetworkError:
    """An error of the user's own code, with the line that raised it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames[1:] else ""
    return NetworkError(
        f"--network: {what} {how} {type(error).__name__}: {first_line(error)}{where}", fix="correct it, and try again"
    )


@contextmanager
def _importable_here() -> Iterator[None]:
    """Modules in the working folder are found, before all others."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _load(network: torch.nn.Module, place: str, weights: str) -> tuple[WeightsInfo, Checkpoint | None]:
    """Where the weights came from; and the checkpoint, if they are of one."""
    if names_file(weights):
        path = Path(weights)
        own = {key for key in network.state_dict() if not key.endswith("num_batches_tracked")}
        read = unprefixed(read_checkpoint(path), path.name, lambda state: own <= state.keys())
        info = WeightsInfo(path.name, digest_file(path), random=False, format=read.format)
        load_into(network, read.state, info.source, fix=f"these are not the weights of {place}")
        return info, read
    source = f"as {place} gives them" if weights == PUBLISHED else f"random (seed {RANDOM_SEED}), as {place} gives them"
    return WeightsInfo(source, _digest(network.state_dict()), random=weights != PUBLISHED), None


def _digest(state: Mapping[str, torch.Tensor]) -> str:
    total = hashlib.sha256()
    for key, value in state.items():
        total.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{total.hexdigest()}"


def _stated_names(network: torch.nn.Module) -> tuple[str, ...]:
    """Class names that the network has on it: Hugging Face's `config.id2label`, mmsegmentation's `dataset_meta`."""
    labels = getattr(getattr(network, "config", None), "id2label", None)
    if isinstance(labels, Mapping) and set(labels) == set(range(len(labels))):
        names = tuple(str(labels[index]) for index in range(len(labels)))
        return names if len(set(names)) == len(names) else ()
    meta = getattr(network, "dataset_meta", None)
    return tuple(map(str, meta.get("classes") or ())) if isinstance(meta, Mapping) else ()


def _named_outputs(
    network: torch.nn.Module, output_name: str | None, heads: tuple[str, ...], found: Found
) -> torch.nn.Module:
    class NamedOutputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = network

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            returned = read_heads(self.own(x), output_name)
            return {head: self.resized(returned[head], found.ratios[head], x) for head in heads}

        @staticmethod
        def resized(logits: torch.Tensor, ratio: int, x: torch.Tensor) -> torch.Tensor:
            if ratio == 1:
                return logits
            return torch.nn.functional.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)

    return NamedOutputs().eval()


def _notes(found: Found, heads: tuple[str, ...], hints: InputHints) -> Iterator[str]:
    for head in heads:
        if found.ratios[head] > 1:
            yield f"{head} has 1/{found.ratios[head]} of the input's size and is upsampled to it, bilinearly"
    if AUX in found.ratios and AUX not in heads:
        yield "its second head is left out (--aux exports it)"
    if found.multiple_of > 1 and hints.multiple_of is None:
        yield f"sides must be multiples of {found.multiple_of}, as was found by trying (--multiple-of says otherwise)"
    if hints.mean is None and hints.std is None:
        yield "normalised as ImageNet is (--mean, --std say otherwise)"
