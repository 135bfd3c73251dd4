"""OpenVINO on the CPU: a model in it, and what of the model it computes in int8.

A model is compiled once, for images of any size. With each new size OpenVINO makes kernels anew and keeps them: the
first FCN-ResNet-50 run of a size took some 40 ms longer than the next, where compiling for that size took 400 ms, and
ran no faster (2 cores with VNNI, 260×260).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fcn_onnx.errors import ModelError, UsageError
from fcn_onnx.model.files import load_model
from fcn_onnx.runtime.seam import Layer, Profiled, SessionConfig, Value
from fcn_onnx.runtime.telling import told
from fcn_onnx.runtime.timing import timed

TELEMETRY = "openvino_telemetry"


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """While this lasts, whoever imports `package` finds that it is not installed."""
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == package}
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
        sys.modules.update(loaded)


with _hidden(TELEMETRY):  # OpenVINO's converter, which comes with it, would report home: so it gets its own stub
    import openvino as ov

CPU = "CPU"
MULTIPLYING = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
"""Kinds of the layers that OpenVINO executes."""

EIGHT_BITS = frozenset({"u8", "i8"})
NO_MEMORY = ("bad_alloc", "bad allocation", "std::bad_array_new_length", "annot allocate memory")
"""How OpenVINO says that memory is short."""

NOISE = re.compile(
    r"^(Exception from .*|FrontEnd API failed with .*|Model wasn't fully converted.*|Summary:|To facilitate .*)$|"
    r"Check '.*' failed at \S+:?"
)
"""Of what OpenVINO raises, the parts that say where in its own code, and not what."""

WAY_OUT = "quantize it again with --target openvino, whose form OpenVINO reads, or use --runtime onnxruntime"


class Session:
    """A model in OpenVINO, which runs one input at a time.

    Args:
        compiled: what OpenVINO made of it.
        graph: the model, for the names of its inputs and outputs.
        name: what errors call it.
    """

    def __init__(self, compiled: Any, graph: onnx.GraphProto, *, name: str) -> None:
        self._name = name
        self._request = compiled.create_infer_request()
        constants = {tensor.name for tensor in graph.initializer}
        self._taken = {value.name: compiled.input(value.name) for value in graph.input if value.name not in constants}
        self._given = {value.name: compiled.output(value.name) for value in graph.output}
        self.inputs = tuple(_value(*item) for item in self._taken.items())
        self.outputs = tuple(_value(*item) for item in self._given.items())

    def run(
        self, outputs: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]], *, of: str = "", fix: str = ""
    ) -> list[NDArray[Any]]:
        """See `seam.Session`."""
        fed = {self._taken[name]: np.ascontiguousarray(value) for name, value in feeds.items()}
        with _told(
            f"{self._name} does not run in OpenVINO" + (f" on {of}" if of else ""), fix or "make the file again"
        ):
            self._request.infer(fed, share_inputs=True, share_outputs=True)
            wanted = self._given if outputs is None else outputs
            return [np.array(self._request.get_tensor(self._given[name]).data) for name in wanted]


class OpenVino:
    """See `seam.Runtime`.

    Args:
        name: as reports have it.
        precision: OpenVINO's name of the type that floats are computed in.
    """

    version: str = ov.__version__.partition("-")[0]

    def __init__(self, name: str, precision: str) -> None:
        self.name = name
        self._precision = precision

    @cached_property
    def _core(self) -> Any:
        return ov.Core()

    @property
    def remark(self) -> str:
        """See `seam.Runtime`."""
        own = self._core.get_property(CPU, "INFERENCE_PRECISION_HINT").get_type_name()
        left = "as it would by itself" if own == self._precision else f"not in {own}, as it would by itself on this CPU"
        return f"{self.name} is OpenVINO {self.version}, told to compute floats in {self._precision}, {left}"

    def open(self, source: str | bytes, config: SessionConfig, *, name: str, fix: str) -> Session:
        """See `seam.Runtime`.

        Raises:
            UsageError: this CPU does not compute in the precision that is asked for.
        """
        graph = (load_model(Path(source)) if isinstance(source, str) else onnx.load_from_string(source)).graph
        _require_whole_scales(graph, name)
        quantized = any(node.op_type.startswith("QLinear") for node in graph.node)
        with _told(f"OpenVINO cannot load {name}", WAY_OUT if quantized else fix):
            compiled = self._compiled(source, config)
            session = Session(compiled, graph, name=name)
        if compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() != self._precision:
            raise UsageError(
                f"OpenVINO does not compute in {self._precision} on this CPU", fix="use --runtime openvino"
            )
        return session

    def int8_nodes(self, path: Path) -> frozenset[str]:
        """See `seam.Runtime`."""
        _require_whole_scales(load_model(path).graph, str(path))
        with _told(f"OpenVINO cannot load {path}", WAY_OUT):
            layers = _executed(self._compiled(str(path), SessionConfig()))
        return frozenset(name for layer in layers.values() if layer.int8 for name in layer.nodes)

    def profile(
        self, source: str | bytes, config: SessionConfig, feeds: Mapping[str, NDArray[Any]], runs: int, *, name: str
    ) -> Profiled:
        """See `seam.Runtime`. A run's time is that of the call; OpenVINO counts the mean of a layer over all runs,
        from which the first is taken out."""
        with _told(f"{name} does not run in OpenVINO", WAY_OUT):
            compiled = self._compiled(source, config, PERF_COUNT=True)
            request, fed = compiled.create_infer_request(), dict(feeds)
            request.infer(fed, share_inputs=True, share_outputs=True)
            first = _counted(request)
            whole = sum(
                timed(partial(request.infer, fed, share_inputs=True, share_outputs=True))[1] for _ in range(runs)
            )
            spent = {key: max(0.0, (1 + runs) * mean - first[key]) / runs for key, mean in _counted(request).items()}
            layers = _executed(compiled)
        ran = [replace(layers[key], milliseconds=spent[key]) for key in layers if key in spent]
        return Profiled(whole / runs, tuple(ran))

    def python(self, path: str, config: SessionConfig) -> str:
        """See `seam.Runtime`."""
        return f"import openvino\nmodel = openvino.Core().compile_model({path!r}, {CPU!r}, {self._settings(config)!r})"

    def _compiled(self, source: str | bytes, config: SessionConfig, **more: Any) -> Any:
        return self._core.compile_model(self._core.read_model(source), CPU, self._settings(config) | more)

    def _settings(self, config: SessionConfig) -> dict[str, Any]:
        """Threads are not bound to cores: those of two sessions, or of two processes, would wait for the same ones."""
        return {
            "INFERENCE_NUM_THREADS": config.thread_count,
            "INFERENCE_PRECISION_HINT": self._precision,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
            "ENABLE_HYPER_THREADING": True,
        }


FACTS = ("layerType", "runtimePrecision", "originalLayersNames")
"""Of an executed layer; the last are the nodes that it was fused from, with commas between."""


def _counted(request: Any) -> Counter[str]:
    """Milliseconds of each layer that was run, mean of all runs so far."""
    found = Counter[str]()
    for count in request.profiling_info:
        if count.status == ov.ProfilingInfo.Status.EXECUTED:
            found[count.node_name] += count.real_time / timedelta(milliseconds=1)
    return found


def _executed(compiled: Any) -> dict[str, Layer]:
    """What OpenVINO executes, by its names, without times; after a run as it was run."""
    found = {}
    for layer in compiled.get_runtime_model().get_ordered_ops():
        kind, precision, nodes = (layer.rt_info[key].astype(str) for key in FACTS)
        multiplies = kind in MULTIPLYING
        found[layer.get_friendly_name()] = Layer(
            name=layer.get_friendly_name(),
            op_type=f"{kind} {precision}",
            milliseconds=0.0,
            int8=multiplies and precision in EIGHT_BITS,
            nodes=tuple(nodes.split(",")) if multiplies else (),
        )
    return found


F32 = OpenVino("openvino", "f32")
BF16 = OpenVino("openvino-bf16", "bf16")


def _value(name: str, port: Any) -> Value:
    shape, kind = port.get_partial_shape(), port.get_element_type()
    try:
        dtype = kind.to_dtype().name
    except RuntimeError:  # what numpy has no type for
        dtype = kind.get_type_name()
    sides = () if shape.rank.is_dynamic else tuple(None if d.is_dynamic else d.get_length() for d in shape)
    return Value(name, dtype, sides)


def _require_whole_scales(graph: onnx.GraphProto, name: str) -> None:
    """Raise ModelError on weights with a scale for each channel in a QLinearConv.

    OpenVINO 2026.4.1 takes the scales as those of the input channels: it fails where there are as many as output
    channels, and where both are as many it would compute something else.
    """
    single = {tensor.name for tensor in graph.initializer if np.prod(tensor.dims) == 1}
    for node in graph.node:
        if node.op_type == "QLinearConv" and node.input[4] not in single:
            raise ModelError(
                f"{name} is in the QOperator form with a scale for each channel ({node.name or node.output[0]}), which "
                "OpenVINO puts on the wrong axis",
                fix=WAY_OUT,
            )


def _said(error: BaseException) -> str:
    """What an error of OpenVINO says, in one line."""
    lines = (" ".join(NOISE.sub("", line).split()) for line in str(error).splitlines())
    found = [line for line in lines if line]
    return "; ".join(found[:2]) or type(error).__name__


_told = partial(told, raised=(RuntimeError, TypeError, ValueError), said=_said, no_memory=NO_MEMORY)
"""Errors of OpenVINO as errors of ours."""
