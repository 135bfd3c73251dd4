"""Time and memory of `validate`, beside the ONNX model zoo's notebook done literally on the same images.

    python benchmarks/validation.py --fp32 fcn-resnet50-12.onnx --int8 fcn-resnet50-12-int8.onnx --data coco/val2017

The notebook (`validation_accuracy.ipynb`) runs one model after the other over the images that hold a VOC class, at
their own size, with sessions as onnxruntime makes them, and scores 20 planes of booleans. Both must find the same
scores. Each runs in a process of its own; `validate` runs twice more under `--protocol`, on a tenth of the images and
on all, to show that its memory does not grow. (`stages.py` has its time beside the sessions' own.)
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from fresh import in_fresh_process
from PIL import Image
from pycocotools.coco import COCO

from fcn_onnx.data.choice import ImageSource
from fcn_onnx.data.sets.coco import CATEGORIES
from fcn_onnx.data.sets.discover import open_dataset
from fcn_onnx.stages.options import ValidateOptions
from fcn_onnx.stages.validate import validate

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class Outcome:
    """Scores (mIoU, pixel accuracy) of each model, images, and what they took."""

    scores: list[list[float]]
    images: int
    seconds: float
    peak_mib: float


def notebook(models: Sequence[Path], data: Path, limit: int | None) -> dict[str, Any]:
    """The notebook's own steps."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(data.parent / "annotations" / f"instances_{data.name}.json"))
    wanted = [i for i in sorted(coco.getImgIds()) if coco.getAnnIds(i, catIds=list(CATEGORIES[1:]))][:limit]
    scores = []
    for model in models:
        session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        ious, accuracies = [], []
        for image_id in wanted:
            info = coco.loadImgs(image_id)[0]
            image = Image.open(data / info["file_name"]).convert("RGB")
            values = ((np.asarray(image, np.float32) / np.float32(255) - MEAN) / STD).transpose(2, 0, 1)[None]
            labels = session.run(["out"], {"input": np.ascontiguousarray(values)})[0][0].argmax(0)
            truth = np.zeros((20, info["height"], info["width"]), bool)
            for annotation in coco.loadAnns(coco.getAnnIds(image_id, catIds=list(CATEGORIES[1:]))):
                truth[CATEGORIES.index(annotation["category_id"]) - 1] |= coco.annToMask(annotation).astype(bool)
            guess = labels == np.arange(1, 21).reshape(-1, 1, 1)
            union = (guess | truth).sum()
            ious.append((guess & truth).sum() / union if union else 1.0)
            accuracies.append((guess == truth).mean())
        scores.append([float(np.mean(ious)), float(np.mean(accuracies))])
    return {"scores": scores, "images": len(wanted)}


def ours(models: Sequence[Path], data: Path, limit: int | None, protocol: str = "zoo") -> dict[str, Any]:
    """`fcn-onnx validate`, calibration images included."""
    fp32, *others = models
    report = validate(
        ValidateOptions(
            fp32=fp32,
            int8=tuple(others),
            choice=ImageSource(data),
            protocol=protocol,
            limit=limit,
            include_calibration_images=True,
            report=None,
        )
    ).report
    return {
        "scores": [[report[name]["miou"], report[name]["pixel_accuracy"]] for name in ("fp32", "int8")],
        "images": report["images"],
        "session_seconds": report["timing"]["session_seconds"],
    }


def measured(work: Callable[..., dict[str, Any]], *arguments: Any) -> Outcome:
    """Call `work` in a fresh process."""
    found, cost = in_fresh_process(work, *arguments)
    return Outcome(found["scores"], found["images"], cost.seconds, cost.peak_mib)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fp32", type=Path, required=True)
    parser.add_argument("--int8", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--protocol", default="torchvision", help="of the rows on memory")
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    models = (options.fp32, options.int8)
    peer = measured(notebook, models, options.data, options.limit)
    zoo = measured(ours, models, options.data, options.limit)
    print(f"the notebook             {peer.seconds:7.1f} s {peer.peak_mib:7.0f} MiB on {peer.images} images")
    print(
        f"validate --protocol zoo  {zoo.seconds:7.1f} s {zoo.peak_mib:7.0f} MiB: {zoo.seconds / peer.seconds:.2f} × "
        f"the time, {zoo.peak_mib / peer.peak_mib:.2f} × the memory; largest difference of a score "
        f"{np.abs(np.subtract(zoo.scores, peer.scores)).max():.1e}"
    )
    whole = options.limit or len(open_dataset(options.data).samples)
    for count in (max(1, whole // 10), whole):
        found = measured(ours, models, options.data, count, options.protocol)
        print(
            f"validate --protocol {options.protocol}, {found.images} images: {found.peak_mib:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
