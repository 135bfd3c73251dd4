"""onnxruntime sessions: how they are opened, run and tapped.

Every model of the program runs through `Network`, so threads, kernels and memory are decided once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fcn_onnx.cpu import Cpu, read_cpu
from fcn_onnx.errors import ModelError, UsageError

QMAX = 127


@dataclass(frozen=True)
class SessionConfig:
    """How a session runs.

    Attributes:
        threads: intra-op threads; 0 means one for each core this process may use.
        exact_int8: run int8 kernels that cannot saturate, slower on a CPU without VNNI
            (`session.x64quantprecision`).
        optimise: let onnxruntime rewrite the graph (its own default).
        arena: keep freed memory for the next run; off, memory stays flat over images of many sizes.
    """

    threads: int = 0
    exact_int8: bool = False
    optimise: bool = True
    arena: bool = True

    @property
    def thread_count(self) -> int:
        """Threads a session really gets."""
        return self.threads or read_cpu().cores

    def options(self) -> ort.SessionOptions:
        """onnxruntime's own options object."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.thread_count
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = self.arena
        options.enable_mem_pattern = False  # plans memory per input shape; shapes vary here
        options.log_severity_level = 3
        if not self.optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if self.exact_int8:
            options.add_session_config_entry("session.x64quantprecision", "1")
        return options


class Network:
    """A model in an onnxruntime session, with the input and outputs checked.

    Args:
        model: a file, or a model in memory (≤ 2 GiB).
        config: how to run it.
        name: what errors call an in-memory model.

    Raises:
        ModelError: it does not load, or its input is not one float32 (N, 3, H, W) or (N, H, W, 3).
    """

    def __init__(
        self,
        model: Path | onnx.ModelProto,
        config: SessionConfig = SessionConfig(),
        *,
        name: str | None = None,
    ) -> None:
        self.name = name or (str(model) if isinstance(model, Path) else "model")
        if isinstance(model, Path) and not model.is_file():
            raise ModelError(f"no such model: {model}", fix="check the path, or make the model first")
        source = str(model) if isinstance(model, Path) else model.SerializeToString()
        try:
            self.session = ort.InferenceSession(source, config.options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many unrelated types here
            raise ModelError(
                f"onnxruntime cannot load {self.name}: {error}",
                fix="check the file with `fcn-onnx inspect`, or make it again",
            ) from error
        inputs = self.session.get_inputs()
        shape = inputs[0].shape if inputs else []
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs) or "no input"
            raise ModelError(
                f"{self.name} takes {found}",
                fix="a model must take one float32 image batch, (N, 3, H, W) or (N, H, W, 3)",
            )
        self.input_name: str = inputs[0].name
        self.channels_last: bool = shape[1] != 3
        height, width = shape[1:3] if self.channels_last else shape[2:]
        self.input_size: tuple[int | None, int | None] = (_fixed(height), _fixed(width))
        self.output_names: tuple[str, ...] = tuple(o.name for o in self.session.get_outputs())

    def run(self, batch: NDArray[np.float32], outputs: Sequence[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """Run one batch (N, 3, H, W) float32; return the named outputs (all by default).

        A model that wants its channels last is given them so; what it returns is returned as it is.

        Raises:
            UsageError: the model has a fixed size and the batch another.
        """
        for fixed, got, axis in zip(self.input_size, batch.shape[2:], ("height", "width"), strict=True):
            if fixed is not None and fixed != got:
                raise UsageError(
                    f"{self.name} takes images of {axis} {fixed}, not {got}",
                    fix="export it without --size, or use a protocol or --size that fits it",
                )
        wanted = list(outputs or self.output_names)
        fed = np.ascontiguousarray(batch.transpose(0, 2, 3, 1)) if self.channels_last else batch
        values = self.session.run(wanted, {self.input_name: fed})
        return dict(zip(wanted, values, strict=True))


@cache
def measured_cpu() -> Cpu:
    """This processor as onnxruntime uses it: whether its fast u8·s8 kernel saturates is tried, not read off flags."""
    cpu = read_cpu()
    return cpu.saturating() if _fast_kernel_saturates() else cpu.exact()


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
    session = ort.InferenceSession(
        model.SerializeToString(), SessionConfig(threads=1).options(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": np.full((1, channels, size, size), 255, np.uint8)})
    return bool((found != 255).any())


def executed_graph(path: Path) -> onnx.ModelProto:
    """The graph that a session runs: what onnxruntime makes of the file on this machine.

    Raises:
        ModelError: onnxruntime does not load it.
    """
    with tempfile.TemporaryDirectory(prefix="fcn-onnx-") as folder:
        rewritten = Path(folder, "executed.onnx")
        options = SessionConfig().options()
        options.optimized_model_filepath = str(rewritten)
        try:
            ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many unrelated types here
            raise ModelError(f"onnxruntime cannot load {path}: {error}", fix="make the file again") from error
        return onnx.load(rewritten)


def with_taps(
    model: onnx.ModelProto, tensors: Sequence[str], kinds: Mapping[str, int] | None = None
) -> onnx.ModelProto:
    """A copy of `model` whose outputs are exactly the inner tensors named, in that order.

    Nodes that none of them needs are dropped, so nothing is computed in vain.

    Args:
        kinds: `onnx.TensorProto` data type by name, where it is not FLOAT; an output of the model keeps its own.

    Raises:
        ModelError: a tensor is not in the graph.
    """
    producers = {out: node for node in model.graph.node for out in node.output}
    inputs = {value.name for value in model.graph.input}
    missing = [name for name in tensors if name not in producers and name not in inputs]
    if missing:
        raise ModelError(
            f"the model has no tensor {missing[0]!r} ({len(missing)} of {len(tensors)} missing)",
            fix="use a table or list that was made for this model",
        )
    needed = _ancestors(producers, tensors)
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    kept = [node for node in tapped.graph.node if needed & set(node.output)]
    del tapped.graph.node[:]
    tapped.graph.node.extend(kept)
    del tapped.graph.output[:]
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.output} | dict(kinds or {})
    tapped.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None) for name in tensors
    )
    return tapped


def _ancestors(producers: Mapping[str, onnx.NodeProto], tensors: Sequence[str]) -> set[str]:
    found: set[str] = set()
    stack = list(tensors)
    while stack:
        name = stack.pop()
        if name in found or name not in producers:
            continue
        found.add(name)
        stack.extend(producers[name].input)
        found.update(producers[name].output)
    return found


def _fixed(dimension: object) -> int | None:
    return dimension if isinstance(dimension, int) else None
