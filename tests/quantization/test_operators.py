"""What onnxruntime executes of each quantized operator, against dequantizing, computing and quantizing in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from foreign.drawing import Drawing
from foreign.pictures import picture, write_pictures
from numpy.typing import NDArray

from fcn_onnx.data.choice import ImageChoice
from fcn_onnx.data.preprocess import Preprocessing, Resize
from fcn_onnx.runtime.onnxruntime import fused_graph
from fcn_onnx.runtime.seam import SessionConfig
from fcn_onnx.runtime.session import options_of
from fcn_onnx.stages.options import QuantizeOptions
from fcn_onnx.stages.quantize import quantize

Array = NDArray[Any]
FORMS = [(12, "qoperator"), (13, "qdq")]


def gated(d: Drawing, x: str) -> str:
    """Squeeze and excitation."""
    squeezed = d.relu(d.conv(d.op("GlobalAveragePool", x), 8, 1))
    return d.op("Mul", x, d.op("Sigmoid", d.conv(squeezed, d.channels(x), 1)))


def leaky(d: Drawing, x: str) -> str:
    """Read by a sum, so not between two convolutions."""
    return d.op("Add", d.op("LeakyRelu", x, alpha=0.1), x)


def hard_swish(d: Drawing, x: str) -> str:
    return d.op("Mul", x, d.op("HardSigmoid", x, alpha=1 / 6))


def halves(d: Drawing, x: str) -> str:
    """Split, and the halves changed over."""
    size = d.channels(x) // 2
    sizes: Any = {"split": [size, size]} if d.opset < 13 else {}
    given = [d.integers(size, size)] if d.opset >= 13 else []
    first, second = d.several("Split", x, *given, axis=1, **sizes)
    return d.op("Concat", second, first, axis=1)


def upsampled(d: Drawing, x: str) -> str:
    """A learned upsampling, rectified, beside a plain one."""
    weight, bias = d.he(d.channels(x), 8, 4, 4), 0.1 * d.rng.standard_normal(8)
    options: Any = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1] * 4}
    learned = d.relu(d.op("ConvTranspose", x, d.constant(weight), d.constant(bias), **options))
    scales = d.constant([1, 1, 2, 2])
    plain: Any = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return d.op("Concat", learned, d.op("Resize", x, d.constant([]), scales, **plain), axis=1)


@dataclass(frozen=True)
class Kernel:
    """How an 8-bit operator computes: (its float inputs, its attributes) → float result, and where its inputs are.

    Attributes:
        compute: of the dequantized inputs.
        inputs: indices of 8-bit inputs; scale and zero point follow each.
        result: index of the result's scale; its zero point follows.
    """

    compute: Callable[..., Array]
    inputs: tuple[int, ...]
    result: int


KERNELS: Mapping[str, Kernel] = {
    "QLinearMul": Kernel(lambda a, b: a * b, (0, 3), 6),
    "QLinearAdd": Kernel(lambda a, b: a + b, (0, 3), 6),
    "QLinearSigmoid": Kernel(lambda x: 1 / (1 + np.exp(-x)), (0,), 3),
    "QLinearLeakyRelu": Kernel(lambda x, alpha: np.where(x < 0, alpha * x, x), (0,), 3),
    "QLinearGlobalAveragePool": Kernel(lambda x: x.mean((2, 3), keepdims=True), (0,), 3),
    "HardSigmoid": Kernel(lambda x, alpha, beta=0.5: np.clip(alpha * x + beta, 0, 1), (), -1),
}


CASES: Mapping[str, tuple[Callable[[Drawing, str], str], frozenset[str]]] = {
    "gate": (gated, frozenset({"QLinearGlobalAveragePool", "QLinearSigmoid", "QLinearMul"})),
    "leaky": (leaky, frozenset({"QLinearLeakyRelu", "QLinearAdd"})),
    "hard swish": (hard_swish, frozenset({"HardSigmoid", "QLinearMul"})),
    "split": (halves, frozenset({"Split", "QLinearConcat"})),
    "upsampling": (upsampled, frozenset({"DepthToSpace", "QLinearConcat"})),
}


def test_every_kernel_is_executed_by_a_case() -> None:
    assert KERNELS.keys() <= frozenset.union(*(names for _, names in CASES.values()))


@pytest.mark.parametrize(("opset", "form"), FORMS)
@pytest.mark.parametrize("name", CASES)
def test_the_executed_kernels_dequantize_compute_and_quantize(tmp_path: Path, name: str, opset: int, form: str) -> None:
    build, expected = CASES[name]
    model, int8 = quantized(tmp_path, lambda d, x: d.conv(build(d, d.conv(x, 16)), 12), opset, form)
    nodes, values = executed(int8)
    assert expected <= {node.op_type for node in nodes}
    moved = [found for found in nodes if found.op_type in ("Split", "DepthToSpace", "Slice", "Resize")]
    assert all(values[found.input[0]].dtype == np.uint8 for found in moved)
    assert "ConvTranspose" not in {node.op_type for node in nodes}
    for node in nodes:
        kernel = KERNELS.get(node.op_type)
        if kernel is None:
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.name in ("alpha", "beta")}
        if not kernel.inputs:
            assert np.allclose(values[node.output[0]], kernel.compute(values[node.input[0]], **attributes), atol=1e-6)
            continue
        inputs = [dequantized(node, index, values) for index in kernel.inputs]
        exact = kernel.compute(*inputs, **attributes)
        scale, zero = (values[node.input[kernel.result + index]] for index in (0, 1))
        rounded = np.clip(np.rint(exact / scale) + zero, 0, 255)
        assert abs(rounded - values[node.output[0]].astype(int)).max() <= 1, node.op_type
    assert sqnr(model, int8) > 20


def quantized(folder: Path, middle: Callable[[Drawing, str], str], opset: int, form: str) -> tuple[Path, Path]:
    """stem, `middle`, classifier: the fp32 model and its int8 one."""
    d = Drawing(0, opset)
    drawn = d.model([d.classify(d.relu(middle(d, d.relu(d.conv(d.input, 8, stride=2)))))])
    model, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    onnx.save(drawn, model)
    images = write_pictures(folder / "pictures", range(6))
    quantize(QuantizeOptions(model=model, choice=ImageChoice(images), format=form, output=int8))
    return model, int8


def executed(int8: Path) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The nodes that onnxruntime makes of a file, and every tensor that they read or write, on a picture."""
    graph = fused_graph(int8)
    returned = {value.name for value in graph.graph.output}
    written = {name for node in graph.graph.node for name in node.output if name} - returned
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(written))
    session = ort.InferenceSession(graph.SerializeToString(), options_of(SessionConfig(threads=1, optimise=False)))
    names = [value.name for value in session.get_outputs()]
    values = dict(zip(names, session.run(names, {"image": batch()}), strict=True))
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    return list(graph.graph.node), stored | values | {"image": batch()}


