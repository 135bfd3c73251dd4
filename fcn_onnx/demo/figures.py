"""Everything that a scene can hold, by name: how it is drawn, how large, and its COCO category."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from fcn_onnx.demo import creatures, furniture, props, vehicles
from fcn_onnx.demo.geometry import Part


@dataclass(frozen=True)
class Figure:
    """A kind of thing.

    Attributes:
        category_id: COCO's.
        draw: a new individual in the unit box.
        aspect: height / width of its box.
        tallest: largest height, as a share of the image's height.
    """

    category_id: int
    draw: Callable[[Random], list[Part]]
    aspect: float
    tallest: float

    @property
    def breadth(self) -> float:
        """Share of the street's width it asks for, relative to the others."""
        return 1.7 if self.aspect < 0.55 else 0.7 if self.aspect > 1.2 else 1.0


VOC_FIGURES: dict[str, Figure] = {
    "aeroplane": Figure(5, vehicles.aeroplane, 0.42, 0.3),
    "bicycle": Figure(2, vehicles.bicycle, 0.64, 0.42),
    "bird": Figure(16, creatures.bird, 0.8, 0.3),
    "boat": Figure(9, vehicles.boat, 0.85, 0.5),
    "bottle": Figure(44, furniture.bottle, 2.9, 0.42),
    "bus": Figure(6, vehicles.bus, 0.5, 0.48),
    "car": Figure(3, vehicles.car, 0.42, 0.36),
    "cat": Figure(17, creatures.cat, 1.15, 0.36),
    "chair": Figure(62, furniture.chair, 1.4, 0.46),
    "cow": Figure(21, creatures.cow, 0.68, 0.42),
    "diningtable": Figure(67, furniture.diningtable, 0.62, 0.36),
    "dog": Figure(18, creatures.dog, 0.78, 0.36),
    "horse": Figure(19, creatures.horse, 0.92, 0.52),
    "motorbike": Figure(4, vehicles.motorbike, 0.6, 0.4),
    "person": Figure(1, creatures.person, 2.5, 0.62),
    "pottedplant": Figure(64, furniture.pottedplant, 1.3, 0.48),
    "sheep": Figure(20, creatures.sheep, 0.76, 0.36),
    "sofa": Figure(63, furniture.sofa, 0.52, 0.4),
    "train": Figure(7, vehicles.train, 0.34, 0.42),
    "tvmonitor": Figure(72, furniture.tvmonitor, 0.8, 0.36),
}
"""The 20 classes, in VOC order."""

OTHER_FIGURES: dict[str, Figure] = {
    "truck": Figure(8, props.truck, 0.52, 0.42),
    "traffic light": Figure(10, props.traffic_light, 3.2, 0.6),
    "fire hydrant": Figure(11, props.fire_hydrant, 1.5, 0.28),
    "stop sign": Figure(13, props.stop_sign, 2.4, 0.5),
    "bench": Figure(15, props.bench, 0.5, 0.3),
    "suitcase": Figure(33, props.suitcase, 1.4, 0.3),
}
"""COCO categories that VOC does not have: background to every protocol."""
