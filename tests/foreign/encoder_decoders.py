"""Networks of convolutions whose decoders differ from torchvision's FCN."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from foreign.drawing import Drawing


def unet(opset: int) -> onnx.ModelProto:
    """A U-Net: BatchNorm left unfolded, ConvTranspose and Concat; any size whose sides are multiples of 32."""
    d = Drawing(1, opset, size=(128, 128))
    x, kept = d.input, []
    for width in (8, 8, 16, 16, 24):
        x = d.block(d.block(x, width), width)
        kept.append(x)
        x = d.pool(x)
    x = d.block(x, 24)
    for skipped in reversed(kept):
        up = _up(d, x, d.channels(skipped))
        x = d.block(d.op("Concat", up, skipped, axis=1), d.channels(skipped))
    return d.model([d.classify(x)], dynamic=(0, 2, 3))


def _up(d: Drawing, x: str, outputs: int) -> str:
    """A learned 2×2 ConvTranspose of stride 2."""
    weight = d.he(d.channels(x), outputs, 2, 2) * np.sqrt(2 * outputs / d.channels(x))
    bias = 0.1 * d.rng.standard_normal(outputs)
    return d.op("ConvTranspose", x, d.constant(weight), d.constant(bias), kernel_shape=[2, 2], strides=[2, 2])


def fcn8s(opset: int) -> onnx.ModelProto:
    """FCN-8s: score maps of three depths, each upsampled by a ConvTranspose, cropped, and added to the next."""
    d = Drawing(2, opset)
    x, depths = d.input, []
    for width in (16, 24, 32, 48):
        x = d.pool(d.relu(d.conv(d.relu(d.conv(x, width)), width)))
        depths.append(x)
    score = d.classify(depths[3])
    for depth in (depths[2], depths[1]):
        score = d.op("Add", d.classify(depth), _bilinear(d, score, 2))
    return d.model([_bilinear(d, score, 4)])


def _bilinear(d: Drawing, score: str, factor: int) -> str:
    """`factor` times as large: a ConvTranspose with a bilinear kernel for each class, and a Slice."""
    classes, kernel = d.channels(score), 2 * factor
    ramp = 1 - np.abs(np.arange(kernel) - factor + 0.5) / factor
    weight = np.zeros((classes, classes, kernel, kernel))
    weight[range(classes), range(classes)] = np.outer(ramp, ramp)
    up = d.op("ConvTranspose", score, d.constant(weight), kernel_shape=[kernel] * 2, strides=[factor] * 2)
    cut = factor // 2
    return d.op("Slice", up, d.integers(cut, cut), d.integers(-cut, -cut), d.integers(2, 3))


def lraspp(opset: int) -> onnx.ModelProto:
    """LRASPP on a small MobileNetV3: hardswish as x · clip(x + 3) / 6, a sigmoid gate, two score maps added."""
    d = Drawing(3, opset)
    x = hardswish(d, d.norm(d.conv(d.input, 16, stride=2, bias=False)))
    low = x = _inverted(d, x, 24, stride=2)
    x = _inverted(d, _inverted(d, x, 40, stride=2), 40)
    gate = d.op("Sigmoid", d.conv(d.op("GlobalAveragePool", x), 32, 1, bias=False))
    high = d.resize(d.op("Mul", d.block(x, 32, 1), gate), 2)
    return d.model([d.resize(d.op("Add", d.classify(low), d.classify(high)), 4)])


def hardswish(d: Drawing, x: str) -> str:
    """x · clip(x + 3, 0, 6) / 6, with Constant nodes."""
    moved = d.op("Clip", d.op("Add", x, d.constant_node(3)), d.constant_node(0), d.constant_node(6))
    return d.op("Div", d.op("Mul", x, moved), d.constant_node(6))


def _inverted(d: Drawing, x: str, outputs: int, stride: int = 1) -> str:
    """An inverted residual block; a residual where nothing changes its shape."""
    wide = hardswish(d, d.norm(d.conv(x, 2 * d.channels(x), 1, bias=False)))
    wide = hardswish(d, d.norm(d.conv(wide, d.channels(wide), stride=stride, groups=d.channels(wide), bias=False)))
    narrow = d.norm(d.conv(wide, outputs, 1, bias=False))
    return d.op("Add", x, narrow) if stride == 1 and d.channels(x) == outputs else narrow


def mobilenetv3(opset: int) -> onnx.ModelProto:
    """MobileNetV3 with its squeeze and excitation, HardSwish as an operator of its own; a sigmoid gate in the head."""
    d = Drawing(14, opset)
    x = d.op("HardSwish", d.norm(d.conv(d.input, 16, stride=2, bias=False)))
    low = x = _squeezed(d, x, 24, stride=2)
    x = _squeezed(d, _squeezed(d, x, 40, stride=2), 40)
    gate = d.op("Sigmoid", d.conv(d.op("GlobalAveragePool", x), 32, 1, bias=False))
    high = d.resize(d.op("Mul", d.block(x, 32, 1), gate), 2)
    return d.model([d.resize(d.op("Add", d.classify(low), d.classify(high)), 4)])


def _squeezed(d: Drawing, x: str, outputs: int, stride: int = 1) -> str:
    """An inverted residual block whose wide channels are gated by their own means."""
    wide = d.op("HardSwish", d.norm(d.conv(x, 3 * d.channels(x), 1, bias=False)))
    wide = d.norm(d.conv(wide, d.channels(wide), 5, stride=stride, groups=d.channels(wide), bias=False))
    wide = d.op("HardSwish", wide)
    squeezed = d.relu(d.conv(d.op("GlobalAveragePool", wide), 8, 1))
    gate = d.op("HardSigmoid", d.conv(squeezed, d.channels(wide), 1), alpha=1 / 6)
    narrow = d.norm(d.conv(d.op("Mul", gate, wide), outputs, 1, bias=False))
    return d.op("Add", x, narrow) if stride == 1 and d.channels(x) == outputs else narrow


def linknet(opset: int) -> onnx.ModelProto:
    """LinkNet: what is upsampled by a 4×4 ConvTranspose is added to the encoder's maps."""
    d = Drawing(15, opset)
    x, kept = d.block(d.input, 16, stride=2), []
    for width in (24, 32):
        kept.append(x)
        x = d.block(d.block(x, width, stride=2), width)
    for skipped in reversed(kept):
        narrow, width = d.block(x, 12, 1), d.channels(skipped)
        weight = d.he(12, 12, 4, 4) * 2
        sizes: dict[str, Any] = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1] * 4}
        up = d.relu(d.norm(d.op("ConvTranspose", narrow, d.constant(weight), **sizes)))
        x = d.op("Add", d.block(up, width, 1), skipped)
    return d.model([d.resize(d.classify(d.block(x, 24)), 2)])


