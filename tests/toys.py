"""Small models and data sets that many tests use: built by hand, so that every value is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from fcn_onnx.data.sample import Dataset
from fcn_onnx.data.sets.memory import OpenSource
from fcn_onnx.evaluation.result import Validation
from fcn_onnx.jobs.progress import SILENT, Progress
from fcn_onnx.stages.options import ValidateOptions
from fcn_onnx.stages.validate import validate

COCO_OF_VOC = [0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72]


def pixel_classifier(seed: int = 0, *, shift: float = 0.0, opset: int = 12, classes: int = 21) -> onnx.ModelProto:
    """`out` = 1×1 convolution of `input`: every pixel is classified by its colour alone."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((classes, 3, 1, 1)).astype(np.float32)
    bias = (rng.standard_normal(classes) + shift * np.arange(classes)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "w", "b"], ["out"], name="classify")],
        "toy",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", classes, "h", "w"])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    return _model(graph, opset)


def with_failing_head(model: onnx.ModelProto) -> onnx.ModelProto:
    """`pixel_classifier` with another head, `aux`, a second convolution, which fails on every image."""
    weight = np.zeros((21, 3, 1, 1), np.float32)
    model.graph.initializer.extend(
        [numpy_helper.from_array(weight, "v"), numpy_helper.from_array(np.array([7, 7, 7]), "impossible")]
    )
    model.graph.node.append(helper.make_node("Conv", ["input", "v"], ["scores"], name="auxiliary"))
    model.graph.node.append(helper.make_node("Reshape", ["scores", "impossible"], ["aux"]))
    model.graph.output.append(helper.make_tensor_value_info("aux", TensorProto.FLOAT, None))
    return model


def coarse_classifier(
    seed: int = 0, *, shift: float = 0.0, size: tuple[int, int] | None = None, labels: bool = False, classes: int = 21
) -> onnx.ModelProto:
    """A 4×4 convolution of stride 4: logits (or their argmax) at a quarter of the size, of any size or of one."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((classes, 3, 4, 4)).astype(np.float32) / 4
    bias = (rng.standard_normal(classes) + shift * np.arange(classes)).astype(np.float32)
    height, width = size or ("h", "w")
    nodes = [helper.make_node("Conv", ["input", "w", "b"], ["logits"], strides=[4, 4], pads=[0, 0, 3, 3])]
    if labels:
        nodes.append(helper.make_node("ArgMax", ["logits"], ["out"], axis=1, keepdims=0))
        result = helper.make_tensor_value_info("out", TensorProto.INT64, ["n", "y", "x"])
    else:
        nodes.append(helper.make_node("Identity", ["logits"], ["out"]))
        result = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", classes, "y", "x"])
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, height, width])
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    return _model(helper.make_graph(nodes, "coarse", [image], [result], constants), 13)


def foreign(seed: int = 0, *, size: tuple[int, int] = (20, 24), labels: bool = False) -> onnx.ModelProto:
    """`pixel_classifier` as another framework would write it: channels last, one size, other names, or uint8 labels."""
    height, width = size
    own = pixel_classifier(seed)
    nodes = [helper.make_node("Transpose", ["image"], ["input"], perm=[0, 3, 1, 2]), *own.graph.node]
    if labels:
        nodes.append(helper.make_node("ArgMax", ["out"], ["classes"], axis=1, keepdims=0))
        result = helper.make_tensor_value_info("classes", TensorProto.INT64, [1, height, width])
    else:
        nodes.append(helper.make_node("Transpose", ["out"], ["scores"], perm=[0, 2, 3, 1]))
        result = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, height, width, 21])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, height, width, 3])
    return _model(helper.make_graph(nodes, "foreign", [image], [result], own.graph.initializer), 13)


def residual_network(seed: int = 0, *, opset: int = 12, width: int = 8, classes: int = 21) -> onnx.ModelProto:
    """A small FCN with all that a real one has: stem, max pooling, residual Add, dilation, upsampled logits."""
    rng = np.random.default_rng(seed)
    initializers: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def conv(source: str, name: str, inputs: int, outputs: int, kernel: int, **attributes: Any) -> str:
        fan_in = inputs * kernel * kernel
        weight = rng.standard_normal((outputs, inputs, kernel, kernel)) * np.sqrt(2 / fan_in)
        initializers.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}.w"))
        initializers.append(numpy_helper.from_array(rng.standard_normal(outputs).astype(np.float32), f"{name}.b"))
        attributes = {"kernel_shape": [kernel, kernel]} | attributes
        nodes.append(
            helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [name], name=f"/{name}", **attributes)
        )
        return name

    def op(kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name=f"/{name}", **attributes))
        return name

    stem = op("Relu", [conv("input", "stem", 3, width, 3, strides=[2, 2], pads=[1] * 4)], "stem_relu")
    pooled = op("MaxPool", [stem], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    inner = op("Relu", [conv(pooled, "inner", width, width, 3, pads=[2] * 4, dilations=[2, 2])], "inner_relu")
    branch = conv(inner, "branch", width, width, 1)
    body = op("Relu", [op("Add", [branch, pooled], "sum")], "body")
    logits = conv(body, "logits", width, classes, 1)
    shape = op("Shape", ["input"], "shape")
    initializers.append(numpy_helper.from_array(np.array([2], np.int64), "two"))
    initializers.append(numpy_helper.from_array(np.array([4], np.int64), "four"))
    initializers.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
    initializers.append(numpy_helper.from_array(np.array([], np.float32), "none"))
    batch = op("Slice", [op("Shape", [logits], "logits_shape"), "zero", "two"], "batch")
    spatial = op("Slice", [shape, "two", "four"], "spatial")
    sizes = op("Concat", [batch, spatial], "sizes", axis=0)
    op(
        "Resize",
        [logits, "none", "none", sizes],
        "out",
        mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel",
    )
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", classes, "h", "w"])],
        initializers,
    )
    return _model(graph, opset)


MIXED_MACS = {"conv": 3 * 8 * 9, "transposed": 8 * 3 * 4, "product": 4 * 6 * 10, "last": 16 * 5 * 4}
"""Multiply-accumulates of `mixed_products` by node, for each pixel of the input."""


def mixed_products() -> onnx.ModelProto:
    """Conv → ConvTranspose (to twice the size, grouped) → MatMul of channels → Concat with what it read → Conv."""
    rng = np.random.default_rng(0)
    shapes = {"cw": (8, 3, 3, 3), "tw": (8, 3, 2, 2), "pw": (6, 10), "lw": (5, 16, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["input", "cw"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("ConvTranspose", ["r", "tw"], ["t"], name="transposed", strides=[2, 2], group=2),
        helper.make_node("Transpose", ["t"], ["last_axis"], name="to_last", perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["last_axis", "pw"], ["m"], name="product"),
        helper.make_node("Transpose", ["m"], ["first_axis"], name="to_first", perm=[0, 3, 1, 2]),
        helper.make_node("Concat", ["first_axis", "t"], ["both"], name="concat", axis=1),
        helper.make_node("Conv", ["both", "lw"], ["out"], name="last"),
    ]
    constants = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, "h", "w"])
    result = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 5, "y", "x"])
    graph = helper.make_graph(nodes, "toy", [image], [result], constants)
    return _model(graph, 13)


def _model(graph: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Smooth colour noise that JPEG keeps."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def rectangle(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    """A COCO polygon."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A COCO crowd segmentation: uncompressed column-major run lengths that start with zeros."""
    counts, current, length = [], False, 0
    for value in mask.ravel(order="F"):
        if bool(value) != current:
            counts.append(length)
            current, length = bool(value), 0
        length += 1
    return {"counts": [*counts, length], "size": list(mask.shape)}


