"""Libraries that write the int8 graph, by name. Adding one is adding an entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.errors import UsageError
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.ranges import RangeTable


@dataclass(frozen=True)
class Draft:
    """What a backend puts into int8 form.

    Attributes:
        model: fp32; its weights are what int8 holds exactly at their scales.
        table: a range for every activation.
        weight_scales: (C,) float32 by initializer, one an output channel.
    """

    model: onnx.ModelProto
    table: RangeTable
    weight_scales: Mapping[str, NDArray[np.float32]]


Backend = Callable[[Draft, Plan], onnx.ModelProto]


@dataclass(frozen=True)
class BackendEntry:
    """A backend that is imported when first used."""

    name: str
    description: str
    module: str

    def load(self) -> Backend:
        """The module's `quantize` function."""
        backend: Backend = import_module(self.module).quantize
        return backend


BACKENDS: Mapping[str, BackendEntry] = {
    entry.name: entry
    for entry in (
        BackendEntry(
            "onnxruntime",
            "onnxruntime's static quantizer",
            "fcn_onnx.quantization.backends.onnxruntime",
        ),
    )
}


def get_backend(name: str) -> Backend:
    """The backend called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in BACKENDS:
        raise UsageError(f"no backend is called {name!r}", fix=f"choose one of: {', '.join(BACKENDS)}")
    return BACKENDS[name].load()
