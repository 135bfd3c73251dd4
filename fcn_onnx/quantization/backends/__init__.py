"""Libraries that write the int8 graph, by name. Adding one is adding an entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

import onnx

from fcn_onnx.errors import UsageError
from fcn_onnx.quantization.plan import Plan
from fcn_onnx.ranges import RangeTable

Backend = Callable[[onnx.ModelProto, RangeTable, Plan], onnx.ModelProto]
"""Takes the fp32 model, a range for every activation and the plan; returns the int8 model."""


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
