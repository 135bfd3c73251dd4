"""torchvision's segmentation networks and their published weights."""

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

ENUMS: Mapping[str, str] = {
    "fcn_resnet50": "FCN_ResNet50_Weights",
    "fcn_resnet101": "FCN_ResNet101_Weights",
    "deeplabv3_resnet50": "DeepLabV3_ResNet50_Weights",
    "deeplabv3_resnet101": "DeepLabV3_ResNet101_Weights",
    "deeplabv3_mobilenet_v3_large": "DeepLabV3_MobileNet_V3_Large_Weights",
    "lraspp_mobilenet_v3_large": "LRASPP_MobileNet_V3_Large_Weights",
}


def build_model(builder: str, classes: int, aux: bool | None) -> torch.nn.Module:
    """`torchvision.models.segmentation.<builder>` with random weights; nothing is downloaded.

    Args:
        aux: with the auxiliary head; None for a network that has none to ask for.

    Returns:
        (N, 3, H, W) float32 → OrderedDict of `out` and, with `aux`, `aux`, each (N, classes, H, W) float32 logits.
    """
    asked = {} if aux is None else {"aux_loss": aux}
    network: torch.nn.Module = getattr(import_torchvision().models.segmentation, builder)(
        weights=None, weights_backbone=None, num_classes=classes, **asked
    )
    return network


def published_weights(builder: str) -> tuple[Mapping[str, torch.Tensor], str]:
    """The state dict of COCO_WITH_VOC_LABELS_V1 and the name of its file, from torch's cache or the network.

    Raises:
        WeightsError: it is not cached and cannot be downloaded.
    """
    weights: Any = getattr(import_torchvision().models.segmentation, ENUMS[builder]).COCO_WITH_VOC_LABELS_V1
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
