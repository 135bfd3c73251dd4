"""The images that int8 changed most, drawn small enough to travel inside a report."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.images import read_rgb
from fcn_onnx.data.palette import label_image, overlay
from fcn_onnx.data.preprocess import Preprocessing
from fcn_onnx.data.sample import Dataset, Sample
from fcn_onnx.evaluation.protocols import Protocol
from fcn_onnx.evaluation.scoring import FP32, INT8
from fcn_onnx.runtime.segmenter import Segmenter

WIDTH = 320


def most_changed(agreement: NDArray[np.int64], count: int) -> list[int]:
    """Indices of the `count` images with the lowest agreement (N, 2), worst first; unchanged ones never."""
    share = agreement[:, 0] / agreement[:, 1]
    order = np.argsort(share, kind="stable")[:count]
    return [int(i) for i in order if share[i] < 1]


def draw_gallery(
    segmenters: Mapping[str, Segmenter],
    preprocessing: Preprocessing,
    dataset: Dataset,
    samples: Sequence[Sample],
    protocol: Protocol,
) -> list[dict[str, Any]]:
    """One entry an image: data URIs of the photograph, the truth, both predictions and where they differ."""
    entries = []
    for sample in samples:
        photograph = read_rgb(sample.path)
        batch, grid = preprocessing(photograph), protocol.grid(photograph)
        image = photograph.resize((grid[1], grid[0]), Image.Resampling.BILINEAR)
        labels = {
            name: protocol.labels(segmenter, segmenter.run(batch), photograph, preprocessing, sample.name)
            for name, segmenter in segmenters.items()
        }
        truth = protocol.read_truth(dataset, sample, grid)
        flat = truth.argmax(0).astype(np.uint8) if truth.ndim == 3 else truth
        differ = np.where(labels[FP32] != labels[INT8], np.uint8(255), np.uint8(0))
        entries.append(
            {
                "name": sample.name,
                "image": _uri(image, "JPEG"),
                "truth": _uri(label_image(flat), "PNG"),
                "fp32": _uri(overlay(image, labels[FP32]), "JPEG"),
                "int8": _uri(overlay(image, labels[INT8]), "JPEG"),
                "disagreement": _uri(Image.fromarray(differ), "PNG"),
            }
        )
    return entries


def _uri(image: Image.Image, kind: str) -> str:
    """A data URI of the image, `WIDTH` pixels wide at most; masks keep their labels (nearest neighbour)."""
    if image.width > WIDTH:
        method = Image.Resampling.BILINEAR if kind == "JPEG" else Image.Resampling.NEAREST
        image = image.resize((WIDTH, max(1, round(image.height * WIDTH / image.width))), method)
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 80} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
