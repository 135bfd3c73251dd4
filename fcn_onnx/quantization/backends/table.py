"""Backends by name. Adding one is adding an entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fcn_onnx.errors import UsageError
from fcn_onnx.jobs.places import found

if TYPE_CHECKING:
    import onnx

    from fcn_onnx.quantization.backends.draft import Draft
    from fcn_onnx.quantization.plan import Plan

    Backend = Callable[[Draft, Plan], onnx.ModelProto]


@dataclass(frozen=True)
class BackendEntry:
    """A backend that is imported when first used.

    Attributes:
        name: as `quantize --backend` takes it.
        description: one line for `--help`.
        module: has the function `quantize`.
        methods: threshold methods of its own, where it observes images itself; None where it takes our ranges.
    """

    name: str
    description: str
    module: str
    methods: tuple[str, ...] | None = None

    def load(self) -> Backend:
        """The module's `quantize` function."""
        backend: Backend = found(f"{self.module}:quantize")
        return backend


BACKENDS: Mapping[str, BackendEntry] = {
    entry.name: entry
    for entry in (
        BackendEntry(
            "onnxruntime",
            "onnxruntime's static quantizer",
            "fcn_onnx.quantization.backends.onnxruntime",
        ),
        BackendEntry(
            "neural-compressor",
            "Intel Neural Compressor 2.6, its own calibration and, with --max-drop, tuning",
            "fcn_onnx.quantization.backends.neural_compressor",
            methods=("minmax", "kl", "percentile"),
        ),
    )
}


def get_backend(name: str) -> BackendEntry:
    """The backend called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in BACKENDS:
        raise UsageError(f"no backend is called {name!r}", fix=f"choose one of: {', '.join(BACKENDS)}")
    return BACKENDS[name]
