"""Our own network, small enough to travel with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fcn_onnx.jobs.artifact import digest_file
from fcn_onnx.networks.architecture import Architecture, WeightsInfo, by_keys
from fcn_onnx.networks.tiny import WEIGHTS, build_tiny

if TYPE_CHECKING:
    import torch

    from fcn_onnx.networks.architecture import State


def _build(classes: int, aux: bool) -> torch.nn.Module:
    return build_tiny(aux, classes)


def _weights() -> tuple[State, WeightsInfo]:
    from fcn_onnx.networks.checkpoints.reading import read_checkpoint

    return read_checkpoint(WEIGHTS).state, WeightsInfo("fcn-onnx tiny", digest_file(WEIGHTS), random=False)


ARCHITECTURES = (
    Architecture(
        name="tiny",
        description="an FCN built like torchvision's and trained on synthetic scenes, for demo and tests",
        origin="fcn-onnx",
        build=_build,
        recognises=by_keys({"backbone.conv1.weight": (16, 3, 7, 7), "classifier.4.weight": (None, 48, 1, 1)}),
        class_key="classifier.4.weight",
        default_weights=_weights,
    ),
)