def dequantized(node: onnx.NodeProto, index: int, values: Mapping[str, Array]) -> Array:
    """The 8-bit input of this index as its scale and zero point say, float64."""
    q, scale, zero = (values[name] for name in node.input[index : index + 3])
    found: Array = (q.astype(np.float64) - zero) * scale
    return found


def batch() -> Array:
    return Preprocessing(Resize())(picture(99)[0])


def sqnr(model: Path, int8: Path) -> float:
    exact, found = (
        ort.InferenceSession(str(path), options_of(SessionConfig(exact_int8=True))).run(None, {"image": batch()})[0]
        for path in (model, int8)
    )
    return float(10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()))


def test_a_hard_swish_is_given_no_steps_below_its_zero(tmp_path: Path) -> None:
    """x · HardSigmoid(x) is 0 from -3 downwards, so the input's 8 bits begin there."""
    _, int8 = quantized(tmp_path, lambda d, x: d.conv(hard_swish(d, d.conv(x, 16)), 12), 13, "qdq")
    graph = onnx.load(int8).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    (gate,) = (node for node in graph.node if node.op_type == "HardSigmoid")
    scale, zero = (stored[name] for name in makers[gate.input[0]].input[1:])
    assert -3 - scale / 2 <= -float(zero) * scale <= -3 + scale / 2
