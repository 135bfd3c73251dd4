"""What a library that runs models has to do for us, and which ones there are. Adding one is a file and an entry.

Network (network.py)  what a model takes, and what it is fed: the same for every runtime
  │  Runtime.open     a file or bytes, a `SessionConfig` → `Session`
  │  Session.run      arrays in, arrays out
  ├  Runtime.profile, how long each layer of it takes: for profiling.py
  └  Runtime.int8_nodes, what of a file it computes in int8: for coverage.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fcn_onnx.errors import MissingDependencyError, UsageError, first_line
from fcn_onnx.jobs.bounds import THREADS
from fcn_onnx.jobs.places import found
from fcn_onnx.runtime.cpu import read_cpu

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_RUNTIME = "onnxruntime"


@dataclass(frozen=True)
class SessionConfig:
    """How a session runs.

    Attributes:
        threads: intra-op threads; 0 means one for each core this process may use.
        exact_int8: run int8 kernels that cannot saturate, slower on a CPU without VNNI
            (`session.x64quantprecision`).
        optimise: let onnxruntime rewrite the graph (its own default).
        spinning: threads that have nothing to do look for work for a while before they sleep.
        memory_pattern: allocate what an image takes at once, from the second image of a size on.

    All but the threads are onnxruntime's alone.
    """

    threads: int = 0
    exact_int8: bool = False
    optimise: bool = True
    spinning: bool = True
    memory_pattern: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError on a number of threads that no session can have."""
        THREADS.require("--threads", self.threads)

    @property
    def thread_count(self) -> int:
        """Threads a session really gets."""
        return self.threads or read_cpu().cores


