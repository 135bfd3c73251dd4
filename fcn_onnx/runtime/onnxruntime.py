"""onnxruntime: what it makes of a model on this machine, and what its kernels do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fcn_onnx.errors import ModelError
from fcn_onnx.jobs.files import unwritable
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.files import load_model
from fcn_onnx.model.macs import INTEGER_OPS
from fcn_onnx.runtime.cpu import Cpu, read_cpu
from fcn_onnx.runtime.seam import Profiled, SessionConfig
from fcn_onnx.runtime.session import CPU, Session, options_of, python_of
from fcn_onnx.runtime.trace import MOVED, traced

QMAX = 127


class OnnxRuntime:
    """See `seam.Runtime`."""

    name = "onnxruntime"
    version = ort.__version__
    remark = None

    def open(self, source: str | bytes, config: SessionConfig, *, name: str, fix: str) -> Session:
        """See `seam.Runtime`."""
        return Session(source, options_of(config), name=name, fix=fix)

    def int8_nodes(self, path: Path) -> frozenset[str]:
        """See `seam.Runtime`."""
        return int8_names(executed_graph(path))

    def python(self, path: str, config: SessionConfig) -> str:
        """See `seam.Runtime`."""
        return python_of(path, config)

    def profile(
        self, source: str | bytes, config: SessionConfig, feeds: Mapping[str, NDArray[Any]], runs: int, *, name: str
    ) -> Profiled:
        """See `seam.Runtime`."""
        return traced(source, options_of(config), feeds, runs, name=name, provider=CPU)


RUNTIME = OnnxRuntime()


@cache
def measured_cpu() -> Cpu:
    """This processor as onnxruntime uses it: whether its fast u8·s8 kernel saturates is tried, not read off flags."""
    cpu = read_cpu()
    return cpu.saturating() if _fast_kernel_saturates() else cpu.exact()


def machine() -> str:
    """What decides the last bits of what this machine computes, in a line: `Cpu.kernels`."""
    cpu = measured_cpu()
    return f"{cpu.model}: {' '.join(sorted(cpu.flags))}{'' if cpu.exact_u8s8 else ', u8·s8 saturates'}"


def _fast_kernel_saturates() -> bool:
    """Run one convolution whose every partial sum overflows int16: 255 · 127 · 2."""
    channels, size = 64, 8
    constants = {
        "one": np.float32(1),
        "u0": np.uint8(0),
        "s0": np.int8(0),
        "weight": np.full((16, channels, 1, 1), QMAX, np.int8),
        "step": np.float32(channels * QMAX),
    }
    node = helper.make_node(
        "QLinearConv", ["x", "one", "u0", "weight", "one", "s0", "step", "u0"], ["y"], kernel_shape=[1, 1]
    )
    graph = helper.make_graph(
        [node],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, channels, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    session = Session(model.SerializeToString(), options_of(SessionConfig(threads=1)), name="the probe of int8 kernels")
    (found,) = session.run(None, {"x": np.full((1, channels, size, size), 255, np.uint8)})
    return bool((found != 255).any())


def executed_graph(path: Path, provider: str = CPU) -> onnx.ModelProto:
    """The graph that a session runs: what onnxruntime makes of the file on this machine for `provider`.

    Raises:
        ModelError: onnxruntime does not load it.
    """
    return _rewritten(path, ort.GraphOptimizationLevel.ORT_ENABLE_ALL, provider)


def fused_graph(path: Path) -> onnx.ModelProto:
    """The same before layers are laid out for this machine's kernels: every node has its name, every weight its shape.

    Raises:
        ModelError: onnxruntime does not load it.
    """
    return _rewritten(path, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)


def _rewritten(path: Path, level: ort.GraphOptimizationLevel, provider: str = CPU) -> onnx.ModelProto:
    with scratch() as folder:
        rewritten = Path(folder, "executed.onnx")
        options = options_of(SessionConfig())
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(rewritten)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "executed.data")
        try:
            Session(str(path), options, name=str(path), provider=provider)
        except ModelError as error:
            Session(
                str(path), options_of(SessionConfig()), name=str(path), provider=provider
            )  # raises if the model is to blame
            raise unwritable(rewritten, OSError(f"{error.__cause__} (is the disk full?)")) from error
        return load_model(rewritten)


def int8_names(executed: onnx.ModelProto) -> frozenset[str]:
    """Names, as the file has them, of the nodes of an executed graph that compute on 8-bit integers."""
    names = [node.name for node in executed.graph.node if node.op_type in INTEGER_OPS]
    return frozenset([*names, *(MOVED.sub("", name) for name in names)])
