"""From an RGB photograph to a network's input, as one frozen value that travels in the model's metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_onnx.errors import UsageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Resize:
    """How an image is resized: `short_side` pixels (aspect kept), a fixed `size` (H, W), or, with neither, not."""

    short_side: int | None = None
    size: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Resize:
        """Read `native`, `short-side N` or `HxW`.

        Raises:
            UsageError: the text is none of these.
        """
        if text == "native":
            return cls()
        if match := re.fullmatch(r"short-side (\d+)", text):
            return cls(short_side=int(match[1]))
        if match := re.fullmatch(r"(\d+)x(\d+)", text):
            return cls(size=(int(match[1]), int(match[2])))
        raise UsageError(f"cannot read the resize rule {text!r}", fix="write native, short-side N, or HxW")

    def __str__(self) -> str:
        if self.size:
            return f"{self.size[0]}x{self.size[1]}"
        return f"short-side {self.short_side}" if self.short_side else "native"

    def target(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) that an image of `width` × `height` gets.

        The long side is `int(short_side · long / short)`: torchvision `_compute_resized_output_size`.
        """
        if self.size:
            return self.size[1], self.size[0]
        if not self.short_side:
            return width, height
        if width <= height:
            return self.short_side, int(self.short_side * height / width)
        return int(self.short_side * width / height), self.short_side


@dataclass(frozen=True)
class Preprocessing:
    """Resize (PIL bilinear), scale to [0, 1], normalise: (x / 255 − mean) / std, channels RGB."""

    resize: Resize = Resize(short_side=520)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """The network's input for one RGB image, (1, 3, H, W) float32."""
        return self.normalise(self.resized(image))

    def resized(self, image: Image.Image) -> Image.Image:
        """The image on the grid that the network sees."""
        target = self.resize.target(*image.size)
        return image if target == image.size else image.resize(target, Image.Resampling.BILINEAR)

    def normalise(self, image: Image.Image) -> NDArray[np.float32]:
        """(1, 3, H, W) float32 from an RGB image at its final size.

        In torchvision's order (`to_tensor`, then `normalize`), so that the floats are the same bit for bit.
        """
        pixels = np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)
        planes = np.empty((1, *pixels.shape), np.float32)
        np.divide(pixels, np.float32(255), out=planes[0], dtype=np.float32)
        planes -= np.asarray(self.mean, np.float32).reshape(3, 1, 1)
        planes /= np.asarray(self.std, np.float32).reshape(3, 1, 1)
        return planes

    def to_json(self) -> dict[str, Any]:
        """The JSON form kept in models and range tables."""
        return {
            "resize": str(self.resize),
            "mean": list(self.mean),
            "std": list(self.std),
            "channels": "RGB",
            "scale": "1/255",
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Preprocessing:
        """Read what `to_json` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        if value["channels"] != "RGB" or value["scale"] != "1/255":
            raise ValueError(f"preprocessing {value} is not RGB scaled by 1/255")
        mean, std = (tuple(float(x) for x in value[key]) for key in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3:
            raise ValueError(f"preprocessing {value} does not have three channels")
        return cls(Resize.parse(value["resize"]), mean, std)
