"""What this machine can do at best: one large matrix product, in fp32 and in int8, by onnxruntime's own kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import Session, options_of
from fcn_onnx.runtime.timing import timed

SIDE = 1536
"""Of the square matrices: 3.6 GMAC, and large enough that the kernel's blocks, not its edges, are timed."""
RUNS = 8


@dataclass(frozen=True)
class Peak:
    """10⁹ multiply-accumulates a second, the best of a few runs."""

    fp32: float
    int8: float

    def best_ms(self, gmacs: float, int8_share: float) -> float:
        """Milliseconds that so many multiply-accumulates take at the peak, a share of them in int8."""
        return 1e3 * gmacs * (int8_share / self.int8 + (1 - int8_share) / self.fp32)


def measure_peak(config: SessionConfig = SessionConfig()) -> Peak:
    """Multiply two matrices of `SIDE`² in fp32 (MatMul) and in u8 · s8 (QLinearMatMul), with this session's threads."""
    rng = np.random.default_rng(0)
    signed = rng.integers(-64, 64, (SIDE, SIDE), np.int8)  # 7 bits, so that no kernel saturates
    constants = {
        "one": np.float32(1),
        "step": np.float32(SIDE),
        "u0": np.uint8(0),
        "s0": np.int8(0),
        "weight": signed,
        "float_weight": signed.astype(np.float32),
    }
    pixels = rng.integers(0, 256, (SIDE, SIDE), np.uint8)
    quantized = helper.make_node("QLinearMatMul", ["x", "one", "u0", "weight", "one", "s0", "step", "u0"], ["y"])
    plain = helper.make_node("MatMul", ["x", "float_weight"], ["y"])
    return Peak(
        fp32=_gmacs_per_second(plain, TensorProto.FLOAT, constants, pixels.astype(np.float32), config),
        int8=_gmacs_per_second(quantized, TensorProto.UINT8, constants, pixels, config),
    )


def _gmacs_per_second(
    node: NodeProto, kind: int, constants: Mapping[str, Any], x: NDArray[Any], config: SessionConfig
) -> float:
    graph = helper.make_graph(
        [node],
        "peak",
        [helper.make_tensor_value_info("x", kind, [SIDE, SIDE])],
        [helper.make_tensor_value_info("y", kind, [SIDE, SIDE])],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items() if name in node.input],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    session = Session(model.SerializeToString(), options_of(config), name="the matrix product that is timed")
    milliseconds = [timed(lambda: session.run(None, {"x": x}))[1] for _ in range(1 + RUNS)]
    return SIDE**3 / 1e6 / min(milliseconds[1:])
