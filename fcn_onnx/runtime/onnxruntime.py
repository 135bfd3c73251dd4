"""onnxruntime sessions: how they are opened, run and tapped.

Every model of the program runs through `Network`, so threads, kernels and memory are decided once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fcn_onnx.errors import ModelError
from fcn_onnx.jobs.bounds import THREADS
from fcn_onnx.jobs.files import unwritable
from fcn_onnx.jobs.scratch import scratch
from fcn_onnx.model.files import is_large_file, load_model, loadable
from fcn_onnx.model.form import InputForm
from fcn_onnx.model.macs import INTEGER_OPS
from fcn_onnx.runtime.cpu import Cpu, read_cpu
from fcn_onnx.runtime.session import Session

QMAX = 127
MOVED = re.compile(r"(_token_\d+)+$")
"""What onnxruntime appends to the names of nodes that it moves to channels-last."""


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

    def __post_init__(self) -> None:
        """Raise UsageError on a number of threads that no session can have."""
        THREADS.require("--threads", self.threads)

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
        options.log_severity_level = 4  # an error is raised, and what is tried out may raise one: not logged as well
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
        multiple_of: pixels; images are padded to sides that are multiples of it.

    Raises:
        ModelError: it does not load, or its input is not one float32 or float16 (N, 3, H, W) or (N, H, W, 3).
    """

    def __init__(
        self,
        model: Path | onnx.ModelProto,
        config: SessionConfig = SessionConfig(),
        *,
        name: str | None = None,
        multiple_of: int | None = None,
    ) -> None:
        self.name = name or (str(model) if isinstance(model, Path) else "model")
        if isinstance(model, Path) and not model.is_file():
            raise ModelError(f"no such model: {model}", fix="check the path, or make the model first")
        with nullcontext(str(model)) if isinstance(model, Path) else loadable(model) as source:
            self._session = Session(
                source,
                config.options(),
                name=self.name,
                fix="make it again with an operator set that this onnxruntime has (`fcn-onnx doctor` says which it is)",
            )
        self.form = _input_form(self.name, self._session.inputs, multiple_of or 1)
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.outputs)

    @property
    def input_name(self) -> str:
        return self.form.name

    @property
    def channels_last(self) -> bool:
        """Whether it takes (N, H, W, 3)."""
        return self.form.channels_last

    @property
    def input_size(self) -> tuple[int | None, int | None]:
        """(height, width) that it takes; None where it takes any."""
        return self.form.size

    def declared(self, output: str) -> tuple[tuple[int | None, ...], np.dtype[Any]]:
        """Shape, None for each dimension that is open, and type of an output, as onnxruntime infers them."""
        (found,) = (value for value in self._session.outputs if value.name == output)
        kind = found.type.removeprefix("tensor(").removesuffix(")")
        return tuple(map(_fixed, found.shape or ())), np.dtype(TYPES.get(kind, kind))

    def run(self, batch: NDArray[np.float32], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run one batch (N, 3, H, W) float32, made to fit by `InputForm.fed`; return the named outputs, all by default.

        What the model returns is returned as it is, of the padded size and of as many images as it takes.

        Raises:
            UsageError: the model has a fixed size and the batch another.
            ModelError: onnxruntime cannot run the graph on images of this size.
        """
        wanted = list(outputs or self.output_names)
        height, width = self.form.padded_size(*batch.shape[2:])
        values = self._session.run(
            wanted,
            {self.form.name: self.form.fed(batch)},
            of=f"an image of {height}×{width} (height × width)",
            fix="if its sides must be multiples of a number, such as 32, say --multiple-of 32",
        )
        return dict(zip(wanted, values, strict=True))


TYPES = {"float": "float32", "double": "float64"}
"""onnxruntime's names of types that numpy calls otherwise."""

MAX_BATCH = 1024
"""Images that a model may take at a time: each is given that often."""

KINDS: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def _input_form(name: str, inputs: Sequence[ort.NodeArg], multiple_of: int) -> InputForm:
    shape = inputs[0].shape if inputs else []
    taken = len(inputs) == 1 and inputs[0].type in KINDS and len(shape) == 4 and 3 in (shape[1], shape[3])
    if not taken or (_fixed(shape[0]) or 1) > MAX_BATCH:
        found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs) or "no input"
        raise ModelError(
            f"{name} takes {found}",
            fix="a model must take one float32 or float16 image batch, (N, 3, H, W) or (N, H, W, 3)",
        )
    channels_last = shape[1] != 3
    height, width = shape[1:3] if channels_last else shape[2:]
    return InputForm(
        model=name,
        name=inputs[0].name,
        channels_last=channels_last,
        size=(_fixed(height), _fixed(width)),
        batch=_fixed(shape[0]),
        dtype=KINDS[inputs[0].type],
        multiple_of=multiple_of,
    )


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
    session = Session(model.SerializeToString(), SessionConfig(threads=1).options(), name="the probe of int8 kernels")
    (found,) = session.run(None, {"x": np.full((1, channels, size, size), 255, np.uint8)})
    return bool((found != 255).any())


def executed_graph(path: Path) -> onnx.ModelProto:
    """The graph that a session runs: what onnxruntime makes of the file on this machine.

    Raises:
        ModelError: onnxruntime does not load it.
    """
    return _rewritten(path, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)


def fused_graph(path: Path) -> onnx.ModelProto:
    """The same before layers are laid out for this machine's kernels: every node has its name, every weight its shape.

    Raises:
        ModelError: onnxruntime does not load it.
    """
    return _rewritten(path, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)


def _rewritten(path: Path, level: ort.GraphOptimizationLevel) -> onnx.ModelProto:
    with scratch() as folder:
        rewritten = Path(folder, "executed.onnx")
        options = SessionConfig().options()
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(rewritten)
        if is_large_file(path):
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "executed.data")
        try:
            Session(str(path), options, name=str(path))
        except ModelError as error:
            Session(str(path), SessionConfig().options(), name=str(path))  # raises if the model is to blame
            raise unwritable(rewritten, OSError(f"{error.__cause__} (is the disk full?)")) from error
        return load_model(rewritten)


def int8_names(executed: onnx.ModelProto) -> frozenset[str]:
    """Names, as the file has them, of the nodes of an executed graph that compute on 8-bit integers."""
    names = [node.name for node in executed.graph.node if node.op_type in INTEGER_OPS]
    return frozenset([*names, *(MOVED.sub("", name) for name in names)])


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
