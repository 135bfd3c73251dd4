"""What this machine can do at best in a runtime: one large matrix product and one large convolution by its own kernels.

Both are timed in fp32 and in int8, the latter between Q/DQ pairs, which onnxruntime and OpenVINO fuse into the same
kernels that they run a quantized model with. The peak is the faster of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from fcn_onnx.runtime.seam import DEFAULT_RUNTIME, SessionConfig, get_runtime
from fcn_onnx.runtime.timing import timed

RUNS = 8
OPSET = 13


@dataclass(frozen=True)
class Work:
    """What is timed: large enough that the kernel's blocks, not its edges, are.

    Attributes:
        op_type: `MatMul` or `Conv`.
        data, weight, result: shapes.
    """

    op_type: str
    data: tuple[int, ...]
    weight: tuple[int, ...]
    result: tuple[int, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates: every element of the result is a sum over what its weight is summed over."""
        return prod(self.result) * self.summed

    @property
    def summed(self) -> int:
        """Products in an element of the result."""
        return self.weight[0] if self.op_type == "MatMul" else prod(self.weight[1:])

    def node(self, data: str, weight: str, result: str) -> NodeProto:
        """What computes it."""
        attributes: dict[str, Any] = {} if self.op_type == "MatMul" else {"pads": [1] * 4}
        return helper.make_node(self.op_type, [data, weight], [result], "work", **attributes)


WORKS = (
    Work("MatMul", (1536, 1536), (1536, 1536), (1536, 1536)),
    Work("Conv", (1, 256, 56, 56), (256, 256, 3, 3), (1, 256, 56, 56)),
)


@dataclass(frozen=True)
class Peak:
    """10⁹ multiply-accumulates a second, the best of a few runs."""

    fp32: float
    int8: float

    def best_ms(self, gmacs: float, int8_share: float) -> float:
        """Milliseconds that so many multiply-accumulates take at the peak, a share of them in int8."""
        return 1e3 * gmacs * (int8_share / self.int8 + (1 - int8_share) / self.fp32)


def measure_peak(
    config: SessionConfig = SessionConfig(), runtime: str = DEFAULT_RUNTIME, works: Sequence[Work] = WORKS
) -> Peak:
    """The best of `works` in fp32, and in u8 · s8, with this session's threads in this runtime.

    Raises:
        MissingDependencyError: the runtime is not installed.
    """
    return Peak(
        fp32=max(_gmacs_per_second(in_fp32(work), work, config, runtime) for work in works),
        int8=max(_gmacs_per_second(in_int8(work), work, config, runtime) for work in works),
    )


def in_fp32(work: Work) -> onnx.ModelProto:
    """x → y of `work` alone."""
    return _model(
        [work.node("x", "weight", "y")], work, TensorProto.FLOAT, {"weight": _weight(work).astype(np.float32)}
    )


def in_int8(work: Work) -> onnx.ModelProto:
    """The same between Q/DQ pairs, from uint8 to uint8. Weights have 7 bits, so that no kernel saturates."""
    constants: dict[str, Any] = {
        "one": np.float32(1),
        "step": np.float32(work.summed),
        "u0": np.uint8(0),
        "s0": np.int8(0),
        "weight": _weight(work),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "one", "u0"], ["data"], "data"),
        helper.make_node("DequantizeLinear", ["weight", "one", "s0"], ["factor"], "factor"),
        work.node("data", "factor", "sums"),
        helper.make_node("QuantizeLinear", ["sums", "step", "u0"], ["y"], "result"),
    ]
    return _model(nodes, work, TensorProto.UINT8, constants)


def _weight(work: Work) -> NDArray[np.int8]:
    return np.random.default_rng(0).integers(-64, 64, work.weight, np.int8)


def _model(
    nodes: Sequence[NodeProto],
    work: Work,
    kind: int,
    constants: Mapping[str, Any],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "peak",
        [helper.make_tensor_value_info("x", kind, work.data)],
        [helper.make_tensor_value_info("y", kind, work.result)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=7)


def _gmacs_per_second(model: onnx.ModelProto, work: Work, config: SessionConfig, runtime: str) -> float:
    session = get_runtime(runtime).open(
        model.SerializeToString(), config, name=f"the {work.op_type} that is timed", fix="install the runtime again"
    )
    pixels = np.random.default_rng(1).integers(0, 256, work.data, np.uint8)
    x = pixels.astype(session.inputs[0].dtype)
    milliseconds = [timed(lambda: session.run(None, {"x": x}))[1] for _ in range(1 + RUNS)]
    return work.macs / 1e6 / min(milliseconds[1:])
