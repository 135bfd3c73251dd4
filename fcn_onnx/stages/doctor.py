"""What is installed, what works, what is missing and how to get it."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.runtime.onnxruntime import measured_cpu

PROBE_SECONDS = 120


@dataclass(frozen=True)
class Requirement:
    """A package that some command needs.

    Attributes:
        name: on PyPI.
        probe: Python source that fails if the package does not work.
        purpose: the commands that need it.
        extra: the extra of fcn-onnx that brings it; None for the core.
    """

    name: str
    probe: str
    purpose: str
    extra: str | None = None


REQUIREMENTS = (
    Requirement("numpy", "import numpy", "everything"),
    Requirement("onnx", "import onnx", "everything"),
    Requirement("onnxruntime", "import onnxruntime", "everything"),
    Requirement("pillow", "import PIL.Image", "everything"),
    Requirement("pycocotools", "import pycocotools.mask", "COCO annotations"),
    Requirement("torch", "import torch", "export", "export"),
    Requirement(
        "torchvision",
        "from fcn_onnx.networks.torchvision_compat import import_torchvision; import_torchvision()",
        "export",
        "export",
    ),
    Requirement("onnxscript", "import onnxscript", "export", "export"),
    Requirement("numba", "import numba", "calibration's speed", "fast"),
    Requirement("openvino", "import fcn_onnx.runtime.openvino", "--runtime openvino", "openvino"),
    Requirement("neural-compressor", "import neural_compressor.quantization", "comparison", "neural-compressor"),
)


@dataclass(frozen=True)
class PackageState:
    """One package as found: `state` is ok, missing, or the error that importing it gave."""

    name: str
    version: str | None
    purpose: str
    state: str
    extra: str | None


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`."""

    python: str
    cpu: Cpu
    packages: tuple[PackageState, ...]

    @property
    def remedies(self) -> tuple[str, ...]:
        """One command for each extra that is missing or broken."""
        extras = {p.extra for p in self.packages if p.state != "ok"}
        return tuple(
            f"pip install 'fcn-onnx[{extra}]'" if extra else "pip install --force-reinstall fcn-onnx"
            for extra in sorted(extras, key=str)
        )

    @property
    def healthy(self) -> bool:
        """Whether everything that the core needs works; extras may be missing."""
        return all(p.state == "ok" for p in self.packages if p.extra is None)


def diagnose() -> Diagnosis:
    """Look at this machine; every package is imported in a process of its own, as a broken one may crash."""
    return Diagnosis(platform.python_version(), measured_cpu(), tuple(map(_state, REQUIREMENTS)))


def _state(requirement: Requirement) -> PackageState:
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return PackageState(requirement.name, None, requirement.purpose, "missing", requirement.extra)
    try:
        probe = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", requirement.probe],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
        error = probe.stderr.strip().splitlines()
        state = "ok" if probe.returncode == 0 else (error or [f"exit code {probe.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        state = f"does not import within {PROBE_SECONDS} s"
    return PackageState(requirement.name, found, requirement.purpose, state, requirement.extra)