def depth_multiplier(opset: int) -> onnx.ModelProto:
    """Convolutions of one input channel, alone or a group: a luminance stem, and depthwise ones that double."""
    d = Drawing(6, opset)
    grey = d.op("Conv", d.input, d.constant(np.array([0.3, 0.6, 0.1]).reshape(1, 3, 1, 1)), kernel_shape=[1, 1])
    edges = d.block(grey, 8, 5)
    x = d.op("Concat", edges, d.block(d.input, 8), axis=1)
    for width in (24, 32):
        doubled = d.block(x, 2 * d.channels(x), stride=2, groups=d.channels(x))
        x = d.block(doubled, width, 1)
    return d.model([d.resize(d.classify(x), 4)])


def binary(opset: int) -> onnx.ModelProto:
    """Figure against ground: one channel, through a Sigmoid."""
    d = Drawing(11, opset)
    x = d.block(d.block(d.input, 16, stride=2), 24)
    x = d.op("Add", x, d.block(x, 24, dilation=2))
    return d.model([d.op("Sigmoid", d.resize(d.classify(x, 1), 2))])


def several_outputs(opset: int) -> onnx.ModelProto:
    """A batch of four, every shape static, and three outputs of which none is called `out`."""
    d = Drawing(10, opset, batch=4)
    early = d.block(d.block(d.input, 16, stride=2), 24)
    late = d.block(d.block(early, 32, stride=2), 32)
    semantic, deep = d.resize(d.classify(late), 4), d.resize(d.classify(early), 2)
    contour = d.op("Sigmoid", d.classify(early, 1))
    names = ("contour", "deep_supervision", "semantic")
    return d.model([contour, deep, semantic], dynamic=(), renamed=names)


