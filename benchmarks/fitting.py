"""Weights that mean something, for networks whose trained ones are not at hand.

Random layers are seeded; batch norms take their statistics from real images; the layers that make the scores are
fitted to the images' masks by least squares, one after the other, each to what those before it left. A pixel
weighs by the root of its class's rarity: random features tell so little that all would else be called background.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional

BATCH = 4
RIDGE = 1e-3
"""Of the mean square of the features: keeps the solution finite where there are more features than pixels."""

Images = Sequence[torch.Tensor]
"""Each (3, H, W) float32, normalised, all of one size."""

Masks = Sequence[np.ndarray]
"""Each (H, W) uint8 labels; 255 is left out."""


def fit(network: nn.Module, images: Images, masks: Masks, classes: int) -> None:
    """Give a seeded network statistics and scores; it is in evaluation mode afterwards.

    Its convolutions of `classes` output channels make the scores.
    """
    network.eval()
    _as_bilinear(network, classes)
    with torch.no_grad():
        _take_statistics(network, images)
        heads = _score_layers(network, images[0], classes)
        for head in heads:
            nn.init.zeros_(head.weight)
            if head.bias is not None:
                nn.init.zeros_(head.bias)
        for number, head in enumerate(heads):
            _fit_layer(head, heads[:number], images, masks, classes, network)


def _as_bilinear(network: nn.Module, classes: int) -> None:
    """Transposed convolutions of score maps upsample each by itself, as they would after training."""
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d) and module.in_channels == module.out_channels == classes:
            size, stride = module.kernel_size[0], module.stride[0]
            centre = (size - 1) / 2
            ramp = 1 - (torch.arange(size) - centre).abs() / stride
            with torch.no_grad():
                module.weight.copy_(torch.eye(classes)[:, :, None, None] * torch.outer(ramp, ramp))


def _take_statistics(network: nn.Module, images: Images) -> None:
    """Of every batch norm, over all images: means of the batches', each as heavy as the others."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for start in range(0, len(images) - 1, BATCH):  # a batch of one has no variance where the map is 1×1
        batch = images[start : start + BATCH] if start + BATCH <= len(images) else images[-BATCH:]
        network(torch.stack(list(batch)))
    for norm in norms:
        norm.eval()


def _score_layers(network: nn.Module, image: torch.Tensor, classes: int) -> list[nn.Conv2d]:
    """Convolutions of so many output channels, in the order in which they run."""
    found: list[nn.Conv2d] = []
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.out_channels == classes and m.groups == 1]
    hooks = [conv.register_forward_hook(lambda module, *_: found.append(module)) for conv in convs]
    network(image[None])
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(found))


def _fit_layer(
    head: nn.Conv2d, before: Sequence[nn.Conv2d], images: Images, masks: Masks, classes: int, network: nn.Module
) -> None:
    """Least squares from the layer's input to one-hot masks on its grid, less what the layers before it score."""
    shares = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)[:classes]
    weights = torch.from_numpy((shares.sum() / np.maximum(shares, 1)) ** 0.5)
    side = head.in_channels * head.kernel_size[0] * head.kernel_size[1] + 1
    gram, product = torch.zeros(side, side, dtype=torch.float64), torch.zeros(side, classes, dtype=torch.float64)
    for image, mask in zip(images, masks, strict=True):
        with _watched([head, *before]) as seen:
            network(image[None])
        fed, _ = seen[head]
        columns = functional.unfold(fed, head.kernel_size, head.dilation, head.padding, head.stride)[0].T.double()
        height, width = seen[head][1].shape[2:]
        labels = torch.from_numpy(mask.astype(np.float32))[None, None]
        labels = functional.interpolate(labels, (height, width))[0, 0].long().flatten()
        known = labels < classes
        wanted = functional.one_hot(labels.clamp(max=classes - 1), classes).double()
        for other in before:
            scores = functional.interpolate(seen[other][1], (height, width), mode="bilinear")[0]
            wanted -= scores.flatten(1).T.double()
        x = torch.cat([columns[known], torch.ones(int(known.sum()), 1, dtype=torch.float64)], 1)
        weighted = x * weights[labels[known], None]
        gram += weighted.T @ x
        product += weighted.T @ wanted[known]
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(side, dtype=torch.float64)
    solved = torch.linalg.solve(gram + ridge, product).T.float()
    head.weight.copy_(solved[:, :-1].reshape(head.weight.shape))
    if head.bias is not None:
        head.bias.copy_(solved[:, -1])


@contextmanager
def _watched(layers: Sequence[nn.Conv2d]) -> Iterator[dict[nn.Module, tuple[torch.Tensor, torch.Tensor]]]:
    """What each layer reads and writes, while it lasts."""
    seen: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(module: nn.Module, fed: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        seen[module] = (fed[0], made)

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
