"""python segment.py IMAGE LABELS.png writes each pixel's class; bundle.json says how the model is shown an image."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported
HOW: Any = json.loads(Path(__file__).with_name("bundle.json").read_text(encoding="utf-8"))
MODEL = Path(__file__).with_name(HOW["model"])
SESSION: Any = import_module("onnxruntime").InferenceSession(MODEL, providers=["CPUExecutionProvider"])
OPENCV: Any = import_module("opencv").OPENCV if HOW["opencv"] else {}


def segment(picture: Image.Image) -> Any:
    """(H, W) uint8 labels of an RGB picture; of several tiles, each pixel's is from that in which it lies deepest."""
    labels = np.empty((picture.height, picture.width), np.uint8)
    for top, bottom, rows, inner_rows in spans(picture.height, 0):
        for left, right, columns, inner_columns in spans(picture.width, 1):
            labels[rows, columns] = look(picture.crop((left, top, right, bottom)))[inner_rows, inner_columns]
    return labels


def spans(side: int, axis: int) -> list[Any]:
    """Of each tile along a side: where it starts and stops, and what is kept of it, in the picture and in the tile."""
    tile, step = (HOW["tile"][axis], HOW["step"][axis]) if HOW["tile"] else (side, side)
    starts = [step * k for k in range(-(-max(0, side - tile) // step) + 1)]
    starts = [min(start, max(0, side - tile)) for start in starts] if HOW["fixed"] else starts
    cuts = [0, *((starts[k] + tile + starts[k + 1]) // 2 for k in range(len(starts) - 1)), side]
    kept = zip(starts, cuts, cuts[1:], strict=False)
    return [(start, min(start + tile, side), slice(a, b), slice(a - start, b - start)) for start, a, b in kept]


def look(picture: Image.Image) -> Any:
    """Labels of a picture, or a tile, that the model is shown at once: filled up to what it takes, and cut again."""
    pixels: Any = picture.convert(HOW["mode"]).resize(HOW["resize"] or picture.size, Image.Resampling.BILINEAR)
    values = np.atleast_3d(pixels)[..., HOW["channels"]]
    for step, by in HOW["steps"]:  # by OpenCV's ways of resizing, or numpy's functions
        values = OPENCV[step](values, by) if step in OPENCV else getattr(np, step)(values, np.array(by, np.float32))
    height, width = (-(-side // unit) * unit for side, unit in zip(values.shape, HOW["multiple_of"], strict=False))
    filled = np.full((HOW["batch"], height, width, values.shape[2]), HOW["colour"], np.float32)
    filled[:, : values.shape[0], : values.shape[1]] = values
    value = SESSION.run([HOW["output"]], {HOW["input"]: filled.transpose(HOW["layout"]).astype(HOW["dtype"])})[0]
    planes = np.moveaxis(np.expand_dims(value, HOW["missing"]).astype(np.float32), HOW["axes"], [0, 1])[0]
    planes = planes if HOW["of_two"] is None else np.concatenate([HOW["of_two"] - planes, planes])
    rows, columns = -(-planes.shape[1] * values.shape[0] // height), -(-planes.shape[2] * values.shape[1] // width)
    labels = (planes[0] if HOW["labels"] else planes.argmax(0)).astype(np.uint8)[:rows, :columns]
    return np.asarray(Image.fromarray(labels).resize(picture.size, Image.Resampling.NEAREST))


if __name__ == "__main__":
    with Image.open(sys.argv[1]) as image:
        result = Image.fromarray(segment(ImageOps.exif_transpose(image).convert("RGB")))
    result.putpalette(HOW["palette"])
    result.save(sys.argv[2])
