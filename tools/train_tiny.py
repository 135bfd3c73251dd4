"""Make `fcn_onnx/models/tiny_weights.pth`: train the tiny FCN on synthetic scenes, score it, write it.

    python tools/train_tiny.py [--steps 4000] [--scenes 1200] [--threads 2] [--output FILE]

About 20 minutes on two cores; the same weights again on the same machine with the same versions. It trains
as torchvision's references do (random scale about short side 520, random crop, mirror, auxiliary loss
× 0.5, 255 ignored) on scenes of seed 1000, and scores on 40 scenes of seed 0, which are the demo's, by the
protocol `torchvision`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from torch import Tensor, nn
from torch.nn import functional

from fcn_onnx.data.labels import VOC_CLASSES, VOID
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.demo.writer import write_scenes
from fcn_onnx.jobs.artifact import atomic_path
from fcn_onnx.networks.tiny import WEIGHTS, build_tiny

TRAINING_SEED, HELD_OUT_SEED, HELD_OUT_SCENES = 1000, 0, 40
COCO_IDS = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
SHORT_SIDE = 520
SCALES = (0.8, 1.25)
CROP, BATCH = 320, 8
# The loss is taken on every 4th pixel: logits have stride 8, full size would only cost time.
LOSS_STRIDE = 4
PEAK_RATE, WEIGHT_DECAY, AUX_WEIGHT = 4e-3, 1e-2, 0.5


@dataclass(frozen=True)
class Pair:
    """An image (RGB) and its truth (mode L, labels 0…20 and 255), of one size."""

    image: Image.Image
    truth: Image.Image


def make_pairs(count: int, seed: int) -> list[Pair]:
    """Write `count` scenes as a COCO data set and read them back, truth by the protocol `torchvision`."""
    with tempfile.TemporaryDirectory() as folder:
        write_scenes(Path(folder), images=count, seed=seed, split="train2017")
        coco = COCO(f"{folder}/annotations/instances_train2017.json")
        return [
            Pair(
                Image.open(f"{folder}/train2017/{record['file_name']}").convert("RGB"),
                truth_of(coco, record),
            )
            for record in coco.loadImgs(sorted(coco.getImgIds()))
        ]


def truth_of(coco: COCO, record: dict[str, int]) -> Image.Image:
    """The class of the instance on each pixel, 0 where there is none, 255 where instances overlap."""
    truth = np.zeros((record["height"], record["width"]), np.uint8)
    covered = np.zeros_like(truth)
    for annotation in coco.loadAnns(coco.getAnnIds(record["id"])):
        if annotation["category_id"] in COCO_IDS:
            mask = coco.annToMask(annotation)
            truth = np.maximum(truth, mask * np.uint8(COCO_IDS.index(annotation["category_id"])))
            covered += mask
    truth[covered > 1] = VOID
    return Image.fromarray(truth)


def random_crop(pair: Pair, rng: Random) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(1, 3, CROP, CROP) input and (CROP, CROP) truth, at a random scale, place and handedness."""
    preprocessing = Preprocessing(Resize(short_side=round(SHORT_SIDE * rng.uniform(*SCALES))))
    image = preprocessing.resized(pair.image)
    truth = pair.truth.resize(image.size, Image.Resampling.NEAREST)
    left, top = rng.randint(0, image.width - CROP), rng.randint(0, image.height - CROP)
    window = (left, top, left + CROP, top + CROP)
    image, truth = image.crop(window), truth.crop(window)
    if rng.random() < 0.5:
        flip = Image.Transpose.FLIP_LEFT_RIGHT
        image, truth = image.transpose(flip), truth.transpose(flip)
    return preprocessing.normalise(image), np.array(truth)


def batches(pairs: Sequence[Pair], steps: int, rng: Random) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` batches: (BATCH, 3, CROP, CROP) float32 and (BATCH, CROP/LOSS_STRIDE, …) int64."""
    for _ in range(steps):
        crops = [random_crop(pair, rng) for pair in rng.sample(pairs, BATCH)]
        inputs = torch.from_numpy(np.concatenate([pixels for pixels, _ in crops]))
        truth = torch.from_numpy(np.stack([labels for _, labels in crops]))
        middle = LOSS_STRIDE // 2
        yield (
            inputs.contiguous(memory_format=torch.channels_last),
            truth[:, middle::LOSS_STRIDE, middle::LOSS_STRIDE].long(),
        )


def loss_of(model: nn.Module, inputs: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of `out` plus AUX_WEIGHT × that of `aux`, on the grid of `truth`."""
    features = model.get_submodule("backbone")(inputs)
    total = torch.zeros(())
    for head, name, weight in (("classifier", "out", 1.0), ("aux_classifier", "aux", AUX_WEIGHT)):
        logits = model.get_submodule(head)(features[name])
        logits = functional.interpolate(logits, truth.shape[1:], mode="bilinear")
        total = total + weight * functional.cross_entropy(logits, truth, ignore_index=VOID)
    return total


def train(pairs: Sequence[Pair], steps: int, seed: int) -> nn.Module:
    """A trained network, in evaluation mode."""
    torch.manual_seed(seed)
    model = build_tiny()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps, pct_start=0.15)
    began, smooth = time.monotonic(), 0.0
    for step, (inputs, truth) in enumerate(batches(pairs, steps, Random(seed)), start=1):
        loss = loss_of(model, inputs, truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        smooth += (loss.item() - smooth) * max(0.02, 1 / step)
        if step % 100 == 0 or step == steps:
            elapsed = time.monotonic() - began
            left = elapsed / step * (steps - step)
            print(f"step {step}/{steps}  loss {smooth:.3f}  {elapsed:.0f} s, {left:.0f} s left", flush=True)
    return model.eval()


def class_scores(model: nn.Module, pairs: Sequence[Pair]) -> dict[str, float]:
    """IoU of each class that occurs, by the protocol `torchvision`."""
    classes = len(VOC_CLASSES)
    matrix = np.zeros((classes, classes), np.int64)
    preprocessing = Preprocessing()
    for pair in pairs:
        image = preprocessing.resized(pair.image)
        truth = np.array(pair.truth.resize(image.size, Image.Resampling.NEAREST))
        with torch.inference_mode():
            logits = model(torch.from_numpy(preprocessing.normalise(image)))["out"]
        prediction = logits[0].argmax(0).numpy()
        scored = truth < classes
        cells = truth[scored].astype(np.int64) * classes + prediction[scored]
        matrix += np.bincount(cells, minlength=classes**2).reshape(matrix.shape)
    hits = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - hits
    return {name: float(hits[k] / union[k]) for k, name in enumerate(VOC_CLASSES) if union[k]}


def half_precision(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with float tensors in half precision; BatchNorm's counters stay integers."""
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--scenes", type=int, default=1200, help="training scenes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and the order of crops")
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)

    model = train(make_pairs(options.scenes, TRAINING_SEED), options.steps, options.seed)
    held_out = make_pairs(HELD_OUT_SCENES, HELD_OUT_SEED)
    full = class_scores(model, held_out)
    weights = half_precision(model)
    model.load_state_dict(weights)  # back to float32, rounded: the model that will ship
    rounded = class_scores(model, held_out)
    for name, value in rounded.items():
        print(f"{name:>12}  {value:.3f}")
    before, after = (sum(scores.values()) / len(scores) for scores in (full, rounded))
    print(f"mIoU {before:.4f} as trained, {after:.4f} with weights in half precision")
    with atomic_path(options.output) as temporary:
        torch.save(weights, temporary)
    print(f"wrote {options.output} ({options.output.stat().st_size / 1e6:.2f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
