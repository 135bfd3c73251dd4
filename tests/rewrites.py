"""Networks written out with `torch.nn.functional` on a state dict, to compare modules with; and counts of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

import torch
from torch import nn
from torch.nn import functional as f

State = Mapping[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def seeded(network: nn.Module) -> nn.Module:
    """In evaluation mode, with statistics and parameters of batch norms that are not those of an identity.

    The last of a residual branch is small, or the values grow with every block.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.weight, 0.5, 1.2),
                    (module.bias, -0.3, 0.3),
                    (module.running_mean, -0.3, 0.3),
                    (module.running_var, 0.5, 1.5),
                ):
                    tensor.uniform_(low, high, generator=generator)
                if name.endswith("bn3"):
                    module.weight *= 0.3
    return network.eval()


def pictures(*shape: int) -> torch.Tensor:
    """Normal values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def conv(state: State, name: str, x: torch.Tensor, stride: int = 1, dilation: int = 1) -> torch.Tensor:
    """With the padding that keeps the size."""
    weight = state[f"{name}.weight"]
    padding = (weight.shape[2] - 1) // 2 * dilation
    return f.conv2d(x, weight, state.get(f"{name}.bias"), stride, padding, dilation)


def norm(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    """By its definition."""
    mean, var, weight, bias = (
        state[f"{name}.{kind}"][:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def conv_norm_relu(
    state: State, conv_name: str, norm_name: str, x: torch.Tensor, stride: int = 1, dilation: int = 1
) -> torch.Tensor:
    return f.relu(norm(state, norm_name, conv(state, conv_name, x, stride, dilation)))


def stages(state: State, prefix: str, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """What `layer1` to `layer4` return: stride 8, the first bottleneck of the last two with the dilation before."""
    for stage, stride, first, others in ((1, 1, 1, 1), (2, 2, 1, 1), (3, 1, 1, 2), (4, 1, 2, 4)):
        block = 0
        while f"{prefix}layer{stage}.{block}.conv1.weight" in state:
            own = f"{prefix}layer{stage}.{block}"
            down, dilation = (stride, first) if block == 0 else (1, others)
            y = conv_norm_relu(state, f"{own}.conv1", f"{own}.bn1", x)
            y = conv_norm_relu(state, f"{own}.conv2", f"{own}.bn2", y, down, dilation)
            y = norm(state, f"{own}.bn3", conv(state, f"{own}.conv3", y))
            if block == 0:
                x = norm(state, f"{own}.downsample.1", conv(state, f"{own}.downsample.0", x, down))
            x = f.relu(x + y)
            block += 1
        yield x


def block_head(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    """Convolution, batch norm, ReLU and scores."""
    return conv(state, f"{name}.4", conv_norm_relu(state, f"{name}.0", f"{name}.1", x))


def resize(x: torch.Tensor, size: Sequence[int], *, align_corners: bool) -> torch.Tensor:
    """Bilinear, as two products with matrices of weights."""
    for axis, out in ((2, size[0]), (3, size[1])):
        x = torch.einsum("...i,oi->...o", x.transpose(axis, 3), _weights(x.shape[axis], out, align_corners))
        x = x.transpose(axis, 3)
    return x


def _weights(size: int, out: int, align_corners: bool) -> torch.Tensor:
    at = torch.arange(out, dtype=torch.float64)
    at = at * (size - 1) / max(out - 1, 1) if align_corners else ((at + 0.5) * size / out - 0.5).clamp(0, size - 1)
    return (1 - (at[:, None] - torch.arange(size)).abs()).clamp(min=0).float()


def batch_norm_keys(name: str, channels: int) -> Shapes:
    """As torch writes them."""
    return {f"{name}.{kind}": () if kind == "num_batches_tracked" else (channels,) for kind in BATCH_NORM}


def stage_keys(prefix: str, channels: int, blocks: Sequence[int]) -> Shapes:
    """Of `layer1` to `layer4`, behind a stem of so many channels."""
    keys: Shapes = {}
    for stage, count in enumerate(blocks):
        planes = 64 * 2**stage
        for block in range(count):
            own = f"{prefix}layer{stage + 1}.{block}"
            kernels = {1: (planes, channels, 1, 1), 2: (planes, planes, 3, 3), 3: (4 * planes, planes, 1, 1)}
            for number, shape in kernels.items():
                keys |= {f"{own}.conv{number}.weight": shape, **batch_norm_keys(f"{own}.bn{number}", shape[0])}
            if block == 0:
                keys[f"{own}.downsample.0.weight"] = (4 * planes, channels, 1, 1)
                keys |= batch_norm_keys(f"{own}.downsample.1", 4 * planes)
            channels = 4 * planes
    return keys


def head_keys(name: str, channels: int, classes: int = 21) -> Shapes:
    """Of a head named `block`."""
    width = channels // 4
    return {
        f"{name}.block.0.weight": (width, channels, 3, 3),
        **batch_norm_keys(f"{name}.block.1", width),
        f"{name}.block.4.weight": (classes, width, 1, 1),
        f"{name}.block.4.bias": (classes,),
    }


def shapes_of(network: nn.Module) -> Shapes:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def parameters(network: nn.Module) -> int:
    """Each once, by however many names."""
    return sum(parameter.numel() for parameter in network.parameters())


def gmacs(network: nn.Module, size: int) -> float:
    """10⁹ multiply-accumulates of convolutions for one square image; the network is on the meta device."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        pixels = (inputs[0] if isinstance(module, nn.ConvTranspose2d) else output).shape[2:]
        counts.append(prod(module.weight.shape) * prod(pixels))

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    network.eval()(torch.empty(1, 3, size, size, device="meta"))
    for hook in hooks:
        hook.remove()
    return sum(counts) / 1e9
