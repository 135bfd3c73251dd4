"""Networks by name. The names are known without torch; building one imports it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import VOC_CLASSES
from fcn_onnx.errors import MissingDependencyError, UsageError
from fcn_onnx.jobs.artifact import digest_bytes, digest_file

if TYPE_CHECKING:
    import torch

RANDOM_SEED = 0
RANDOM_RESIDUAL_SCALE = 0.2


@dataclass(frozen=True)
class WeightsInfo:
    """Where a network's weights came from.

    Attributes:
        source: a file name, the name of published weights, or `random (seed N)`.
        digest: of the file, or of the published file's name, which carries its own hash.
        random: nothing was trained.
    """

    source: str
    digest: str
    random: bool

    def to_json(self) -> dict[str, Any]:
        """As recorded in the model card."""
        return {"source": self.source, "digest": self.digest, "random": self.random}


@dataclass(frozen=True)
class Architecture:
    """A network that can be exported.

    Attributes:
        name: as `export --arch` takes it.
        description: one line for `--help`.
        build: makes the network with random weights; argument: whether it has an auxiliary head. Its forward
            takes (N, 3, H, W) float32 and returns a mapping with `out` and `aux`, (N, classes, H, W) float32.
        default_weights: loads the published state dict and says where it came from.
        classes: names in label order.
        preprocessing: what the network was trained with.
    """

    name: str
    description: str
    build: Callable[[bool], torch.nn.Module]
    default_weights: Callable[[], tuple[Mapping[str, torch.Tensor], WeightsInfo]]
    classes: tuple[str, ...] = VOC_CLASSES
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


def _tiny(aux: bool) -> torch.nn.Module:
    from fcn_onnx.networks.tiny import build_tiny

    return build_tiny(aux)


def _tiny_weights() -> tuple[Mapping[str, torch.Tensor], WeightsInfo]:
    from fcn_onnx.networks.weights import read_checkpoint

    path = Path(__file__).with_name("tiny_weights.pth")
    return read_checkpoint(path), WeightsInfo("fcn-onnx tiny", digest_file(path), random=False)


def _torchvision(arch: str) -> Callable[[bool], torch.nn.Module]:
    def build(aux: bool) -> torch.nn.Module:
        from fcn_onnx.networks.torchvision_fcn import build_fcn

        return build_fcn(arch, aux)

    return build


def _torchvision_weights(arch: str) -> Callable[[], tuple[Mapping[str, torch.Tensor], WeightsInfo]]:
    def load() -> tuple[Mapping[str, torch.Tensor], WeightsInfo]:
        from fcn_onnx.networks.torchvision_fcn import published_weights

        state, name = published_weights(arch)
        return state, WeightsInfo(name, digest_bytes(name.encode()), random=False)

    return load


ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "resnet50",
            "torchvision FCN ResNet-50, 35.3 M parameters, 152.7 GMAC at 520×520",
            _torchvision("resnet50"),
            _torchvision_weights("resnet50"),
        ),
        Architecture(
            "resnet101",
            "torchvision FCN ResNet-101, 54.3 M parameters, 232.7 GMAC at 520×520",
            _torchvision("resnet101"),
            _torchvision_weights("resnet101"),
        ),
        Architecture(
            "tiny",
            "an FCN built like them and trained on synthetic scenes, for demo and tests",
            _tiny,
            _tiny_weights,
        ),
    )
}


def get_architecture(name: str) -> Architecture:
    """The architecture called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in ARCHITECTURES:
        raise UsageError(f"no architecture is called {name!r}", fix=f"choose one of: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def build_network(arch: str, weights: str, *, aux: bool = True) -> tuple[torch.nn.Module, WeightsInfo]:
    """A network in evaluation mode, float32.

    Args:
        arch: a name in `ARCHITECTURES`.
        weights: `DEFAULT` (published), `none` (random, seeded), or a `.pth` file.
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
    from fcn_onnx.networks.weights import load_into, read_checkpoint

    state: Mapping[str, torch.Tensor] | None
    if weights == "none":
        name = f"random (seed {RANDOM_SEED})"
        state, info = None, WeightsInfo(name, digest_bytes(name.encode()), random=True)
    elif weights == "DEFAULT":
        state, info = architecture.default_weights()
    else:
        path = Path(weights)
        state = read_checkpoint(path)
        info = WeightsInfo(path.name, digest_file(path), random=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        network = architecture.build(aux)
    if state is None:
        _calm_residuals(network)
    else:
        load_into(network, state, info.source, aux=aux)
    return network.float().eval(), info


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
