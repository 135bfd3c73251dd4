"""torchvision beside a torch that its C++ operators were not built for.

torchvision's wheels on some indexes exist only for CUDA. Beside a CPU torch their operators do not load, and
`import torchvision` then fails with «operator torchvision::nms does not exist», because it registers Python
kernels for operators that nobody declared. Segmentation networks use none of them, so declaring their
schemas is enough.
"""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import Any

from fcn_onnx.errors import MissingDependencyError
from fcn_onnx.networks.compiler_cache import no_compiler_cache

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
INSTALL = "pip install 'fcn-onnx[export]'"


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring its missing operators only when the import fails for want of them.

    Raises:
        MissingDependencyError: torch or torchvision is not installed, or does not import for another reason.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"torch does not import: {error}", fix=INSTALL) from error
    try:
        return _import()
    except ImportError as error:
        raise MissingDependencyError(f"torchvision does not import: {error}", fix=INSTALL) from error
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise MissingDependencyError(
                f"torchvision does not import: {error}",
                fix=f"install versions of torch and torchvision that belong together: {INSTALL}",
            ) from error
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left behind
    _declare_operators()
    return _import()


def _import() -> ModuleType:
    with no_compiler_cache():
        import torchvision
        import torchvision.models.segmentation

    module: ModuleType = torchvision
    return module


@cache
def _declare_operators() -> tuple[Any, ...]:
    """Declare what is missing; the libraries must outlive the import, so they are returned and cached."""
    import torch

    libraries: list[Any] = []
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(schema)
            libraries.append(library)
    return tuple(libraries)