def area(segmentation: Any) -> float:
    """Pixels of run lengths, or of polygons (the shoelace formula)."""
    if isinstance(segmentation, dict):
        return sum(segmentation["counts"][1::2])
    total = 0.0
    for polygon in segmentation:
        x, y = np.array(polygon[::2]), np.array(polygon[1::2])
        total += abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    return total


def compare(
    fp32: Path,
    candidates: Path | Sequence[Path],
    dataset: Dataset,
    *,
    command: str | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> Validation:
    """`validate` on a data set that is open, without a report on disk."""
    int8 = (candidates,) if isinstance(candidates, Path) else tuple(candidates)
    asked = ValidateOptions(**{"report": None, **options}, fp32=fp32, int8=int8, choice=OpenSource.of(dataset))
    return validate(asked, command=command, progress=progress)


def write_coco(folder: Path) -> Path:
    """A COCO data set of five images with overlaps, a crowd, other categories and no annotation at all.

    Returns the image folder, `<folder>/val2017`.
    """
    images_folder = folder / "val2017"
    images_folder.mkdir(parents=True)
    (folder / "annotations").mkdir()
    sizes = [(64, 48), (48, 60), (50, 50), (70, 40), (40, 44)]
    images, annotations = [], []

    def annotate(image: int, category: int, segmentation: Any, crowd: int = 0) -> None:
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": category,
                "segmentation": segmentation,
                "iscrowd": crowd,
                "area": float(area(segmentation)),
                "bbox": [0, 0, 1, 1],
            }
        )

    for index, (width, height) in enumerate(sizes, start=1):
        name = f"{index:012d}.jpg"
        photograph(width, height, index).save(images_folder / name, quality=95)
        images.append({"id": index, "file_name": name, "width": width, "height": height})
    annotate(1, 1, rectangle(5, 5, 30, 40))
    annotate(1, 1, rectangle(20, 10, 45, 30))  # overlaps one of its own class
    annotate(1, 18, rectangle(40, 20, 60, 45))  # overlaps another class
    crowd = np.zeros((60, 48), bool)
    crowd[10:30, 5:40] = True
    annotate(2, 3, run_lengths(crowd), crowd=1)
    annotate(2, 17, rectangle(10, 35, 40, 55) + rectangle(2, 2, 8, 8))
    annotate(3, 10, rectangle(5, 5, 40, 40))  # a traffic light: not one of VOC's classes
    annotate(4, 62, rectangle(10, 5, 60, 35))
    annotate(4, 10, rectangle(30, 5, 60, 35))
    categories = [{"id": c, "name": f"category {c}"} for c in [*COCO_OF_VOC[1:], 10]]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return images_folder


def write_voc(folder: Path) -> Path:
    """A VOC data set of two val images and one train image, with void pixels; returns `VOCdevkit/VOC2012`."""
    root = folder / "VOCdevkit" / "VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    for index in range(3):
        photograph(80, 64, index).save(root / "JPEGImages" / f"2007_{index:06d}.jpg")
        labels = np.zeros((64, 80), np.uint8)
        labels[12:48, 20:60] = index + 1
        labels[12:16, 20:60] = 255
        Image.fromarray(labels).save(root / "SegmentationClass" / f"2007_{index:06d}.png")
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_000001\n2007_000000\n")
    (root / "ImageSets/Segmentation/train.txt").write_text("2007_000002\n")
    return root
