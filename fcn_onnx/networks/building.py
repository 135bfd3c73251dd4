"""A network with its weights, ready to be traced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fcn_onnx.errors import MissingDependencyError, WeightsError
from fcn_onnx.jobs.artifact import digest_bytes, digest_file
from fcn_onnx.networks.architecture import Architecture, WeightsInfo
from fcn_onnx.networks.families import get_architecture

if TYPE_CHECKING:
    import torch

    from fcn_onnx.networks.architecture import State

RANDOM_SEED = 0
RANDOM_RESIDUAL_SCALE = 0.2


def build_network(arch: str, weights: str, *, aux: bool = True) -> tuple[torch.nn.Module, WeightsInfo]:
    """A network in evaluation mode, float32.

    Args:
        arch: a name in `families.NAMES`.
        weights: `DEFAULT` (published), `none` (random, seeded), or a checkpoint.
        aux: with the auxiliary head.

    Raises:
        UsageError: no such architecture.
        WeightsError: the weights cannot be had, read, or do not fit.
        MissingDependencyError: torch or torchvision is not installed.
    """
    architecture = get_architecture(arch)
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f"export needs torch, which does not import: {error}", fix="pip install 'fcn-onnx[export]'"
        ) from error
    from fcn_onnx.networks.weights import load_into

    state, info = _weights(architecture, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        network = architecture.build(len(architecture.classes), aux)
    if state is None:
        _calm_residuals(network)
    else:
        load_into(network, architecture.adopt(state), info.source, aux=aux, aux_keys=architecture.aux_keys)
    return network.float().eval(), info


def _weights(architecture: Architecture, weights: str) -> tuple[State | None, WeightsInfo]:
    """The state dict that is meant, as its origin writes it, and where it came from; None for random weights."""
    from fcn_onnx.networks.weights import read_checkpoint

    if weights == "none":
        name = f"random (seed {RANDOM_SEED})"
        return None, WeightsInfo(name, digest_bytes(name.encode()), random=True)
    if weights == "DEFAULT":
        if architecture.default_weights is None:
            raise WeightsError(
                f"there are no published weights of {architecture.name} to download: {architecture.no_weights}",
                fix="name a checkpoint with --weights FILE, or take random ones with --weights none",
            )
        return architecture.default_weights()
    path = Path(weights)
    return read_checkpoint(path), WeightsInfo(path.name, digest_file(path), random=False)


def _calm_residuals(network: torch.nn.Module) -> None:
    """Scale the last batch norm of each residual branch of an untrained network.

    As torchvision initialises them, every block doubles the variance in evaluation mode, and ResNet-101's logits
    reach 19,000: too large for float32 to agree within any useful absolute tolerance. (After the zero
    initialisation of Goyal et al. 2017, but not 0, which would leave channels dead.)
    """
    import torch

    with torch.no_grad():
        for name, module in network.named_modules():
            if name.endswith(".bn3") and isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(RANDOM_RESIDUAL_SCALE)
