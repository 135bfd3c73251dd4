"""From an RGB photograph to a network's input, as one frozen value that travels in the model's metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.data.images import MAX_PIXELS
from fcn_onnx.data.opencv import OPENCV
from fcn_onnx.data.sample import Sample
from fcn_onnx.errors import ImageError, UsageError
from fcn_onnx.jobs.bounds import MULTIPLE, SIDE
from fcn_onnx.model.interface import CHANNELS, InputHints

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GREY_MEAN = (0.449, 0.449, 0.449)
GREY_STD = (0.226, 0.226, 0.226)
"""ImageNet's, over its channels."""

GREY = "grey"
"""The one channel of a network that sees no colours: 0.299 R + 0.587 G + 0.114 B."""

SCALES: Mapping[str, int] = {"1/255": 255, "1": 1}
"""What pixels are divided by before they are normalised, by what is recorded."""


@dataclass(frozen=True)
class Resize:
    """How an image is resized; with nothing set, not at all.

    Attributes:
        short_side: pixels of the shorter side; the aspect is kept, and the other side truncated (torchvision).
        size: (H, W), whatever the aspect.
        long_side: pixels of the longer side, likewise (MindSpore's `resize_long`).
        within: the largest (long, short) sides that the image is scaled to, up or down; both are rounded half up
            (mmcv's `rescale_size`).
    """

    short_side: int | None = None
    size: tuple[int, int] | None = None
    long_side: int | None = None
    within: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Resize:
        """Read `native`, `short-side N`, `long-side N`, `within LONGxSHORT` or `HxW`.

        Raises:
            UsageError: the text is none of these.
        """
        if text == "native":
            return cls()
        if match := re.fullmatch(r"(short|long)-side ([1-9]\d{0,4})", text):
            return cls(short_side=int(match[2])) if match[1] == "short" else cls(long_side=int(match[2]))
        if match := re.fullmatch(r"(within )?([1-9]\d{0,4})x([1-9]\d{0,4})", text):
            pair = int(match[2]), int(match[3])
            return cls(within=pair) if match[1] else cls(size=pair)
        raise UsageError(
            f"cannot read the resize rule {text!r}",
            fix="write native, short-side N, long-side N, within LONGxSHORT, or HxW",
        )

    def __str__(self) -> str:
        if self.size:
            return f"{self.size[0]}x{self.size[1]}"
        if self.within:
            return f"within {self.within[0]}x{self.within[1]}"
        if self.long_side:
            return f"long-side {self.long_side}"
        return f"short-side {self.short_side}" if self.short_side else "native"

    def target(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) that an image of `width` × `height` gets.

        The long side is `int(short_side · long / short)`: torchvision `_compute_resized_output_size`.
        """
        if self.size:
            return self.size[1], self.size[0]
        if self.within:
            scale = min(self.within[0] / max(width, height), self.within[1] / min(width, height))
            return int(width * scale + 0.5), int(height * scale + 0.5)
        side = self.short_side or self.long_side
        if not side:
            return width, height
        if (width <= height) == bool(self.short_side):
            return side, max(1, int(side * height / width))
        return max(1, int(side * width / height)), side


PILLOW = "pillow"
"""Pillow's bilinear filter, which widens where it shrinks: torchvision's."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, scale to [0, 1], normalise: (x / 255 − mean) / std, order the channels, pad.

    Attributes:
        resize: the size of the picture.
        mean, std: for R, G, B, whatever the order of the channels; of grey, three times the same.
        channels: `RGB` or `BGR`, the order that the network takes, or `GREY`.
        pad: (H, W) of the input where it is larger than the picture: zeros to the right and below.
        multiple_of: what the network's sides must be multiples of. The session pads to it, likewise, and crops what
            comes out (`fcn_onnx.runtime.network.Network`); it is here so that it is recorded beside the rest.
        resample: `PILLOW`, or a name in `OPENCV`.
        resizes_floats: whether the picture is normalised before it is resized, so that nothing is rounded to 8 bits
            between; by OpenCV, as Pillow resizes pixels.
        divisor: of the pixels; 1 where the network takes 0 … 255 and normalises them itself.
    """

    resize: Resize = Resize(short_side=520)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels: str = "RGB"
    pad: tuple[int, int] | None = None
    multiple_of: int | None = None
    resample: str = PILLOW
    resizes_floats: bool = False
    divisor: int = 255

    @property
    def planes(self) -> int:
        """How many channels there are."""
        return 1 if self.channels == GREY else 3

    def of_pixels(self) -> Preprocessing:
        """The same for a network that takes pixels as they are."""
        return replace(self, mean=(0, 0, 0), std=(1, 1, 1), divisor=1, resizes_floats=False)

    @property
    def largest(self) -> float:
        """The largest magnitude in any photograph after the normalisation: of a black or a white pixel."""
        pairs = zip(self.mean, self.std, strict=True)
        return max(max(abs(mean), abs(1 - mean)) / std for mean, std in pairs)

    def read(self, sample: Sample) -> NDArray[np.float32]:
        """The network's input for a photograph, (1, C, H, W) float32.

        Raises:
            ImageError: see `read_rgb` and `resized`.
        """
        return self(sample.read(), str(sample.path))

    def __call__(self, image: Image.Image, name: str = "the image") -> NDArray[np.float32]:
        """The network's input for one RGB image, which errors call `name`, (1, C, H, W) float32.

        Raises:
            ImageError: see `resized`.
        """
        image = image.convert("L") if self.channels == GREY else image
        planes = self._resized_floats(image, name) if self.resizes_floats else self.normalise(self.resized(image, name))
        if self.channels == "BGR":
            planes = np.ascontiguousarray(planes[:, ::-1])
        if self.pad is None:
            return planes
        height, width = planes.shape[2:]
        if height > self.pad[0] or width > self.pad[1]:
            raise ImageError(f"{name} is {width}×{height} and padded to {self.pad[::-1]}", fix="export the model again")
        return np.pad(planes, ((0, 0), (0, 0), (0, self.pad[0] - height), (0, self.pad[1] - width)))

    def resized(self, image: Image.Image, name: str = "the image") -> Image.Image:
        """The image on the grid that the network sees.

        Raises:
            ImageError: it would have more than `MAX_PIXELS`.
        """
        target = self._target(image, name)
        if target == image.size:
            return image
        if self.resample == PILLOW:
            return image.resize(target, Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        resized = OPENCV[self.resample](pixels.reshape(image.height, image.width, -1), target)
        return Image.fromarray(resized.reshape(target[1], target[0], *pixels.shape[2:]))

    def _resized_floats(self, image: Image.Image, name: str) -> NDArray[np.float32]:
        """(1, C, H, W) float32, R first, resized when it is normalised. Raises ImageError, see `resized`."""
        target = self._target(image, name)
        planes = self.normalise(image)
        if target == image.size:
            return planes
        pixels = OPENCV[self.resample](np.ascontiguousarray(planes[0].transpose(1, 2, 0)), target)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])

    def _target(self, image: Image.Image, name: str) -> tuple[int, int]:
        target = self.resize.target(*image.size)
        if target[0] * target[1] > MAX_PIXELS:
            raise ImageError(
                f"{name}, {image.width}×{image.height} pixels, would have {target[0]}×{target[1]} when resized to "
                f"{self.resize}, more than the limit of {MAX_PIXELS:,}",
                fix="cut it into pieces, or resize to less",
            )
        return target

    def normalise(self, image: Image.Image) -> NDArray[np.float32]:
        """(1, C, H, W) float32, R first, from an image at its final size, in RGB or grey.

        In torchvision's order (`to_tensor`, then `normalize`), so that the floats are the same bit for bit.
        """
        pixels = np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, -1).transpose(2, 0, 1)
        planes = np.empty((1, *pixels.shape), np.float32)
        np.divide(pixels, np.float32(self.divisor), out=planes[0], dtype=np.float32)
        planes -= np.asarray(self.mean[: len(pixels)], np.float32).reshape(-1, 1, 1)
        planes /= np.asarray(self.std[: len(pixels)], np.float32).reshape(-1, 1, 1)
        return planes

    def hinted(self, hints: InputHints) -> Preprocessing:
        """The same with what a user says of it."""
        return replace(
            self,
            mean=hints.mean or self.mean,
            std=hints.std or self.std,
            channels=hints.channels or self.channels,
            multiple_of=hints.multiple_of or self.multiple_of,
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON form kept in models and range tables."""
        return {
            "resize": str(self.resize),
            "mean": list(self.mean),
            "std": list(self.std),
            "channels": self.channels,
            "scale": next(name for name, divisor in SCALES.items() if divisor == self.divisor),
            **({"pad": list(self.pad)} if self.pad else {}),
            **({"multiple_of": self.multiple_of} if self.multiple_of else {}),
            **({"resample": self.resample} if self.resample != PILLOW else {}),
            **({"resizes_floats": True} if self.resizes_floats else {}),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Preprocessing:
        """Read what `to_json` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        if value["channels"] not in (*CHANNELS, GREY) or value["scale"] not in SCALES:
            raise ValueError("it is neither RGB nor BGR nor grey, scaled by 1/255 or 1")
        mean, std = (tuple(float(x) for x in value[key]) for key in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3 or not all(map(isfinite, mean + std)) or min(std) <= 0:
            raise ValueError("mean and std are not three finite numbers each, or std is not positive")
        pad = (int(value["pad"][0]), int(value["pad"][1])) if "pad" in value else None
        if pad is not None and not all(map(SIDE.holds, pad)):
            raise ValueError(f"it pads to {pad}")
        multiple_of = int(value["multiple_of"]) if "multiple_of" in value else None
        if multiple_of is not None and not MULTIPLE.holds(multiple_of):
            raise ValueError(f"sides are multiples of {multiple_of}, not of a number {MULTIPLE}")
        try:
            resize = Resize.parse(value["resize"])
        except UsageError as error:
            raise ValueError(error.what) from error
        resample, floats = value.get("resample", PILLOW), value.get("resizes_floats", False)
        if resample not in (OPENCV if floats else (PILLOW, *OPENCV)):
            raise ValueError(f"it resizes {'floats ' if floats else ''}by {resample!r}")
        divisor = SCALES[value["scale"]]
        return cls(resize, mean, std, value["channels"], pad, multiple_of, resample, bool(floats), divisor)
