"""What a user says of a model that does not say it itself: options of every command that runs one."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.bounds import MULTIPLE
from fcn_onnx.jobs.fields import Checked, Triple, option

CHANNELS = {"RGB": "red first", "BGR": "blue first"}

MAX_CLASSES = 255
"""Labels are stored in 8 bits, and one of them is void."""


def multiple_of_option() -> Any:
    """The one thing of an `Interface` that random images need too."""
    return option(
        None,
        help="Pad images to sides that are multiples of N. Default: what the model says, or is found to need.",
        metavar="N",
        bound=MULTIPLE,
    )


@dataclass(frozen=True)
class InputHints(Checked):
    """What a user says of how a model takes photographs; None leaves it to the model.

    Attributes:
        mean, std: of the input's normalisation, (x / 255 − mean) / std, for R, G, B.
        channels: `RGB` or `BGR`, the order in which the model takes them.
        multiple_of: both sides of its input must be multiples of this; images are padded to it.

    Raises:
        UsageError: a value that no model can have.
    """

    mean: Triple | None = option(
        None,
        help="Mean of the input's normalisation, (x/255 - mean)/std, as R,G,B. Default: what the model says.",
    )
    std: Triple | None = option(
        None, help="Divisor of the input's normalisation, (x/255 - mean)/std, as R,G,B. Default: what the model says."
    )
    channels: str | None = option(None, help="Order in which the model takes colours. Default: RGB.", also=CHANNELS)
    multiple_of: int | None = multiple_of_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            if values is not None and not (len(values) == 3 and all(map(isfinite, values))):
                raise UsageError(f"{name} {_joined(values)} is not three finite numbers", fix="correct it")
        if self.std is not None and min(self.std) <= 0:
            raise UsageError(f"--std {_joined(self.std)} holds a number that is not positive", fix="correct it")


@dataclass(frozen=True)
class Interface(InputHints):
    """What a user says of a model that does not say it itself; None leaves it to the model.

    Attributes:
        output_name: the output that holds logits or labels; by default `out`, or the only one.
        classes: names in label order; by default what its card says, else VOC's 21.

    Raises:
        UsageError: a value that no model can have.
    """

    output_name: str | None = option(
        None, help="Output with logits or labels. Default: `out`, or the only one.", metavar="NAME"
    )
    classes: tuple[str, ...] | None = option(
        None,
        help="Class names in label order, one a line; a first line `background` is what is none of the others. "
        "Default: what the model says, else VOC's 21.",
        metavar="FILE",
        reads="fcn_onnx.data.labels:read_classes",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes is not None and len(self.classes) > MAX_CLASSES:
            raise UsageError(f"--classes names {len(self.classes)}", fix=f"labels have 8 bits: {MAX_CLASSES} at most")


def _joined(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
