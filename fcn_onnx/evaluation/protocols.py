"""Evaluation protocols by name.

Two numbers called mIoU differ by points when their protocols differ, so a protocol is one frozen value and
every report names its own. Adding one is adding an entry to `PROTOCOLS`.

MindSpore's published evaluation feeds R, G and B where the network was trained on B, G and R, with the means of those
places. The card of its FCN-8s says so, and `--channels BGR --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225` shows it
what it was trained on; the protocol is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fcn_onnx.data.labels import VOC, LabelSpace
from fcn_onnx.data.opencv import resize_nearest
from fcn_onnx.data.preprocess import Resize
from fcn_onnx.errors import UsageError
from fcn_onnx.evaluation.grids import (
    native_multilabel,
    opencv_label_map,
    resized_label_map,
    torch_nearest,
    wrapped_label_map,
)
from fcn_onnx.evaluation.metrics import ConfusionMetric, ImageMetric, TramacMetric
from fcn_onnx.evaluation.protocol import Protocol

TORCHVISION = "torchvision"
"""The protocol of networks that do not say theirs."""

PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name=TORCHVISION,
            description="short side 520, one confusion matrix, overlaps void (pytorch/vision references)",
            resize=Resize(short_side=520),
            read_truth=resized_label_map,
            metric=ConfusionMetric(),
            targets={"resnet50": (0.605, 0.914), "resnet101": (0.637, 0.919)},
        ),
        Protocol(
            name="zoo",
            description="native size, all classes but background together, each image by itself, those that hold one "
            "(the ONNX model zoo's notebook)",
            resize=Resize(),
            read_truth=native_multilabel,
            metric=ImageMetric(),
            foreground_only=True,
            targets={"resnet50": (0.650, 0.996), "resnet101": (0.66734, 0.99563)},
        ),
        Protocol(
            name="inc",
            description="zoo with the IoU's mean taken over N + 1 images (Neural Compressor's FCN example)",
            resize=Resize(),
            read_truth=native_multilabel,
            metric=ImageMetric(extra_images=1),
            foreground_only=True,
        ),
        Protocol(
            name="vastai",
            description="image and truth at the network's size or 320x320, one confusion matrix, absent classes 0, "
            "accuracy of truncated logits (Vastai's FCNs, with Tramac's metric)",
            resize=Resize(size=(320, 320)),
            of_network=True,
            resample="opencv-linear",
            read_truth=resized_label_map,
            metric=TramacMetric(),
            targets={"FCN-8s": (0.50959, None), "FCN-16s": (0.53339, None), "FCN-32s": (0.49961, None)},
            published_on="VOC 2012 val",
        ),
        Protocol(
            name="vastai-512",
            description="vastai at 512x512 (Vastai's mmseg FCNs)",
            resize=Resize(size=(512, 512)),
            resample="opencv-linear",
            read_truth=resized_label_map,
            metric=TramacMetric(),
            targets={
                "fcn_r50-d8 20k fp16": (0.66304, None),
                "fcn_r50-d8 40k fp16": (0.66493, None),
                "fcn_r101-d8 20k fp16": (0.70175, None),
                "fcn_r101-d8 40k fp16": (0.70049, None),
            },
            published_on="VOC 2012 val",
        ),
        Protocol(
            name="voc-native",
            description="native size, one confusion matrix, absent classes 0 (GluonCV's and Tramac's testval)",
            resize=Resize(),
            read_truth=resized_label_map,
            metric=ConfusionMetric(leaves_absent_out=False),
            targets={
                "Tramac FCN-32s": (0.4750, None),
                "Tramac FCN-16s": (0.4916, None),
                "Tramac FCN-8s": (0.4887, None),
            },
            published_on="VOC 2012 val",
        ),
        Protocol(
            name="mmseg",
            description="shown within 2048x512, logits resized to the native size, scored there (mmsegmentation)",
            resize=Resize(within=(2048, 512)),
            resample="opencv-linear",
            scored=Resize(),
            resizes_logits=True,
            read_truth=resized_label_map,
            metric=ConfusionMetric(),
            targets={
                "fcn_r50-d8 20k": (0.6708, None),
                "fcn_r50-d8 40k": (0.6697, None),
                "fcn_r101-d8 20k": (0.7116, None),
                "fcn_r101-d8 40k": (0.6991, None),
            },
            published_on="VOC 2012 val",
        ),
        Protocol(
            name="mindspore",
            description="long side 512, zeros to 512x512, logits cropped and resized to the native size (MindSpore)",
            resize=Resize(long_side=512),
            resample="opencv-linear",
            scored=Resize(),
            pad=(512, 512),
            resizes_logits=True,
            read_truth=resized_label_map,
            metric=ConfusionMetric(),
            targets={"FCN-8s": (0.6467, None), "its repository": (0.6389, None), "its checkpoint": (0.627, None)},
            published_on="VOC 2012 val",
        ),
        Protocol(
            name="ti",
            description="at the network's size or 512x512, normalised before that, absent classes 0, labels by nearest "
            "neighbour on the training code's grid; of COCO, > 1000 pixels annotated and void as a class (TI's tables)",
            resize=Resize(size=(512, 512)),
            of_network=True,
            resample="opencv-area-where-smaller",
            resizes_floats=True,
            read_truth=opencv_label_map,
            metric=ConfusionMetric(leaves_absent_out=False),
            on_grid=torch_nearest,
            on={
                "coco": {
                    "resample": "opencv-linear",
                    "scored": Resize(size=(1024, 1024)),
                    "read_truth": wrapped_label_map,
                    "labelled_area": 1000,
                },
                "cityscapes": {"scored": Resize()},
                "ade20k": {"scored": Resize(size=(768, 768))},
            },
            targets={
                "DeepLabV3+ MobileNetV2": (0.5777, None),
                "UNet MobileNetV2": (0.5701, None),
                "FPN RegNetX-800MF": (0.6115, None),
            },
        ),
        Protocol(
            name="ti-benchmark",
            description="at the network's size or 512x512, labels by nearest neighbour to the native size, absent "
            "classes 0 (TI's edgeai-benchmark)",
            resize=Resize(size=(512, 512)),
            of_network=True,
            resample="opencv-area",
            scored=Resize(),
            read_truth=resized_label_map,
            metric=ConfusionMetric(leaves_absent_out=False),
            on_grid=resize_nearest,
            on={"coco": {"resample": "opencv-linear"}},
            targets={"DeepLabV3+ MobileNetV2": (0.5777, None), "FPN RegNetX-800MF": (0.6109, None)},
        ),
    )
}


def get_protocol(name: str, space: LabelSpace = VOC) -> Protocol:
    """The protocol called `name`, for these classes.

    Raises:
        UsageError: there is none.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol is called {name!r}", fix=f"choose one of: {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    return replace(protocol, metric=protocol.metric.fitted(space))