def preactivated(opset: int) -> onnx.ModelProto:
    """A pre-activation ResNet, whose BatchNorm no convolution precedes: NHWC in, ArgMax as float labels out."""
    d = Drawing(12, opset, channels_last=True)
    x = d.conv(d.op("Transpose", d.input, perm=[0, 3, 1, 2]), 16, stride=2, bias=False)
    for width, stride in ((16, 1), (32, 2), (32, 1)):
        active = d.relu(d.norm(x))
        inner = d.conv(d.relu(d.norm(d.conv(active, width, stride=stride, bias=False))), width, bias=False)
        same = x if width == d.channels(x) else d.conv(active, width, 1, stride=stride, bias=False)
        x = d.op("Add", inner, same)
    logits = d.resize(d.classify(d.relu(d.norm(x))), 4)
    labels = d.op("ArgMax", logits, axis=1, keepdims=0)
    return d.model([d.op("Cast", labels, to=onnx.TensorProto.FLOAT)])


def shared(opset: int) -> onnx.ModelProto:
    """One encoder and head on two scales of the image: weights and biases with several readers, Identity between."""
    d = Drawing(9, opset)
    half = d.op("AveragePool", d.input, kernel_shape=[2, 2], strides=[2, 2])
    widths = (16, 32, 32)
    weights = [d.constant(d.he(o, i, 3, 3)) for i, o in zip((3, *widths), widths, strict=False)]
    biases = [d.constant(0.1 * d.rng.standard_normal(width)) for width in widths]
    third = d.op("Identity", biases[2])

    def features(x: str) -> str:
        same: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1] * 4}
        x = d.relu(d.op("Conv", x, weights[0], biases[0], strides=[2, 2], **same))
        x = d.op("Identity", d.relu(d.op("Conv", x, weights[1], biases[1], **same)))
        return d.relu(d.op("Identity", d.op("Conv", x, weights[2], third, **same)))

    fine, coarse = features(d.input), features(half)
    weight, bias = d.fitted(np.moveaxis(d.values[fine], 1, -1))
    head = d.constant(weight[:, :, None, None]), d.constant(bias)
    scores = [d.op("Conv", x, *head, kernel_shape=[1, 1]) for x in (fine, coarse)]
    both = d.op("Add", scores[0], d.resize(scores[1], 2))
    return d.model([d.op("Identity", d.resize(both, 2))])


def old_writer(opset: int) -> onnx.ModelProto:
    """A residual network as an older framework writes it: no node has a name, some weights are Constant nodes, the
    others are listed as inputs of the graph, as IR version 3 demands."""
    d = Drawing(8, opset)
    x = d.relu(d.conv(d.input, 16, stride=2))
    for width, stride in ((16, 1), (32, 2)):
        inner = d.conv(d.relu(d.conv(x, width, stride=stride)), width)
        x = d.relu(d.op("Add", inner, x if stride == 1 else d.conv(x, width, 1, stride=stride)))
    model = d.model([d.resize(d.classify(x), 4)])
    return _as_constants(_as_ir_3(model), every=3)


def _as_ir_3(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without names of nodes, with every initializer an input too."""
    model.ir_version = 3
    for node in model.graph.node:
        node.name = ""
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in model.graph.initializer
    )
    return model


def _as_constants(model: onnx.ModelProto, every: int) -> onnx.ModelProto:
    """Every n-th initializer becomes a Constant node."""
    moved = list(model.graph.initializer)[::every]
    names = {tensor.name for tensor in moved}
    for listed in (model.graph.initializer, model.graph.input):
        kept = [entry for entry in listed if entry.name not in names]
        del listed[:]
        listed.extend(kept)
    nodes = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in moved]
    nodes += list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model
