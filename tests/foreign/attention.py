"""Networks that attend, normalise layers and multiply matrices."""

from __future__ import annotations

import numpy as np
import onnx

from foreign.drawing import Drawing


def convnext(opset: int) -> onnx.ModelProto:
    """ConvNeXt blocks as the older exporter writes them: depthwise 7×7, LayerNorm and GELU in primitive operators."""
    d = Drawing(4, opset)
    x = _patches(d, d.input, 24, 4)
    for _ in range(2):
        x = d.op("Add", x, _convnext_block(d, x))
    down = d.relu(d.conv(x, 40, 2 + 1, stride=2))
    down = d.op("Add", down, _convnext_block(d, down))
    return d.model([d.resize(d.classify(d.op("Concat", x, d.resize(down, 2), axis=1)), 4)])


def _patches(d: Drawing, x: str, outputs: int, side: int) -> str:
    weight = d.constant(d.he(outputs, d.channels(x), side, side))
    return d.op("Conv", x, weight, d.constant(np.zeros(outputs)), kernel_shape=[side] * 2, strides=[side] * 2)


def _convnext_block(d: Drawing, x: str) -> str:
    channels = d.channels(x)
    normed = layer_norm(d, d.op("Transpose", d.conv(x, channels, 7, groups=channels), perm=[0, 2, 3, 1]))
    wide = gelu(d, d.conv(d.op("Transpose", normed, perm=[0, 3, 1, 2]), 4 * channels, 1))
    scale = d.constant(np.full((channels, 1, 1), 0.5))
    return d.op("Mul", d.conv(wide, channels, 1), scale)


def gelu(d: Drawing, x: str) -> str:
    """x · (1 + erf(x / √2)) / 2, with Constant nodes."""
    raised = d.op("Add", d.op("Erf", d.op("Div", x, d.constant_node(np.sqrt(2)))), d.constant_node(1))
    return d.op("Mul", d.op("Mul", x, raised), d.constant_node(0.5))


def layer_norm(d: Drawing, x: str) -> str:
    """Over the last axis, in primitive operators."""
    channels = d.values[x].shape[-1]
    centred = d.op("Sub", x, d.op("ReduceMean", x, axes=[-1], keepdims=1))
    variance = d.op("ReduceMean", d.op("Pow", centred, d.constant_node(2)), axes=[-1], keepdims=1)
    normed = d.op("Div", centred, d.op("Sqrt", d.op("Add", variance, d.constant_node(1e-6))))
    gain, shift = d.constant(d.rng.uniform(0.6, 1.6, channels)), d.constant(0.3 * d.rng.standard_normal(channels))
    return d.op("Add", d.op("Mul", normed, gain), shift)


def eca(opset: int) -> onnx.ModelProto:
    """Efficient channel attention: a one-dimensional convolution over the pooled channels gates them."""
    d = Drawing(5, opset)
    x = d.block(d.input, 16, stride=2)
    for width, stride in ((24, 2), (24, 1)):
        body = _attended(d, d.norm(d.conv(d.block(x, width, stride=stride), width, bias=False)))
        x = d.relu(d.op("Add", body, x) if stride == 1 else body)
    return d.model([d.resize(d.classify(x), 4)])


def _attended(d: Drawing, x: str) -> str:
    row = d.op("Transpose", d.axes("Squeeze", d.op("GlobalAveragePool", x), 3), perm=[0, 2, 1])
    mixed = d.op("Conv", row, d.constant(d.he(1, 1, 3)), kernel_shape=[3], pads=[1, 1])
    gate = d.op("Sigmoid", d.axes("Unsqueeze", d.op("Transpose", mixed, perm=[0, 2, 1]), 3))
    return d.op("Mul", x, gate)


def segformer(opset: int) -> onnx.ModelProto:
    """SegFormer: overlapping patches, attention and Mix-FFN as MatMul, heads as Gemm, a convolution that fuses them."""
    d = Drawing(7, opset)
    scales, x = [], d.input
    for width, kernel, stride in ((24, 7, 4), (40, 3, 2)):
        grid = d.conv(x, width, kernel, stride=stride)
        tokens = layer_norm(d, _tokens(d, grid))
        for _ in range(2):
            tokens = d.op("Add", tokens, _attention(d, layer_norm(d, tokens)))
            tokens = d.op("Add", tokens, _mix_ffn(d, layer_norm(d, tokens), grid))
        x = _grid(d, layer_norm(d, tokens), grid)
        scales.append(_head(d, x, 32))
    fused = d.block(d.op("Concat", scales[0], d.resize(scales[1], 2), axis=1), 32, 1)
    return d.model([d.resize(d.classify(fused), 4)])


def _tokens(d: Drawing, grid: str) -> str:
    """(N, C, h, w) → (N, h · w, C)."""
    channels = d.channels(grid)
    return d.op("Transpose", d.op("Reshape", grid, d.integers(0, channels, -1)), perm=[0, 2, 1])


def _grid(d: Drawing, tokens: str, like: str) -> str:
    """(N, h · w, C) → (N, C, h, w), h and w those of `like`."""
    height, width = d.values[like].shape[2:]
    flat = d.op("Transpose", tokens, perm=[0, 2, 1])
    return d.op("Reshape", flat, d.integers(0, d.channels(flat), height, width))


def _linear(d: Drawing, x: str, outputs: int) -> str:
    """MatMul and Add over the last axis."""
    inputs = d.values[x].shape[-1]
    bias = d.constant(0.1 * d.rng.standard_normal(outputs))
    return d.op("Add", d.op("MatMul", x, d.constant(d.he(outputs, inputs).T / np.sqrt(2))), bias)


def _attention(d: Drawing, x: str) -> str:
    width = d.values[x].shape[-1]
    query, key, value = (_linear(d, x, width) for _ in range(3))
    scores = d.op("MatMul", query, d.op("Transpose", key, perm=[0, 2, 1]))
    shares = d.op("Softmax", d.op("Div", scores, d.constant(np.sqrt(width))), axis=2)
    return _linear(d, d.op("MatMul", shares, value), width)


def _mix_ffn(d: Drawing, x: str, like: str) -> str:
    width = d.values[x].shape[-1]
    wide = _grid(d, _linear(d, x, 2 * width), like)
    mixed = gelu(d, _tokens(d, d.conv(wide, 2 * width, groups=2 * width)))
    return _linear(d, mixed, width)


def _head(d: Drawing, grid: str, outputs: int) -> str:
    """A Gemm over every position."""
    height, width = d.values[grid].shape[2:]
    rows = d.op("Reshape", d.op("Transpose", grid, perm=[0, 2, 3, 1]), d.integers(-1, d.channels(grid)))
    weight, bias = d.he(outputs, d.channels(grid)), 0.1 * d.rng.standard_normal(outputs)
    mapped = d.op("Gemm", rows, d.constant(weight), d.constant(bias), transB=1)
    placed = d.op("Reshape", mapped, d.integers(-1, height, width, outputs))
    return d.op("Transpose", placed, perm=[0, 3, 1, 2])
