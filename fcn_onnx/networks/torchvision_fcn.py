"""torchvision's FCN with a dilated ResNet backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import urlparse

from fcn_onnx.errors import WeightsError
from fcn_onnx.networks.torchvision_compat import import_torchvision

if TYPE_CHECKING:
    import torch

CLASSES = 21


def build_fcn(arch: str, aux: bool) -> torch.nn.Module:
    """`torchvision.models.segmentation.fcn_<arch>` with random weights; nothing is downloaded."""
    builders = import_torchvision().models.segmentation
    network: torch.nn.Module = getattr(builders, f"fcn_{arch}")(
        weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=aux
    )
    return network


def published_weights(arch: str) -> tuple[Mapping[str, torch.Tensor], str]:
    """The state dict of COCO_WITH_VOC_LABELS_V1 and the name of its file, from torch's cache or the network.

    Raises:
        WeightsError: it is not cached and cannot be downloaded.
    """

    segmentation = import_torchvision().models.segmentation
    name = {"resnet50": "FCN_ResNet50_Weights", "resnet101": "FCN_ResNet101_Weights"}[arch]
    weights: Any = getattr(segmentation, name).COCO_WITH_VOC_LABELS_V1
    file = PurePosixPath(urlparse(weights.url).path).name
    try:
        state: Mapping[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"the published weights cannot be downloaded: {weights.url} ({error})",
            fix=f"bring {file} from a machine that is online and pass --weights {file}; "
            "or --weights none for random ones",
        ) from error
    return state, file
