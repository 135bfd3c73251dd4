"""What a backend is given: the model, and what its int8 form is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.calibration.table import RangeTable


@dataclass(frozen=True)
class Images:
    """Calibration images for a backend that observes them itself.

    Attributes:
        count: how many.
        batches: the inputs, in the model's layout and type, one after the other, each time it is called.
        largest: (height, width) of the largest of them.
    """

    count: int
    batches: Callable[[], Iterator[NDArray[Any]]]
    largest: tuple[int, int]


@dataclass(frozen=True)
class Goal:
    """What a backend that tunes by itself is to reach.

    Attributes:
        drop_percent: the relative mIoU that a model loses, in percent.
        max_drop: the most it may be.
        max_trials: after which it gives up.
    """

    drop_percent: Callable[[Path], float]
    max_drop: float
    max_trials: int = 100


@dataclass(frozen=True)
class Draft:
    """What a backend puts into int8 form.

    Attributes:
        model: fp32. For a backend that takes ranges, it has the types of inner tensors in its `value_info`, and in the
            place of each weight of `weight_scales` one value a channel, (C, 1, …), which becomes 1 at its scale.
        method: threshold method.
        log: gets what a chatty library says.
        table: a range for every activation; None for a backend that observes images itself.
        weight_scales: (C,) float32 by initializer, one an output channel.
        images: for a backend that observes them itself.
        goal: for a backend that tunes by itself.
    """

    model: onnx.ModelProto
    method: str
    log: Path
    table: RangeTable | None = None
    weight_scales: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    images: Images | None = None
    goal: Goal | None = None
