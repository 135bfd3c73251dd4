"""Which products onnxruntime's u8·s8 convolution and matrix product add in int16, read off the kernels themselves.

    python tools/kernel_pairs.py
    qemu-x86_64 -cpu Haswell .venv/bin/python tools/kernel_pairs.py

The second line (Debian's `qemu-user`, from version 7.2; a few seconds) runs it as on a CPU that has AVX2 and nothing
newer, whatever this one is; `hide_vnni.c` does so at full speed, but not on every machine. For each shape it counts
the outputs that differ from exact sums, and from sums of pairs that saturate, the pairs taken within a group with the
channels innermost or with the positions innermost. onnxruntime 1.31.0 on "Haswell": 0 differ with the channels
innermost, in every shape but depthwise ones, where 0 differ from exact sums. Matrix products that return float32
(1.31.1): 0 differ from sums of neighbours along the inner dimension that saturate.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 3
SHAPES = [  # input channels, output channels, groups, kernel
    (4, 8, 1, 3),
    (5, 8, 1, 3),
    (16, 16, 1, 1),
    (64, 64, 1, 3),
    (1, 8, 1, 3),
    (1, 1, 1, 3),
    (8, 8, 2, 3),
    (6, 6, 2, 1),
    (12, 12, 4, 3),
    (16, 8, 8, 3),
    (8, 16, 8, 3),
    (32, 64, 32, 3),
    (8, 8, 8, 3),
    (32, 32, 32, 3),
]

PRODUCTS = [(16, 8), (63, 31), (240, 64)]
"""Inner dimension, outputs."""

ROWS = 7
Sums = NDArray[np.int64]


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"onnxruntime {ort.__version__}; outputs that differ from the kernel's")
    print(f"{'inputs':>6} {'outputs':>7} {'groups':>6} {'kernel':>6} {'exact':>6} {'channels':>8} {'positions':>9}")
    for inputs, outputs, groups, kernel in SHAPES:
        weight = rng.choice([-128, -100, 90, 120, 127], (outputs, inputs // groups, kernel, kernel)).astype(np.int8)
        image = rng.choice([200, 250, 255], (inputs, kernel + SIZE - 1, kernel + SIZE - 1)).astype(np.uint8)
        products = multiplied(image, weight, groups)
        exact = products.sum((-3, -2, -1))
        step = np.float32(np.abs(exact).max() / 127)
        found = ran(image, weight, groups, step)
        channels = saturated(np.moveaxis(products, -3, -1))
        differ = [int((requantized(sums, step) != found).sum()) for sums in (exact, channels, saturated(products))]
        print(f"{inputs:6} {outputs:7} {groups:6} {kernel:6} {differ[0]:6} {differ[1]:8} {differ[2]:9}", flush=True)
    print(f"{'inner':>6} {'outputs':>7} {'exact':>6} {'neighbours':>10}")
    for inner, outputs in PRODUCTS:
        weight = rng.choice([-128, -100, 90, 120, 127], (inner, outputs)).astype(np.int8)
        data = rng.choice([200, 250, 255], (ROWS, inner)).astype(np.uint8)
        products = data.astype(np.int64)[:, None] * weight.T.astype(np.int64)  # (ROWS, outputs, inner)
        paired = saturated(products[:, :, None])[..., 0]
        for op in ("MatMulIntegerToFloat", "QGemm"):
            found = multiplied_by_onnxruntime(op, data, weight)
            differ = [int((sums != found).sum()) for sums in (products.sum(2), paired)]
            print(f"{inner:6} {outputs:7} {differ[0]:6} {differ[1]:10} {op}", flush=True)


def multiplied(image: NDArray[np.uint8], weight: NDArray[np.int8], groups: int) -> Sums:
    """Every product of every output, (C, H, W, I / groups, kH, kW)."""
    kernel = weight.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.int64), kernel, (1, 2))  # (I, H, W, kH, kW)
    grouped = windows.reshape(groups, -1, *windows.shape[1:]).transpose(0, 2, 3, 1, 4, 5)
    each = np.repeat(grouped, len(weight) // groups, axis=0)
    products: Sums = each * weight.astype(np.int64)[:, None, None]
    return products


def saturated(products: Sums) -> Sums:
    """Sums in which neighbours, in the order of the last three axes, are added in int16 first."""
    flat = products.reshape(*products.shape[:3], -1)
    flat = np.concatenate([flat, np.zeros((*flat.shape[:3], flat.shape[3] % 2), np.int64)], axis=3)
    sums: Sums = np.clip(flat[..., 0::2] + flat[..., 1::2], -(2**15), 2**15 - 1).sum(3)
    return sums


def requantized(sums: Sums, step: np.float32) -> Sums:
    """As QLinearConv returns it, with zero point 128."""
    rounded: Sums = np.clip(np.rint(sums.astype(np.float32) * (np.float32(1) / step)), -128, 127).astype(np.int64) + 128
    return rounded


def ran(image: NDArray[np.uint8], weight: NDArray[np.int8], groups: int, step: np.float32) -> Sums:
    """The same convolution by onnxruntime, (C, H, W)."""
    constants = {
        "one": np.float32(1),
        "u0": np.uint8(0),
        "s0": np.zeros(len(weight), np.int8),
        "w": weight,
        "ws": np.ones(len(weight), np.float32),
        "step": step,
        "middle": np.uint8(128),
    }
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", ["x", "one", "u0", "w", "ws", "s0", "step", "middle"], ["y"], group=groups)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, *image.shape])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Sums = session.run(None, {"x": image[None]})[0][0].astype(np.int64)
    return result


def multiplied_by_onnxruntime(op: str, data: NDArray[np.uint8], weight: NDArray[np.int8]) -> Sums:
    """A matrix product (rows, outputs) whose scales are 1."""
    outputs = weight.shape[1]
    order = {"MatMulIntegerToFloat": ["x", "w", "one", "ws", "u0", "s0"], "QGemm": ["x", "one", "u0", "w", "ws", "s0"]}
    constants = {
        "one": np.float32(1),
        "u0": np.uint8(0),
        "s0": np.zeros(outputs, np.int8),
        "w": weight,
        "ws": np.ones(outputs, np.float32),
    }
    graph = helper.make_graph(
        [helper.make_node(op, order[op], ["y"], domain="com.microsoft")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, list(data.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=7)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Sums = session.run(None, {"x": data})[0].astype(np.int64)
    return result


if __name__ == "__main__":
    main()
