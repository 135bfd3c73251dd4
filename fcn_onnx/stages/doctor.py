"""What is installed, what works, what is missing and how to get it."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from fcn_onnx.runtime.cpu import Cpu
from fcn_onnx.runtime.onnxruntime import measured_cpu

PROBE_SECONDS = 120
PIP = (sys.executable, "-m", "pip", "install")


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
    Requirement("ray", "import ray", "--engine ray", "ray"),
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
        """One command for each extra that is missing or broken: as it is typed, for the Python that runs this."""
        broken = {(p.extra, p.name) for p in self.packages if p.state != "ok"}
        extras = sorted({extra for extra, _ in broken}, key=str)
        return tuple(_command(extra, {name for of, name in broken if of == extra}) for extra in extras)

    @property
    def healthy(self) -> bool:
        """Whether everything that the core needs works; extras may be missing."""
        return all(p.state == "ok" for p in self.packages if p.extra is None)


def _command(extra: str | None, broken: Collection[str]) -> str:
    """What installs an extra, or again what is broken of the core: what they require, as no index need have us."""
    with suppress(PackageNotFoundError):
        stated = [line.replace('"', "'").split(";") for line in requires("fcn-onnx") or ()]
        marker = [] if extra is None else [f"extra == '{extra}'"]
        wanted = [text.strip() for text, *condition in stated if [part.strip() for part in condition] == marker]
        if extra is None:
            wanted = [text for text in wanted if re.split(r"[^\w.-]", text, maxsplit=1)[0].lower() in broken]
        if wanted:
            again = ["--force-reinstall"] if extra is None else []
            return shlex.join([*PIP, *again, *wanted])
    return shlex.join([*PIP, f"fcn-onnx[{extra}]"] if extra else [*PIP, "--force-reinstall", "fcn-onnx"])


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
