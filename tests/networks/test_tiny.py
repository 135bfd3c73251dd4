"""The tiny FCN: built like torchvision's, small enough to ship, good enough to be worth quantizing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fcn_onnx.data.labels import VOC_CLASSES
from fcn_onnx.demo.writer import write_scenes
from fcn_onnx.networks.tiny import WEIGHTS, build_tiny
from fcn_onnx.networks.torchvision_compat import import_torchvision

torch = pytest.importorskip("torch")

COCO_IDS = [0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72]


@pytest.fixture(scope="module")
def trained() -> Any:
    model = build_tiny()
    model.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return model.eval()


@pytest.mark.parametrize("size", [(64, 96), (65, 51)])
def test_outputs_are_logits_at_the_inputs_size(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        outputs = build_tiny().eval()(torch.zeros(2, 3, *size))
        without = build_tiny(aux=False).eval()(torch.zeros(2, 3, *size))
    assert list(outputs) == ["out", "aux"]
    assert list(without) == ["out"]
    for logits in (*outputs.values(), *without.values()):
        assert logits.shape == (2, 21, *size)
        assert logits.dtype == torch.float32


def test_parts_are_named_as_torchvision_names_them() -> None:
    import_torchvision()
    from torchvision.models.segmentation import fcn_resnet50

    real = fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    ours, theirs = build_tiny().state_dict(), real.state_dict()
    assert ours.keys() < theirs.keys()  # theirs has more bottlenecks, nothing else
    assert all(name.split(".")[1].startswith("layer") for name in theirs.keys() - ours.keys())
    assert {name.split(".")[1] for name in ours if name.startswith("backbone")} == {
        name.split(".")[1] for name in theirs if name.startswith("backbone")
    }
    assert all(value.dim() == theirs[name].dim() for name, value in ours.items())
    kinds = [{type(module) for module in model.modules()} for model in (build_tiny(), real)]
    assert kinds[0] == kinds[1]


def test_the_features_have_stride_8_and_the_dilations_of_the_real_one() -> None:
    import_torchvision()
    from torchvision.models.segmentation import fcn_resnet50

    tiny, real = build_tiny(), fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    assert {
        name: tuple(f.shape[2:]) for name, f in tiny.get_submodule("backbone")(torch.zeros(2, 3, 64, 96)).items()
    } == {
        "aux": (8, 12),
        "out": (8, 12),
    }
    geometry = [
        {
            name: (module.kernel_size, module.stride, module.padding, module.dilation)
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Conv2d)
        }
        for model in (tiny, real)
    ]
    assert geometry[0].items() <= geometry[1].items()


def test_it_is_small() -> None:
    assert sum(p.numel() for p in build_tiny().parameters()) == 279_818
    assert WEIGHTS.stat().st_size < 2_000_000


def test_weights_are_half_precision_and_finite() -> None:
    weights = torch.load(WEIGHTS, weights_only=True)
    assert weights.keys() == build_tiny().state_dict().keys()
    floats = [value for value in weights.values() if value.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float16}
    assert all(torch.isfinite(value).all() for value in floats)


def test_it_segments_scenes_it_was_not_trained_on(trained: Any, tmp_path: Path) -> None:
    """mIoU on 12 scenes with the torchvision protocol, every step of it written out."""
    write_scenes(tmp_path, images=12)
    coco = COCO(tmp_path / "annotations" / "instances_val2017.json")
    hits, in_truth, predicted = np.zeros(21), np.zeros(21), np.zeros(21)
    for record in coco.loadImgs(coco.getImgIds()):
        truth = np.zeros((record["height"], record["width"]), np.uint8)
        covered = np.zeros(truth.shape, int)
        for annotation in coco.loadAnns(coco.getAnnIds(record["id"])):
            if annotation["category_id"] in COCO_IDS:
                mask = coco.annToMask(annotation).astype(bool)
                truth[mask] = np.maximum(truth[mask], COCO_IDS.index(annotation["category_id"]))
                covered += mask
        truth[covered > 1] = 255
        with Image.open(tmp_path / "val2017" / record["file_name"]) as file:
            image = file.convert("RGB")
        short, long = sorted(image.size)
        sides = (520, int(520 * long / short))
        size = sides if image.width <= image.height else sides[::-1]
        pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR)) / 255
        pixels = (pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        with torch.inference_mode():
            logits = trained(torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32))["out"]
        labels = logits[0].argmax(0).numpy()
        target = np.asarray(Image.fromarray(truth).resize(size, Image.Resampling.NEAREST))
        for c in range(21):
            hits[c] += ((labels == c) & (target == c)).sum()
            in_truth[c] += (target == c).sum()
            predicted[c] += ((labels == c) & (target != 255)).sum()
    union = in_truth + predicted - hits
    scores = {VOC_CLASSES[c]: hits[c] / union[c] for c in range(21) if union[c]}
    assert len(scores) >= 18
    assert np.mean(list(scores.values())) > 0.6, scores