@dataclass(frozen=True)
class Value:
    """An input or an output of a model, as its runtime declares it.

    Attributes:
        dtype: numpy's name of the type, or the runtime's own of what is no array of numbers.
        shape: sizes; a name, or None, for each that is open.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    @property
    def fixed(self) -> tuple[int | None, ...]:
        """The sizes; None for each that is open."""
        return tuple(side if isinstance(side, int) else None for side in self.shape)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join('?' if side is None else str(side) for side in self.shape)})"


@dataclass(frozen=True)
class Layer:
    """A layer as a runtime executes it, in one of several runs.

    Attributes:
        name: the runtime's own.
        op_type: its operator, as the runtime calls it.
        milliseconds: mean of the runs.
        int8: whether it multiplies 8-bit integers.
        nodes: what of the file it may have been made of: names of nodes, or of what they return.
    """

    name: str
    op_type: str
    milliseconds: float
    int8: bool
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Profiled:
    """Where a session spent its time.

    Attributes:
        milliseconds: of a whole run, mean of the runs; the layers' add up to less.
        layers: in the order in which they run.
    """

    milliseconds: float
    layers: tuple[Layer, ...]


class Session(Protocol):
    """A model that a runtime has loaded."""

    @property
    def inputs(self) -> Sequence[Value]:
        """What it takes."""
        ...

    @property
    def outputs(self) -> Sequence[Value]:
        """What it returns."""
        ...

    def run(
        self, outputs: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]], *, of: str = "", fix: str = ""
    ) -> list[NDArray[Any]]:
        """The values of `outputs`, or of all.

        Args:
            of: what errors call the input, such as `an image of 520×520`.
            fix: what to do where it does not run.

        Raises:
            ModelError: it does not run on this input.
            MemoryError: not for what the model is, but for want of memory.
        """
        ...


class Runtime(Protocol):
    """A library that runs models, on the CPU. Whatever it raises leaves it as an error of ours."""

    @property
    def name(self) -> str:
        """As reports have it."""
        ...

    @property
    def version(self) -> str:
        """Of the library."""
        ...

    @property
    def remark(self) -> str | None:
        """What a reader of its numbers must know, if anything."""
        ...

    def open(self, source: str | bytes, config: SessionConfig, *, name: str, fix: str) -> Session:
        """Load a file or a model's bytes.

        Args:
            name: what errors call it.
            fix: what to do about a model that does not load.

        Raises:
            ModelError: it does not load.
            MemoryError: not for what the model is, but for want of memory.
        """
        ...

    def int8_nodes(self, path: Path) -> frozenset[str] | None:
        """Names, as the file has them, of the nodes that it computes on 8-bit integers; None where it does not tell.

        Raises:
            ModelError: it does not load.
        """
        ...

    def python(self, path: str, config: SessionConfig) -> str:
        """Lines of Python that open a session of the file `path` as `open` does, without this package."""
        ...

    def profile(
        self, source: str | bytes, config: SessionConfig, feeds: Mapping[str, NDArray[Any]], runs: int, *, name: str
    ) -> Profiled:
        """Run a model `runs` times after a first, with the runtime's own clock on every layer.

        Raises:
            ModelError: it does not load, or does not run on this input.
        """
        ...


@dataclass(frozen=True)
class RuntimeEntry:
    """A runtime that is imported when first used.

    Attributes:
        name: as reports have it.
        description: one line for `--help`.
        place: `package.module:name` of the `Runtime`.
        package: on PyPI; what is not onnxruntime, or one of its other builds, comes with the extra of that name.
        target: the kind of int8 model that it reads; None where the CPU decides.
        provider: of onnxruntime, which its build on PyPI has not got and `package` has.
    """

    name: str
    description: str
    place: str
    package: str = DEFAULT_RUNTIME
    target: str | None = None
    provider: str | None = None

    @property
    def installed(self) -> bool:
        """Whether its library seems to be there; nothing is imported."""
        return find_spec(DEFAULT_RUNTIME if self.provider else self.package) is not None

    def load(self) -> Runtime:
        """The runtime. Raises MissingDependencyError where its library is not installed, or does not import."""
        if self.provider is not None:
            self._require_provider(self.provider)
        try:
            runtime: Runtime = found(self.place)
        except ImportError as error:
            if self.package == DEFAULT_RUNTIME:
                raise
            raise MissingDependencyError(
                f"the runtime {self.name} cannot be loaded: {first_line(error)}",
                fix=f"install it with: pip install 'fcn-onnx[{self.package}]'",
            ) from error
        return runtime

    def _require_provider(self, provider: str) -> None:
        """Raise MissingDependencyError where the build of onnxruntime that is installed has no such provider."""
        available = found("onnxruntime:get_available_providers")()
        if provider not in available:
            raise MissingDependencyError(
                f"the runtime {self.name} needs {provider}, and the onnxruntime that is installed has "
                f"{', '.join(available)}",
                fix="only one build of onnxruntime can be installed: pip uninstall -y onnxruntime, then "
                f"pip install {self.package}",
            )


RUNTIMES: Mapping[str, RuntimeEntry] = {
    entry.name: entry
    for entry in (
        RuntimeEntry("onnxruntime", "onnxruntime's CPU provider", "fcn_onnx.runtime.onnxruntime:RUNTIME"),
        RuntimeEntry(
            "openvino",
            "OpenVINO on the CPU, floats in f32",
            "fcn_onnx.runtime.openvino:F32",
            package="openvino",
            target="openvino",
        ),
        RuntimeEntry(
            "openvino-bf16",
            "the same, floats in bf16: its own default where the CPU has it",
            "fcn_onnx.runtime.openvino:BF16",
            package="openvino",
            target="openvino",
        ),
        RuntimeEntry(
            "onnxruntime-cuda",
            "onnxruntime's provider for NVIDIA GPUs",
            "fcn_onnx.runtime.providers:CUDA",
            package="onnxruntime-gpu",
            target="tensorrt",
            provider="CUDAExecutionProvider",
        ),
        RuntimeEntry(
            "onnxruntime-tensorrt",
            "the same by TensorRT",
            "fcn_onnx.runtime.providers:TENSORRT",
            package="onnxruntime-gpu",
            target="tensorrt",
            provider="TensorrtExecutionProvider",
        ),
        RuntimeEntry(
            "onnxruntime-migraphx",
            "onnxruntime's provider for AMD GPUs",
            "fcn_onnx.runtime.providers:MIGRAPHX",
            package="onnxruntime-migraphx",
            target="tensorrt",
            provider="MIGraphXExecutionProvider",
        ),
        RuntimeEntry(
            "onnxruntime-openvino",
            "onnxruntime's provider that is OpenVINO",
            "fcn_onnx.runtime.providers:OPENVINO",
            package="onnxruntime-openvino",
            target="openvino",
            provider="OpenVINOExecutionProvider",
        ),
    )
}


def get_runtime(name: str = DEFAULT_RUNTIME) -> Runtime:
    """The runtime called `name`.

    Raises:
        UsageError: there is none.
        MissingDependencyError: its library is not installed.
    """
    if name not in RUNTIMES:
        raise UsageError(f"no runtime is called {name!r}", fix=f"choose one of: {', '.join(RUNTIMES)}")
    return RUNTIMES[name].load()
