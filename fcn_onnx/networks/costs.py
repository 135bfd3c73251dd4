"""What networks cost: parameters and multiply-accumulates, counted on the network itself; nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass

from fcn_onnx.networks.architecture import AUX, Architecture
from fcn_onnx.networks.building import require_torch


@dataclass(frozen=True)
class Cost:
    """Of a network as it is exported by default.

    Attributes:
        parameters: that are learned.
        macs: multiply-accumulates of one image of the architecture's `size`.
    """

    parameters: int
    macs: int


def cost_of(architecture: Architecture) -> Cost:
    """Build a network on torch's meta device, where tensors have shapes alone, and let torch count.

    torch counts a multiply-accumulate of a convolution, transposed or not, and of a matrix product as two operations,
    and nothing else.

    Raises:
        MissingDependencyError: torch or torchvision is not installed.
    """
    require_torch()
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    aux = AUX in architecture.heads_for(None)
    with torch.device("meta"):
        network = architecture.build(len(architecture.classes), aux).eval()
        image = torch.empty(1, 3, *architecture.size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return Cost(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2)
